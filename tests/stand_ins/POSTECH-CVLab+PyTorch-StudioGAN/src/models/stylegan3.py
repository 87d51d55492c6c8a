"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F
from models import stylegan2
from torch import nn


class SynthesisInput(nn.Module):
    """Waves whose phases are given by w."""

    def __init__(self, w_dim, channels, side):
        super().__init__()
        self.side, self.affine = side, stylegan2.FullyConnectedLayer(w_dim, channels)
        self.register_buffer("freqs", torch.randn(channels, 2) * 3)

    def forward(self, w):
        ticks = torch.linspace(0, 1, self.side)
        down, across = self.freqs.T[..., None, None]
        return torch.cos(down * ticks[:, None] + across * ticks + self.affine(w)[..., None, None])


class SynthesisLayer(stylegan2.SynthesisLayer):
    """Resized by interpolation; the last of them, which has is_torgb, makes the image."""

    def __init__(self, *shape, out_size, **kwargs):
        super().__init__(*shape, **kwargs)
        self.out_size = out_size
        self.register_buffer("magnitude_ema", torch.tensor(1.0))

    def forward(self, x, w, update_emas=False):
        if update_emas:
            self.magnitude_ema.lerp_(x.detach().square().mean(), 0.001)
        made = super().forward(x / self.magnitude_ema.sqrt(), w)
        return made if self.is_torgb else F.interpolate(made, (self.out_size, self.out_size))


class SynthesisNetwork(nn.Module):
    def __init__(self, w_dim, img_resolution, radial, num_layers=14):
        super().__init__()
        channels, side = (32, 1) if radial else (16, 3)
        self.num_ws, self.layer_names = num_layers + 2, []
        self.input = SynthesisInput(w_dim, channels, img_resolution // 4)
        for number in range(num_layers + 1):
            size, last = min(img_resolution, img_resolution // 4 * 2 ** (number // 4)), number == num_layers
            shape, kernel = (channels, 3 if last else channels, w_dim), 1 if last else side
            self.layer_names.append(f"L{number}_{size}_{shape[1]}")
            layer = SynthesisLayer(*shape, side=kernel, is_torgb=last, out_size=size)
            self.add_module(self.layer_names[-1], layer)

    def forward(self, ws, **kwargs):
        first, *others = ws.unbind(1)
        x = self.input(first)
        for name, w in zip(self.layer_names, others, strict=True):
            x = self.get_submodule(name)(x, w, **kwargs)
        return x / 4


class Generator(stylegan2.StyleBased):
    synthesis_class = SynthesisNetwork
