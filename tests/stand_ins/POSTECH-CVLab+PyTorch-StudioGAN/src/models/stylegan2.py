"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F
from torch import nn


def rescale(v):
    return v / v.pow(2).mean(1, keepdim=True).add(1e-8).sqrt()


def modulated_conv2d(x, weight, styles, demodulate, fused):
    """Every sample has kernels of its own: in one grouped convolution, or by scaling x before and after a common one."""
    own = weight * styles[:, None, :, None, None]
    after = 1 / (own.flatten(2).norm(dim=2) + 1e-6) if demodulate else torch.ones_like(own[:, :, 0, 0, 0])
    conv = {"padding": weight.shape[-1] // 2}
    if not fused:
        return F.conv2d(x * styles[..., None, None], weight, **conv) * after[..., None, None]
    own = own * after[..., None, None, None]
    side_by_side = F.conv2d(x.flatten(0, 1)[None], own.flatten(0, 1), groups=len(x), **conv)
    return side_by_side.view(len(x), -1, *side_by_side.shape[2:])


class FullyConnectedLayer(nn.Module):
    def __init__(self, in_features, out_features, offset=0.0, slope=1.0):
        super().__init__()
        self.slope = slope
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.full((out_features,), offset))

    def forward(self, v):
        return F.leaky_relu(F.linear(v, self.weight * self.weight.shape[1] ** -0.5, self.bias), self.slope)


class MappingNetwork(nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, num_ws, num_layers):
        super().__init__()
        self.num_ws = num_ws
        self.embed = FullyConnectedLayer(c_dim, w_dim) if c_dim else None
        widths = [z_dim + w_dim * bool(c_dim)] + [w_dim] * num_layers
        self.layers = nn.Sequential(*(FullyConnectedLayer(*pair, slope=0.2) for pair in zip(widths, widths[1:])))  # noqa: B905, RUF007
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z, c, truncation_psi=1.0, update_emas=False):
        known = [z] if self.embed is None else [z, self.embed(c.float())]
        w = self.layers(torch.hstack([rescale(v) for v in known]))
        if update_emas:
            self.w_avg.lerp_(w.detach().mean(0), 0.002)
        return torch.lerp(self.w_avg, w, truncation_psi)[:, None].repeat_interleave(self.num_ws, 1)


class SynthesisLayer(nn.Module):
    def __init__(self, in_channels, out_channels, w_dim, side=3, is_torgb=False):
        super().__init__()
        self.is_torgb = is_torgb
        self.slope, self.gain = (1.0, 1.0) if is_torgb else (0.2, 2**0.5)  # which keeps the variance
        self.affine = FullyConnectedLayer(w_dim, in_channels, offset=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, side, side))
        self.bias = nn.Parameter(torch.zeros(out_channels, 1, 1))

    def forward(self, x, w, fused_modconv=True):
        styles = self.affine(w) * self.weight[0].numel() ** -0.5
        made = modulated_conv2d(x, self.weight, styles, not self.is_torgb, fused_modconv)
        return F.leaky_relu(made + self.bias, self.slope) * self.gain


class ToRGBLayer(SynthesisLayer):
    def __init__(self, in_channels, w_dim):
        super().__init__(in_channels, 3, w_dim, side=1, is_torgb=True)


class SynthesisBlock(nn.Module):
    num_ws = 3

    def __init__(self, channels, w_dim, first):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, channels, 2, 2)) if first else None
        self.conv0, self.conv1 = (SynthesisLayer(channels, channels, w_dim) for _ in range(2))
        self.torgb = ToRGBLayer(channels, w_dim)

    def forward(self, x, img, ws, update_emas=False):
        fused = not self.training
        x = self.const.expand(len(ws), -1, -1, -1) if x is None else x
        x = self.conv0(F.interpolate(x, scale_factor=2), ws[:, 0], fused_modconv=fused)
        x = self.conv1(x, ws[:, 1], fused_modconv=fused)
        rgb = self.torgb(x, ws[:, 2], fused_modconv=fused)
        return x, rgb if img is None else F.interpolate(img, scale_factor=2).add_(rgb)


class SynthesisNetwork(nn.Module):
    def __init__(self, w_dim, img_resolution, channels=16):
        super().__init__()
        self.block_resolutions = [4]
        while self.block_resolutions[-1] < img_resolution:
            self.block_resolutions.append(self.block_resolutions[-1] * 2)
        self.num_ws = SynthesisBlock.num_ws * len(self.block_resolutions)
        for resolution in self.block_resolutions:
            self.add_module(f"b{resolution}", SynthesisBlock(channels, w_dim, first=resolution == 4))

    def forward(self, ws, **kwargs):
        state = None, None
        for resolution, own in zip(self.block_resolutions, ws.split(SynthesisBlock.num_ws, 1), strict=True):
            state = self.get_submodule(f"b{resolution}")(*state, own, **kwargs)
        return state[1]


class StyleBased(nn.Module):
    """A mapping and a synthesis, which trainers call one after the other."""

    def __init__(self, z_dim, c_dim, w_dim, img_resolution, mapping_kwargs, synthesis_kwargs):
        super().__init__()
        self.c_dim = c_dim
        self.synthesis = self.synthesis_class(w_dim, img_resolution, **synthesis_kwargs)
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.synthesis.num_ws, **mapping_kwargs)

    def forward(self, z, c, eval=False, update_emas=False):
        return self.synthesis(self.mapping(z, c, update_emas=update_emas), update_emas=update_emas)


class Generator(StyleBased):
    synthesis_class = SynthesisNetwork
