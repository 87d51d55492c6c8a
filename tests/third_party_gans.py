"""GANs that packages hold: each factory returns the generator, and the inputs of one forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from third_party import Built


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
