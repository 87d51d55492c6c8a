"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_utils import persistence


def modulated_conv2d(x, weight, styles, noise=None, up=1, padding=0, demodulate=True, fused_modconv=True):
    """Fused, one grouped convolution on all samples as channels of one; otherwise x is scaled before and after."""
    batch_size, (_, in_channels, kh, kw) = x.shape[0], weight.shape
    if up > 1:
        x = F.interpolate(x, scale_factor=up, mode="nearest")
    w = weight[None] * styles[:, None, :, None, None]
    dcoefs = (w.square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt() if demodulate else None
    if not fused_modconv:
        x = F.conv2d(x * styles[:, :, None, None], weight, padding=padding)
        x = x * dcoefs[:, :, None, None] if demodulate else x
    else:
        w = w * dcoefs[:, :, None, None, None] if demodulate else w
        x = x.reshape(1, -1, *x.shape[2:])
        x = F.conv2d(x, w.reshape(-1, in_channels, kh, kw), padding=padding, groups=batch_size)
        x = x.reshape(batch_size, -1, *x.shape[2:])
    return x if noise is None else x.add_(noise)


@persistence.persistent_class
class FullyConnectedLayer(nn.Module):
    def __init__(self, in_features, out_features, bias=True, activation="linear", lr_multiplier=1, bias_init=0):
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn([out_features, in_features]) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], float(bias_init))) if bias else None
        self.weight_gain, self.bias_gain = lr_multiplier / in_features**0.5, lr_multiplier

    def forward(self, x):
        x = F.linear(x, self.weight * self.weight_gain, None if self.bias is None else self.bias * self.bias_gain)
        return F.leaky_relu(x, 0.2) * 2**0.5 if self.activation == "lrelu" else x


@persistence.persistent_class
class MappingNetwork(nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, num_ws, num_layers=8, lr_multiplier=0.01, w_avg_beta=0.998):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.num_layers, self.w_avg_beta = num_layers, w_avg_beta
        if c_dim > 0:
            self.embed = FullyConnectedLayer(c_dim, w_dim)
        features = [z_dim + (w_dim if c_dim > 0 else 0)] + [w_dim] * num_layers
        for idx in range(num_layers):
            layer = FullyConnectedLayer(*features[idx : idx + 2], activation="lrelu", lr_multiplier=lr_multiplier)
            setattr(self, f"fc{idx}", layer)
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros([w_dim]))

    def forward(self, z, c, truncation_psi=1, truncation_cutoff=None, skip_w_avg_update=False):
        x = [] if z is None else [F.normalize(z.float()) * self.z_dim**0.5]
        if self.c_dim > 0:
            x.append(F.normalize(self.embed(c.float())) * self.w_dim**0.5)
        x = torch.cat(x, dim=1)
        for idx in range(self.num_layers):
            x = getattr(self, f"fc{idx}")(x)
        if self.training and self.w_avg_beta is not None and not skip_w_avg_update:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))
        if self.num_ws is None:
            return x
        x = x.unsqueeze(1).repeat([1, self.num_ws, 1])
        return x if truncation_psi == 1 else self.w_avg.lerp(x, truncation_psi)


@persistence.persistent_class
class SynthesisLayer(nn.Module):
    def __init__(
        self, in_channels, out_channels, w_dim, resolution, kernel_size=3, up=1, use_noise=True, conv_clamp=None
    ):
        super().__init__()
        self.resolution, self.up, self.use_noise, self.conv_clamp = resolution, up, use_noise, conv_clamp
        self.padding = kernel_size // 2
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, kernel_size, kernel_size]))
        if use_noise:
            self.register_buffer("noise_const", torch.randn([resolution, resolution]))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))

    def forward(self, x, w, noise_mode="random", fused_modconv=True, gain=1):
        noise = None
        if self.use_noise and noise_mode == "random":
            noise = torch.randn([x.shape[0], 1, self.resolution, self.resolution]) * self.noise_strength
        if self.use_noise and noise_mode == "const":
            noise = self.noise_const * self.noise_strength
        x = modulated_conv2d(
            x=x, weight=self.weight, styles=self.affine(w), noise=noise, up=self.up, padding=self.padding,
            fused_modconv=fused_modconv,
        )  # fmt: skip
        return F.leaky_relu(x + self.bias[:, None, None], 0.2) * 2**0.5 * gain


@persistence.persistent_class
class ToRGBLayer(nn.Module):
    def __init__(self, in_channels, out_channels, w_dim, kernel_size=1, conv_clamp=None):
        super().__init__()
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, kernel_size, kernel_size]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))
        self.weight_gain = 1 / (in_channels * kernel_size**2) ** 0.5

    def forward(self, x, w, fused_modconv=True):
        styles = self.affine(w) * self.weight_gain
        x = modulated_conv2d(x=x, weight=self.weight, styles=styles, demodulate=False, fused_modconv=fused_modconv)
        return x + self.bias[:, None, None]


@persistence.persistent_class
class SynthesisBlock(nn.Module):
    def __init__(
        self, in_channels, out_channels, w_dim, resolution, img_channels, is_last, use_fp16=False, conv_clamp=None
    ):
        super().__init__()
        self.in_channels, self.resolution, self.is_last = in_channels, resolution, is_last
        self.num_conv, self.num_torgb = 1, 1
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn([out_channels, resolution, resolution]))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim=w_dim, resolution=resolution, up=2)
            self.num_conv += 1
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim=w_dim, resolution=resolution)
        self.torgb = ToRGBLayer(out_channels, img_channels, w_dim=w_dim)

    def forward(self, x, img, ws, force_fp32=False, fused_modconv=None, **layer_kwargs):
        w_iter = iter(ws.unbind(dim=1))
        if fused_modconv is None:
            fused_modconv = not self.training
        if self.in_channels == 0:
            x = self.const.unsqueeze(0).repeat([ws.shape[0], 1, 1, 1])
        else:
            x = self.conv0(x, next(w_iter), fused_modconv=fused_modconv, **layer_kwargs)
        x = self.conv1(x, next(w_iter), fused_modconv=fused_modconv, **layer_kwargs)
        if img is not None:
            img = F.interpolate(img, scale_factor=2, mode="nearest")
        y = self.torgb(x, next(w_iter), fused_modconv=fused_modconv)
        return x, img.add_(y) if img is not None else y


@persistence.persistent_class
class SynthesisNetwork(nn.Module):
    def __init__(
        self, w_dim, img_resolution, img_channels, channel_base=32768, channel_max=512, num_fp16_res=0, **block_kwargs
    ):
        super().__init__()
        self.w_dim, self.img_resolution, self.img_channels = w_dim, img_resolution, img_channels
        self.block_resolutions = [2**i for i in range(2, img_resolution.bit_length())]
        channels = {res: min(channel_base // res, channel_max) for res in self.block_resolutions}
        self.num_ws = 0
        for res in self.block_resolutions:
            block = SynthesisBlock(
                channels[res // 2] if res > 4 else 0, channels[res], w_dim=w_dim, resolution=res,
                img_channels=img_channels, is_last=res == img_resolution, **block_kwargs,
            )  # fmt: skip
            self.num_ws += block.num_conv + (block.num_torgb if block.is_last else 0)
            setattr(self, f"b{res}", block)

    def forward(self, ws, **block_kwargs):
        x = img = None
        first = 0
        for res in self.block_resolutions:
            block = getattr(self, f"b{res}")
            x, img = block(x, img, ws.narrow(1, first, block.num_conv + block.num_torgb), **block_kwargs)
            first += block.num_conv
        return img


@persistence.persistent_class
class Generator(nn.Module):
    def __init__(
        self, z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs={}, synthesis_kwargs={},  # noqa: B006
    ):  # fmt: skip
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = SynthesisNetwork(
            w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels, **synthesis_kwargs
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_ws=self.num_ws, **mapping_kwargs)

    def forward(self, z, c, truncation_psi=1, truncation_cutoff=None, **synthesis_kwargs):
        ws = self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        return self.synthesis(ws, **synthesis_kwargs)


@persistence.persistent_class
class Discriminator(nn.Module):
    """Smaller than the real one."""

    def __init__(self, c_dim, img_resolution, img_channels, channel_base=32768, channel_max=512, **kwargs):
        super().__init__()
        self.c_dim = c_dim
        self.conv1, self.conv2 = nn.Conv2d(img_channels, channel_max, 4, 4), nn.Conv2d(channel_max, channel_max, 3)
        self.out = FullyConnectedLayer(channel_max, 1)
        if c_dim > 0:
            self.mapping = FullyConnectedLayer(c_dim, channel_max)

    def forward(self, img, c, **block_kwargs):
        h = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(img), 0.2)), 0.2).mean(dim=[2, 3])
        out = self.out(h)
        return out + (h * self.mapping(c)).sum(dim=1, keepdim=True) if self.c_dim > 0 else out
