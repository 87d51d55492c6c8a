"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import numpy as np
import torch
import torch.nn.functional as F
from models.stylegan2 import FullyConnectedLayer, MappingNetwork
from torch import nn


def modulated_conv2d(x, w, s, demodulate=True, padding=0, input_gain=None):
    batch_size, (_, in_channels, kh, kw) = x.shape[0], w.shape
    w = w[None] * s[:, None, :, None, None]
    if demodulate:
        w = w * (w.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    if input_gain is not None:
        w = w * input_gain
    x = x.reshape(1, -1, *x.shape[2:])
    x = F.conv2d(input=x, weight=w.reshape(-1, in_channels, kh, kw), padding=padding, groups=batch_size)
    return x.reshape(batch_size, -1, *x.shape[2:])


class SynthesisInput(nn.Module):
    def __init__(self, w_dim, channels, size, sampling_rate, bandwidth):
        super().__init__()
        self.w_dim, self.channels, self.size = w_dim, channels, size
        self.weight = nn.Parameter(torch.randn([channels, channels]))
        self.affine = FullyConnectedLayer(w_dim, 4)
        self.register_buffer("freqs", torch.randn([channels, 2]) * bandwidth)
        self.register_buffer("phases", torch.rand([channels]) - 0.5)

    def forward(self, w):
        axis = torch.linspace(-0.5, 0.5, self.size)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)[None] + self.affine(w)[:, None, None, 2:]
        x = torch.sin((grid @ self.freqs.t() + self.phases) * (2 * np.pi))
        return (x @ self.weight.t() / self.channels**0.5).permute(0, 3, 1, 2)


class SynthesisLayer(nn.Module):
    """Resampling is by interpolation here; D1 is the one of these layers with is_torgb."""

    def __init__(
        self, w_dim, is_torgb, is_critically_sampled, use_fp16, in_channels, out_channels, in_size, out_size,
        conv_kernel=3, use_radial_filters=False, conv_clamp=256, magnitude_ema_beta=0.999,
    ):  # fmt: skip
        super().__init__()
        self.w_dim, self.is_torgb, self.in_channels, self.out_channels = w_dim, is_torgb, in_channels, out_channels
        self.in_size, self.out_size = np.broadcast_to(in_size, [2]), np.broadcast_to(out_size, [2])
        self.conv_kernel, self.magnitude_ema_beta = 1 if is_torgb else conv_kernel, magnitude_ema_beta
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, self.conv_kernel, self.conv_kernel]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))
        self.register_buffer("magnitude_ema", torch.ones([]))

    def forward(self, x, w, noise_mode="random", force_fp32=False, update_emas=False):
        if update_emas:
            magnitude = x.detach().float().square().mean()
            self.magnitude_ema.copy_(magnitude.lerp(self.magnitude_ema, self.magnitude_ema_beta))
        styles = self.affine(w)
        if self.is_torgb:
            styles = styles / (self.in_channels * self.conv_kernel**2) ** 0.5
        x = modulated_conv2d(
            x=x, w=self.weight, s=styles, padding=self.conv_kernel - 1, demodulate=not self.is_torgb,
            input_gain=self.magnitude_ema.rsqrt(),
        )  # fmt: skip
        x = x + self.bias[:, None, None]
        if self.is_torgb:
            return x
        x = F.leaky_relu(x, 0.2) * 2**0.5
        return F.interpolate(x, size=tuple(int(side) for side in self.out_size), mode="bilinear")


class SynthesisNetwork(nn.Module):
    def __init__(
        self, w_dim, img_resolution, img_channels, channel_base=32768, channel_max=512, num_layers=14, num_critical=2,
        margin_size=10, output_scale=0.25, num_fp16_res=4, **layer_kwargs,
    ):  # fmt: skip
        super().__init__()
        self.w_dim, self.num_ws = w_dim, num_layers + 2
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.num_layers, self.output_scale = num_layers, output_scale
        exponents = np.minimum(np.arange(num_layers + 1) / (num_layers - num_critical), 1)
        cutoffs = 2 * (img_resolution / 4) ** exponents
        sizes = np.minimum(2 ** np.ceil(np.log2(cutoffs * 4)), img_resolution) + margin_size * 2
        sizes[-2:] = img_resolution
        channels = np.rint(np.minimum(channel_base / 2 / cutoffs, channel_max))
        channels[-1] = img_channels
        self.input = SynthesisInput(
            w_dim=w_dim, channels=int(channels[0]), size=int(sizes[0]), sampling_rate=16, bandwidth=2
        )
        self.layer_names = []
        for idx in range(num_layers + 1):
            prev = max(idx - 1, 0)
            layer = SynthesisLayer(
                w_dim=w_dim, is_torgb=idx == num_layers, is_critically_sampled=idx >= num_layers - num_critical,
                use_fp16=False, in_channels=int(channels[prev]), out_channels=int(channels[idx]),
                in_size=int(sizes[prev]), out_size=int(sizes[idx]), **layer_kwargs,
            )  # fmt: skip
            name = f"L{idx}_{layer.out_size[0]}_{layer.out_channels}"
            setattr(self, name, layer)
            self.layer_names.append(name)

    def forward(self, ws, **layer_kwargs):
        ws = ws.unbind(dim=1)
        x = self.input(ws[0])
        for name, w in zip(self.layer_names, ws[1:], strict=True):
            x = getattr(self, name)(x, w, **layer_kwargs)
        return x * self.output_scale


class Generator(nn.Module):
    def __init__(
        self, z_dim, c_dim, w_dim, img_resolution, img_channels, MODEL, mapping_kwargs={}, synthesis_kwargs={},  # noqa: B006
    ):  # fmt: skip
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.MODEL = z_dim, c_dim, w_dim, MODEL
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = SynthesisNetwork(
            w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels, **synthesis_kwargs
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_ws=self.num_ws, **mapping_kwargs)

    def forward(
        self, z, c, eval=False, truncation_psi=1, truncation_cutoff=None, update_emas=False, **synthesis_kwargs
    ):
        ws = self.mapping(
            z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff, update_emas=update_emas
        )
        return self.synthesis(ws, update_emas=update_emas, **synthesis_kwargs)
