"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch_utils.persistence import persistent_class


def modulated_conv2d(x, weight, styles, demodulate, fused_modconv):
    """A kernel a sample. Fused, one grouped convolution of all samples side by side; else x is scaled, and the result."""
    kernels, margin = torch.einsum("oihw,ni->noihw", weight, styles), weight.shape[-1] // 2
    scale = torch.ones_like(kernels[:, :, 0, 0, 0])
    if demodulate:
        scale = (kernels.pow(2).sum((2, 3, 4)) + 1e-6) ** -0.5
    if not fused_modconv:
        return F.conv2d(x * styles[..., None, None], weight, padding=margin) * scale[..., None, None]
    flat = (kernels * scale[..., None, None, None]).flatten(0, 1)
    out = F.conv2d(x.flatten(0, 1)[None], flat, padding=margin, groups=len(x))
    return out[0].unflatten(0, (len(x), -1))


@persistent_class
class FullyConnectedLayer(nn.Module):
    def __init__(self, in_features, out_features, start=0.0, slope=1.0):
        super().__init__()
        self.slope = slope
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.full((out_features,), start))

    def forward(self, x):
        return F.leaky_relu(F.linear(x, self.weight / math.sqrt(x.shape[1]), self.bias), self.slope)


@persistent_class
class MappingNetwork(nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, num_ws):
        super().__init__()
        self.num_ws, self.c_dim = num_ws, c_dim
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, w_dim)
        self.fc0 = FullyConnectedLayer(z_dim + min(c_dim, 1) * w_dim, w_dim, slope=0.2)
        self.fc1 = FullyConnectedLayer(w_dim, w_dim, slope=0.2)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z, c, truncation_psi=1):
        told = [z.float(), self.embed(c)] if self.c_dim else [z.float()]
        w = self.fc1(self.fc0(torch.cat([part / part.std(1, keepdim=True).clamp(min=1e-4) for part in told], 1)))
        if self.training:
            self.w_avg += (w.detach().mean(0) - self.w_avg) / 500
        return torch.stack([torch.lerp(self.w_avg, w, truncation_psi)] * self.num_ws, 1)


@persistent_class
class SynthesisLayer(nn.Module):
    def __init__(self, in_channels, out_channels, w_dim, resolution, kernel_size=3):
        super().__init__()
        self.affine = FullyConnectedLayer(w_dim, in_channels, start=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias, self.noise_strength = (nn.Parameter(torch.zeros(n, 1, 1)) for n in (out_channels, 1))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x, w, noise_mode="random", fused_modconv=True):
        grown = F.interpolate(x, self.noise_const.shape)
        made = modulated_conv2d(grown, self.weight, self.affine(w), True, fused_modconv)
        noise = self.noise_const if noise_mode == "const" else torch.randn_like(made[:, :1])
        return F.leaky_relu(made.add_(noise * self.noise_strength) + self.bias, 0.2)


@persistent_class
class ToRGBLayer(nn.Module):
    def __init__(self, in_channels, out_channels, w_dim):
        super().__init__()
        self.affine = FullyConnectedLayer(w_dim, in_channels, start=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels, 1, 1))

    def forward(self, x, w, fused_modconv=True):
        return self.bias + modulated_conv2d(
            x, self.weight, self.affine(w) / math.sqrt(x.shape[1]), False, fused_modconv
        )


@persistent_class
class SynthesisBlock(nn.Module):
    """Takes two of ws, the second of them twice."""

    def __init__(self, in_channels, out_channels, w_dim, resolution, img_channels):
        super().__init__()
        if in_channels:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution)
        else:
            self.const = nn.Parameter(torch.randn(1, out_channels, resolution, resolution))
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution)
        self.torgb = ToRGBLayer(out_channels, img_channels, w_dim)

    def forward(self, x, img, ws, **how):
        fused = not self.training
        first, second = ws.unbind(1)
        if x is None:
            x = self.const.expand(len(ws), -1, -1, -1)
        else:
            x = self.conv0(x, first, fused_modconv=fused, **how)
        x = self.conv1(x, second, fused_modconv=fused, **how)
        rgb = self.torgb(x, second, fused_modconv=fused)
        return x, rgb if img is None else F.interpolate(img, scale_factor=2).add_(rgb)


@persistent_class
class SynthesisNetwork(nn.Module):
    def __init__(self, w_dim, img_resolution, img_channels, channel_base, channel_max, num_fp16_res=0):
        super().__init__()
        self.block_resolutions, before = [], 0
        while (side := 4 << len(self.block_resolutions)) <= img_resolution:
            width = min(channel_base // side, channel_max)
            self.add_module(f"b{side}", SynthesisBlock(before, width, w_dim, side, img_channels))
            self.block_resolutions.append(side)
            before = width
        self.num_ws = 2 * len(self.block_resolutions)

    def forward(self, ws, **how):
        x, img = None, None
        for side, pair in zip(self.block_resolutions, ws.split(2, dim=1), strict=True):
            x, img = self.get_submodule(f"b{side}")(x, img, pair, **how)
        return img


@persistent_class
class Generator(nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels, synthesis_kwargs):
        super().__init__()
        self.z_dim, self.c_dim = z_dim, c_dim
        self.synthesis = SynthesisNetwork(w_dim, img_resolution, img_channels, **synthesis_kwargs)
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.synthesis.num_ws)

    def forward(self, z, c, truncation_psi=1, **how):
        return self.synthesis(self.mapping(z, c, truncation_psi), **how)


@persistent_class
class Discriminator(nn.Module):
    def __init__(self, c_dim, img_resolution, img_channels, channel_max, **unused):
        super().__init__()
        first, second = nn.Conv2d(img_channels, channel_max, 4, 4), nn.Conv2d(channel_max, channel_max, 3)
        self.seen = nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2))
        self.verdicts = nn.Linear(channel_max, 1 + c_dim)

    def forward(self, img, c):
        real, *of_class = self.verdicts(self.seen(img).mean((2, 3))).split([1, c.shape[1]], dim=1)
        return real + (of_class[0] * c).sum(1, keepdim=True)
