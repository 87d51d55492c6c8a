"""Restorers, upscalers, autoencoders and denoisers that packages hold, built like the GANs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from third_party import Built


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


def spandrel_rcan() -> Built:
    import torch
    from spandrel.architectures.RCAN import RCAN

    return RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=8, reduction=2).eval(), (torch.rand(2, 3, 8, 8),), {}


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
