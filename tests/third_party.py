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


def torchgan_dcgan() -> Built:
    import torch
    from torchgan.models import DCGANGenerator

    return DCGANGenerator(encoding_dims=8, out_size=32, step_channels=8).eval(), (torch.randn(2, 8),), {}


def torchgan_conditional() -> Built:
    import torch
    from torchgan.models import ConditionalGANGenerator

    generator = ConditionalGANGenerator(num_classes=3, encoding_dims=8, out_size=16, step_channels=8)
    return generator.eval(), (torch.randn(2, 8), torch.tensor([0, 2])), {}


def torchgan_autoencoding() -> Built:
    import torch
    from torchgan.models import AutoEncodingGenerator

    return AutoEncodingGenerator(encoding_dims=8, out_size=16, step_channels=8).eval(), (torch.randn(2, 8),), {}


def dcgan_pytorch() -> Built:
    import torch
    from dcgan_pytorch import Generator

    return Generator.from_name("g-mnist").eval(), (torch.randn(2, 100, 1, 1),), {}


def vegans_mnist() -> Built:
    import torch
    from vegans.utils.architectures.mnist import load_mnist_generator

    return load_mnist_generator(x_dim=(1, 32, 32), z_dim=8).eval(), (torch.randn(2, 8),), {}


def vegans_mlp() -> Built:
    import torch
    from vegans.utils.architectures.example import load_example_generator

    return load_example_generator(x_dim=(3, 32, 32), z_dim=8).eval(), (torch.randn(2, 8),), {}


def adngan_progressive(alpha: float) -> Built:
    import torch
    from AdnGAN.ProGAN import Generator_pro

    generator = Generator_pro(z_dim=8, in_channels=16, factors=[1, 1, 1 / 2, 1 / 4]).eval()
    return generator, (torch.randn(2, 8, 1, 1),), {"alpha": alpha, "steps": 3}


def adngan_early() -> Built:
    generator, args, _ = adngan_progressive(1.0)
    return generator, args, {"alpha": 1.0, "steps": 1}


def pro_gan(alpha: float) -> Built:
    import torch
    from pro_gan_pytorch.networks import Generator

    # The package's own equalized transposed convolution does not run on current PyTorch.
    return Generator(depth=4, latent_size=8, use_eql=False).eval(), (torch.randn(2, 8),), {"alpha": alpha}


def attn_gan() -> Built:
    import torch
    from attn_gan_pytorch.CustomLayers import IgnoreAttentionMap, SelfAttention, SpectralNorm
    from attn_gan_pytorch.Networks import Generator
    from torch import nn

    layers = [
        SpectralNorm(nn.ConvTranspose2d(8, 16, 4)),
        nn.ReLU(),
        SelfAttention(16),
        IgnoreAttentionMap(),
        SpectralNorm(nn.ConvTranspose2d(16, 3, 4, 2, 1)),
        nn.Tanh(),
    ]
    return Generator(layers, latent_size=8).eval(), (torch.randn(2, 8, 1, 1),), {}


def ganetic_cyclegan() -> Built:
    import torch
    from ganetic.cyclegan import Generator

    return Generator(ngf=4, no_of_residual_blocks=1).eval(), (torch.randn(2, 3, 16, 16),), {}


def ganetic_pix2pix() -> Built:
    import torch
    from ganetic.pix2pix import Generator

    return Generator(3, ngf=4).eval(), (torch.randn(1, 3, 256, 256),), {}


def ganetic_srgan() -> Built:
    import torch
    from ganetic.srgan import Generator

    return Generator(2, ngf=8, n_res=1).eval(), (torch.randn(2, 3, 8, 8),), {}


def gans_package_stylegan() -> Built:
    import torch
    from gans_package.models import StyleGAN_Generator

    return StyleGAN_Generator(8, 3, 8, 8, 8, 8, synthesis_layers=3).eval(), (torch.randn(2, 8),), {}


def gans_package_pix2pixhd() -> Built:
    import torch
    from gans_package.models import GlobalGenerator

    return GlobalGenerator(3, 4, 3, 2, 1, 2).eval(), (torch.randn(2, 3, 16, 16),), {}


def gans_package_mlp() -> Built:
    import torch
    from gans_package.models import GAN_Generator

    return GAN_Generator(8, 3 * 16 * 16, 32).eval(), (torch.randn(2, 8),), {}


def dall_e() -> Built:
    import torch
    from dall_e import Decoder

    return Decoder(n_init=8, n_hid=64, n_blk_per_group=1, vocab_size=512).eval(), (torch.randn(2, 512, 2, 2),), {}


def taming() -> Built:
    import torch
    from taming.modules.diffusionmodules.model import Decoder

    decoder = Decoder(
        ch=32,
        out_ch=3,
        ch_mult=(1, 2),
        num_res_blocks=1,
        attn_resolutions=[8],
        in_channels=3,
        resolution=16,
        z_channels=4,
    )
    return decoder.eval(), (torch.randn(2, 4, 8, 8),), {}


def spandrel_stylegan2() -> Built:
    import torch
    from spandrel.architectures.GFPGAN.__arch.stylegan2_clean_arch import StyleGAN2GeneratorClean

    generator = StyleGAN2GeneratorClean(32, num_style_feat=8, num_mlp=2, narrow=1 / 32)
    return generator.eval(), ([torch.randn(2, 8)],), {"randomize_noise": False}


def spandrel_gfpgan() -> Built:
    import torch
    from spandrel.architectures.GFPGAN import GFPGAN

    generator = GFPGAN(out_size=32, num_style_feat=8, num_mlp=2, narrow=1 / 16)
    return generator.eval(), (torch.randn(2, 3, 32, 32),), {"randomize_noise": False}


def spandrel_lama() -> Built:
    import torch
    from spandrel.architectures.LaMa.__arch.LaMa import FFCResNetGenerator

    generator = FFCResNetGenerator(4, 3, ngf=8, n_downsampling=2, n_blocks=1)
    return generator.eval(), (torch.randn(2, 3, 32, 32), torch.ones(2, 1, 32, 32)), {}


def spandrel_esrgan() -> Built:
    import torch
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(num_filters=8, num_blocks=1, scale=2).eval(), (torch.randn(2, 3, 8, 8),), {}


def spandrel_compact() -> Built:
    import torch
    from spandrel.architectures.Compact import Compact

    return Compact(num_feat=8, num_conv=2, upscale=2).eval(), (torch.randn(2, 3, 8, 8),), {}


def aura_sr() -> Built:
    import torch
    from aura_sr import UnetUpsampler

    generator = UnetUpsampler(
        8,
        image_size=32,
        input_image_size=16,
        style_network={"dim_in": 8, "dim_out": 8, "depth": 1, "dim_text_latent": 0},
        up_dim_mults=(1, 2),
        down_dim_mults=(2,),
        full_attn=(False, False),
        attn_depths=(1, 1),
        mid_attn_depth=1,
        num_conv_kernels=2,
        self_attn_heads=1,
        self_attn_dim_head=8,
        flash_attn=False,
    )
    return generator.eval(), (torch.rand(2, 3, 16, 16),), {}


def diffusers_autoencoder() -> Built:
    import torch
    from diffusers import AutoencoderKL

    autoencoder = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    return autoencoder.eval(), (torch.randn(2, 3, 16, 16),), {}


def diffusers_tiny() -> Built:
    import torch
    from diffusers import AutoencoderTiny

    autoencoder = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    return autoencoder.eval(), (torch.randn(2, 3, 16, 16),), {}


def diffusers_unet() -> Built:
    import torch
    from diffusers import UNet2DModel

    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
        layers_per_block=1,
    )
    return unet.eval(), (torch.randn(2, 3, 16, 16), 5), {}


def diffusers_paella() -> Built:
    import torch
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel

    return PaellaVQModel(levels=1, bottleneck_blocks=1, embed_dim=8).eval(), (torch.randn(2, 3, 16, 16),), {}


def diffusers_dit() -> Built:
    import torch
    from diffusers import DiTTransformer2DModel

    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=3,
        out_channels=3,
        num_layers=1,
        sample_size=16,
        norm_num_groups=1,
        num_embeds_ada_norm=10,
    )
    return transformer.eval(), (torch.randn(2, 3, 16, 16), torch.tensor([3, 4]), torch.tensor([1, 2])), {}


def deepinv_convdecoder() -> Built:
    import torch
    from deepinv.models import ConvDecoder

    decoder = ConvDecoder((3, 32, 32), in_size=(4, 4), layers=4, channels=8)
    return decoder.eval(), (torch.randn(2, 8, 4, 4),), {"scale_out": 0.5}


def monai_generator(residual_units: int) -> Built:
    import torch
    from monai.networks.nets import Generator

    generator = Generator((8,), (16, 4, 4), (8, 8, 3), (2, 1, 2), num_res_units=residual_units)
    return generator.eval(), (torch.randn(2, 8),), {}


def monai_autoencoder() -> Built:
    import torch
    from monai.networks.nets import AutoencoderKL

    autoencoder = AutoencoderKL(
        spatial_dims=2,
        num_res_blocks=(1, 1),
        channels=(8, 8),
        attention_levels=(False, True),
        norm_num_groups=4,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
    )
    return autoencoder.eval(), (torch.randn(2, 3, 16, 16),), {}


def monai_spade() -> Built:
    import torch
    from monai.networks.nets import SPADENet

    generator = SPADENet(
        spatial_dims=2,
        in_channels=3,
        out_channels=3,
        label_nc=5,
        input_shape=[16, 16],
        channels=[8, 8],
        spade_intermediate_channels=8,
        is_vae=False,
    )
    return generator.eval(), (torch.randn(2, 5, 16, 16),), {}


def pythae_resnet() -> Built:
    import torch
    from pythae.models import AEConfig
    from pythae.models.nn.benchmarks.cifar import Decoder_ResNet_AE_CIFAR

    return Decoder_ResNet_AE_CIFAR(AEConfig(input_dim=(3, 32, 32), latent_dim=8)).eval(), (torch.randn(2, 8),), {}


def pythae_mlp() -> Built:
    import torch
    from pythae.models import AEConfig
    from pythae.models.nn.default_architectures import Decoder_AE_MLP

    return Decoder_AE_MLP(AEConfig(input_dim=(3, 16, 16), latent_dim=8)).eval(), (torch.randn(2, 8),), {}


def wgangp_mlp() -> Built:
    import torch
    from wgangp_pytorch import Generator

    return Generator.from_name("g-mnist").eval(), (torch.randn(2, 100),), {}


def biggan() -> Built:
    import torch
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig

    config = BigGANConfig(
        output_dim=32,
        z_dim=8,
        class_embed_dim=8,
        channel_width=8,
        num_classes=3,
        layers=[(True, 16, 8), (True, 8, 4), (True, 4, 2), (False, 2, 1)],
        attention_layer_position=2,
        n_stats=5,
    )
    generator = BigGAN(config)
    # The package leaves these two uninitialised, for a checkpoint to fill.
    torch.nn.init.ones_(generator.generator.bn.weight)
    torch.nn.init.zeros_(generator.generator.bn.bias)
    return generator.eval(), (torch.randn(2, 8), torch.eye(3)[:2], 0.5), {}


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
