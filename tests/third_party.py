"""Image generators that other people published, and where the representation of each one is.

Three tables, for the tests of site detection. Every path was read off the package's own source. A path names the module
whose input is Γ, un-padded: D1 itself, a Sequential that pads and then convolves, the padding module in front of D1
where a flat Sequential holds both, or the wrapper that calls D1 past its hooks.

`third_party.txt` and `third_party_deps.txt` list what to install. All imports are inside the factories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from third_party_gans import (
    adngan_early,
    adngan_progressive,
    attn_gan,
    dall_e,
    dcgan_pytorch,
    ganetic_cyclegan,
    ganetic_pix2pix,
    ganetic_srgan,
    gans_package_mlp,
    gans_package_pix2pixhd,
    gans_package_stylegan,
    pro_gan,
    taming,
    torchgan_autoencoding,
    torchgan_conditional,
    torchgan_dcgan,
    vegans_mlp,
    vegans_mnist,
)
from third_party_networks import (
    aura_sr,
    biggan,
    deepinv_convdecoder,
    diffusers_autoencoder,
    diffusers_dit,
    diffusers_paella,
    diffusers_tiny,
    diffusers_unet,
    monai_autoencoder,
    monai_generator,
    monai_spade,
    pythae_mlp,
    pythae_resnet,
    spandrel_compact,
    spandrel_esrgan,
    spandrel_gfpgan,
    spandrel_lama,
    spandrel_rcan,
    spandrel_stylegan2,
    wgangp_mlp,
)

if TYPE_CHECKING:
    from torch import nn


Built = tuple["nn.Module", tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One generator: how to build it with the inputs of one forward, and the path of its site."""

    name: str
    package: str  # its import name
    build: Callable[[], Built]
    path: str | None  # None: detection must refuse
    why: str  # what is interesting about it
    same: tuple[str, ...] = ()  # other modules that receive the very same Γ
    by_hand: str | None = None  # where detection refuses or guesses badly: the site to name, if there is one
    alone: bool = True  # whether the image is constant once the output of the module at the site is zero

CASES = [
    Case("torchgan-dcgan", "torchgan", torchgan_dcgan, "model.3.0", "plain; one LeakyReLU object serves every block"),
    Case("torchgan-conditional", "torchgan", torchgan_conditional, "model.2.0", "class labels as a second input"),
    Case("torchgan-autoencoding", "torchgan", torchgan_autoencoding, "model.2.0", "Γ comes out of a BatchNorm"),
    Case("dcgan-pytorch", "dcgan_pytorch", dcgan_pytorch, "main.12", "plain, flat, one channel"),
    Case("vegans-mnist", "vegans", vegans_mnist, "decoding.9",
         "an encoder half inside; stride 1; the sigmoid stands outside"),
    Case("adngan-progressive", "AdnGAN", lambda: adngan_progressive(1.0), "rgb_layers.3.conv",
         "a second toRGB of the same shape runs first and is faded out; a bias added outside the convolution"),
    Case("adngan-early", "AdnGAN", adngan_early, "rgb_layers.1.conv", "half-grown: most registered toRGBs never run"),
    Case("progan", "pro_gan_pytorch", lambda: pro_gan(1.0), "rgb_converters.2", "progressive, grown"),
    Case("progan-fade-in", "pro_gan_pytorch", lambda: pro_gan(0.5), "rgb_converters.2",
         "progressive, with half of a smaller image resized into this one", alone=False),
    Case("attn-gan", "attn_gan_pytorch", attn_gan, "model.4",
         "a spectral norm wrapper calls D1 past its hooks; attention"),
    Case("ganetic-cyclegan", "ganetic", ganetic_cyclegan, "model.17",
         "reflection padding before D1 in one flat Sequential; one ReLU object under many names"),
    Case("ganetic-pix2pix", "ganetic", ganetic_pix2pix, "deconv8.deconv",
         "U-Net; an in-place ReLU makes Γ; functional tanh"),
    Case("ganetic-srgan", "ganetic", ganetic_srgan, "block4.1",
         "D1 after a PixelShuffle; the last activation is a lambda"),
    Case("gans-package-stylegan", "gans_package", gans_package_stylegan, "block_to_image",
         "AdaIN, noise, no activation"),
    Case("gans-package-pix2pixhd", "gans_package", gans_package_pix2pixhd, "final",
         "a Sequential of reflection padding, D1 and tanh", same=("final.0",)),
    Case("dall-e", "dall_e", dall_e, "blocks.output.conv",
         "a home-made convolution: kernel `w`; mean and scale as channels"),
    Case("taming-vqgan", "taming", taming, "conv_out", "residual and attention blocks held by bare modules"),
    Case("spandrel-stylegan2", "spandrel", spandrel_stylegan2, "to_rgbs.2.modulated_conv",
         "skip generator: 5-D modulated kernel, latents in a list, returns (image, None)", alone=False),
    Case("spandrel-gfpgan", "spandrel", spandrel_gfpgan, "stylegan_decoder.to_rgbs.2.modulated_conv",
         "the encoder's own toRGB has the image's shape and is returned too; skip decoder", alone=False),
    Case("spandrel-lama", "spandrel", spandrel_lama, "model.12",
         "two inputs; reflection padding before D1 in one flat Sequential; spectral blocks"),
    Case("spandrel-esrgan", "spandrel", spandrel_esrgan, "model.7", "dense residual blocks in a flattened Sequential"),
    Case("aura-sr", "aura_sr", aura_sr, "final_to_rgb", "banks of 5-D modulated kernels, then a plain 1x1 D1"),
    Case("diffusers-autoencoder", "diffusers", diffusers_autoencoder, "decoder.conv_out",
         "encoder inside; output in a dataclass"),
    Case("diffusers-tiny", "diffusers", diffusers_tiny, "decoder.layers.6", "the image is rescaled after D1"),
    Case("diffusers-unet", "diffusers", diffusers_unet, "conv_out",
         "denoiser: input and output have one shape; attention"),
    Case("deepinv-convdecoder", "deepinv", deepinv_convdecoder, "net.15",
         "1x1 D1 after BatchNorm; scaled by an argument"),
    Case("monai-generator", "monai", lambda: monai_generator(0), "conv.layer_2.conv",
         "D1 alone in a Sequential subclass",
         same=("conv.layer_2",)),
    Case("monai-autoencoder", "monai", monai_autoencoder, "decoder.blocks.9.conv",
         "returns a tuple with two more 4-D tensors",
         same=("decoder.blocks.9",)),
    Case("monai-spade", "monai", monai_spade, "decoder.last_conv.conv",
         "conditioned by a label map; an activation follows D1 inside its wrapper; Γ has 3 channels only",
         same=("decoder.last_conv",)),
    Case("spandrel-compact", "spandrel", spandrel_compact, "body.6",
         "D1 makes blocks of pixels for a PixelShuffle, and the resized input is added", alone=False),
    Case("spandrel-rcan", "spandrel", spandrel_rcan, "tail.1", "a frozen convolution shifts the mean of what D1 makes"),
    Case("diffusers-paella", "diffusers", diffusers_paella, "out_block.0", "D1 makes blocks of pixels for a PixelShuffle",
         same=("out_block",)),
    Case("pythae-resnet", "pythae", pythae_resnet, "layers.3.0",
         "a linear convolution just before D1; output in an ordered dict"),
]  # fmt: skip

# Detection must refuse these. `by_hand` is D1 where there is one: its output is not the image, but it makes the image.
REFUSED = [
    Case("wgangp-mlp", "wgangp_pytorch", wgangp_mlp, None, "MLP: no convolution"),
    Case("vegans-mlp", "vegans", vegans_mlp, None, "MLP: no convolution"),
    Case("pythae-mlp", "pythae", pythae_mlp, None, "MLP: no convolution; output in an ordered dict"),
    Case("gans-package-mlp", "gans_package", gans_package_mlp, None, "MLP: returns flat vectors, no image at all"),
    Case("diffusers-dit", "diffusers", diffusers_dit, None,
         "transformer: patches come out of a linear layer; its only convolution cuts the input into patches"),
    Case("biggan-deep", "pytorch_pretrained_biggan", biggan, None,
         "D1 makes more channels than the image has, and the first three are kept", by_hand="generator.conv_to_rgb"),
]  # fmt: skip

# More than one module has a claim: a refusal is right, and so is `path`, the last one that runs. `by_hand` is better.
AMBIGUOUS = [
    Case("adngan-fade-in", "AdnGAN", lambda: adngan_progressive(0.5), "rgb_layers.3.conv",
         "the image is half of one toRGB and half of another", by_hand="rgb_layers.3.conv", alone=False),
    Case("monai-residual", "monai", lambda: monai_generator(2), "conv.layer_2.1.conv.unit1.conv",
         "D1 makes an image, which two more convolutions then refine by a residual", by_hand="conv.layer_2.0.conv",
         same=("conv.layer_2.1.conv.unit1",), alone=False),
]  # fmt: skip

