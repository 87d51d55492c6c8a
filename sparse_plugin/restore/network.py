"""The network of Deep Image Prior (Ulyanov, Vedaldi & Lempitsky, CVPR 2018): an encoder and a decoder of several scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.restore.upsampled import KERNELS, convolve_upsampled, normalise_upsampled
from sparse_plugin.support.subsampling import Subsampling

Upsample = Literal["bilinear", "nearest"]
Padding = Literal["reflection", "zeros"]

SLOPE = 0.2  # of LeakyReLU below 0
# The shortest side of a scale below which its plain convolution is as fast on a CPU as `convolve_upsampled`.
WORTHWHILE = 16


class SkipNetwork(nn.Module):
    """z [B, input_channels, H, W] -> image [B, output_channels, H, W] in (0, 1); the paper's Γ_k is what `encoders.{k-1}` returns.

    The same function as `skip` of DmitryUlyanov/deep-image-prior in training mode, without the biases that a batch
    normalisation takes away again; `from_official` converts its weights. Statistics are always the batch's: train() and
    eval() are one. Encoder k halves the sides and makes Γ_k [B, down[k-1], H / 2^k, W / 2^k], which goes to encoder
    k + 1 and to the skip branch beside it, the last one to the decoder.

    down, up, skip: channels of each scale, from fine to coarse; up is down unless given, skip may be one number for all
    scales, and 0 leaves a branch out. Kernels are odd sides, in pixels. one_by_one: whether a 1x1 convolution follows that
    of each decoder scale. H and W are multiples of `multiple` and at least `reach`. Raises ConfigError.
    """

    def __init__(
        self,
        input_channels: int = 32,
        output_channels: int = 3,
        *,
        down: Sequence[int] = (128,) * 5,
        up: Sequence[int] | None = None,
        skip: Sequence[int] | int = 4,
        down_kernel: int = 3,
        up_kernel: int = 3,
        skip_kernel: int = 1,
        upsample: Upsample = "bilinear",
        padding: Padding = "reflection",
        one_by_one: bool = True,
    ) -> None:
        super().__init__()
        up = down if up is None else up
        skip = [skip] * len(down) if isinstance(skip, int) else skip
        _check(input_channels, output_channels, down, up, skip)
        for name, kernel in {"down_kernel": down_kernel, "up_kernel": up_kernel, "skip_kernel": skip_kernel}.items():
            if kernel < 1 or kernel % 2 == 0:
                raise ConfigError(f"{name} is {kernel}; give the side of a kernel, an odd number such as 3")
        if upsample not in KERNELS:
            raise ConfigError(one_of("upsampling", upsample, KERNELS))
        if padding not in ("reflection", "zeros"):
            raise ConfigError(one_of("padding", padding, ("reflection", "zeros")))
        inputs, below = (input_channels, *down[:-1]), (*up[1:], down[-1])
        self.encoders = nn.ModuleList(
            nn.Sequential(*_layers(i, o, down_kernel, padding, stride=2), *_layers(o, o, down_kernel, padding))
            for i, o in zip(inputs, down, strict=True)
        )
        self.decoders = nn.ModuleList(
            Decoder(*channels, up_kernel, skip_kernel, upsample, padding, one_by_one)
            for channels in zip(inputs, skip, below, up, strict=True)
        )
        self.image = nn.Sequential(nn.Conv2d(up[0], output_channels, 1), nn.Sigmoid())
        self.input_channels = input_channels
        self.multiple = 2 ** len(down)
        # Of the coarsest scale: a batch normalisation needs several values, and reflection more pixels than it adds.
        coarsest = 2 if padding == "zeros" else max(2, down_kernel // 2 + 1, up_kernel // 4 + 1, skip_kernel // 4 + 1)
        self.reach = self.multiple * coarsest

    def forward(self, z: Tensor) -> Tensor:
        """z: [B, input_channels, H, W]. Raises ConfigError where the shape is another."""
        if z.dim() != 4 or z.shape[1] != self.input_channels:
            raise ConfigError(
                f"the input is {list(z.shape)}; this network takes [B, {self.input_channels}, H, W], so give noise of that shape"
            )
        height, width = z.shape[2:]
        if height % self.multiple or width % self.multiple or min(height, width) < self.reach:
            raise ConfigError(
                f"the input is {height} x {width} pixels; with {len(self.encoders)} scales both sides are multiples of "
                f"{self.multiple} and at least {self.reach}, so pad the image"
            )
        scales = [z]
        for encoder in self.encoders:
            scales.append(encoder(scales[-1]))
        x = scales.pop()
        for decoder in reversed(self.decoders):
            x = decoder(scales.pop(), x)
        return cast(Tensor, self.image(x))


class Decoder(nn.Module):
    """One scale on the way up: the upsampled scale below it beside the skip branch, normalised, then convolved.

    inputs: channels of what the skip branch reads; the others are as in SkipNetwork.
    """

    def __init__(
        self,
        inputs: int,
        skip: int,
        below: int,
        up: int,
        kernel: int,
        skip_kernel: int,
        upsample: Upsample,
        padding: Padding,
        one_by_one: bool,
    ) -> None:
        super().__init__()
        self.skip = nn.Sequential(*_layers(inputs, skip, skip_kernel, padding)) if skip else None
        self.norm = _norm(skip + below)
        self.merge, *activation = _layers(skip + below, up, kernel, padding)
        self.rest = nn.Sequential(*activation, *(_layers(up, up, 1, padding) if one_by_one else ()))
        self.channels = [skip, below]
        self.upsample = upsample
        self.foldable = kernel == 3 and padding == "reflection"

    def forward(self, x: Tensor, below: Tensor) -> Tensor:
        """x: [B, inputs, H, W]. below: [B, below, H / 2, W / 2]. Returns [B, up, H, W]."""
        beside = self.skip(x) if self.skip is not None else None
        if self._folds(below):
            return cast(Tensor, self.rest(self._folded(beside, below)))
        h = F.interpolate(below, scale_factor=2, mode=self.upsample)
        h = h if beside is None else torch.cat([beside, h], 1)
        return cast(Tensor, self.rest(self.merge(self.norm(h))))

    def _folds(self, below: Tensor) -> bool:
        """Whether the shorter way is known and worth it. Autocast chooses types layer by layer, so it takes the layers."""
        return (
            self.foldable
            and below.device.type == "cpu"
            and min(below.shape[2:]) >= WORTHWHILE
            and not torch.is_autocast_enabled("cpu")
        )

    def _folded(self, beside: Tensor | None, below: Tensor) -> Tensor:
        """merge(norm(concatenation)), as a sum over its parts: what is upsampled is normalised before, and convolved for a quarter."""
        (weight_s, weight), (gain_s, gain), (bias_s, bias) = (
            torch.split(tensor, self.channels, axis)
            for tensor, axis in ((self.merge.weight, 1), (self.norm.weight, 0), (self.norm.bias, 0))
        )
        h = convolve_upsampled(
            normalise_upsampled(below, gain, bias, self.upsample, self.norm.eps), weight, self.upsample
        )
        if beside is None:
            return h
        beside = F.batch_norm(beside, None, None, gain_s, bias_s, training=True, eps=self.norm.eps)
        return h.add_(F.conv2d(F.pad(beside, (1, 1, 1, 1), "reflect"), weight_s))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _layers(
    inputs: int, outputs: int, kernel: int, padding: Padding, stride: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]:
    """Convolution, batch normalisation, LeakyReLU."""
    mode: Literal["reflect", "zeros"] = "reflect" if padding == "reflection" and kernel > 1 else "zeros"
    conv: nn.Conv2d
    if kernel == 1 and stride > 1:
        conv = Subsampling(inputs, outputs, stride, bias=False)
    else:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, padding_mode=mode)
    return conv, _norm(outputs), nn.LeakyReLU(SLOPE, inplace=True)


def _check(
    input_channels: int, output_channels: int, down: Sequence[int], up: Sequence[int], skip: Sequence[int]
) -> None:
    """Raises ConfigError for numbers of channels that make no network."""
    if not len(down) == len(up) == len(skip) > 0:
        raise ConfigError(
            f"down has {len(down)} scales, up {len(up)} and skip {len(skip)}; give each one number of channels a scale"
        )
    if min(input_channels, output_channels, *down, *up) < 1 or min(skip) < 0:
        raise ConfigError(
            f"the channels are {input_channels} -> {output_channels}, down {list(down)}, up {list(up)}, skip {list(skip)}; "
            "give positive numbers, and 0 only for a skip branch to leave out"
        )


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a SkipNetwork from that of the same network built by `skip` of DmitryUlyanov/deep-image-prior.

    Left out are the biases that a batch normalisation takes away, and running statistics. Raises ConfigError for a state
    that is not of such a network.
    """
    made: dict[str, Tensor] = {}

    def holds(path: str) -> bool:
        return any(key.startswith(path) for key in state)

    def take(to: str, path: str, *names: str) -> None:
        made.update({f"{to}.{name}": state[f"{path}.{name}"] for name in names})

    def layers(conv: str, norm: str, path: str, number: int) -> None:
        # A convolution is alone in its Sequential, or second to its padding.
        place = 1 if holds(f"{path}{number}.1.weight") else 0
        take(conv, f"{path}{number}.{place}", "weight")
        take(norm, f"{path}{number + 1}", "weight", "bias")

    # Children count from 1. A scale is the encoder with the scale below in it, beside a skip branch or not; then the decoder.
    path, scale, last = "", 0, 6
    try:
        while scale == 0 or holds(path):
            encoder, decoder = f"encoders.{scale}", f"decoders.{scale}"
            inner = f"{path}1.1." if holds(f"{path}1.0.") else f"{path}1."
            if inner != f"{path}1.":
                layers(f"{decoder}.skip.0", f"{decoder}.skip.1", f"{path}1.0.", 1)
            layers(f"{encoder}.0", f"{encoder}.1", inner, 1)
            layers(f"{encoder}.3", f"{encoder}.4", inner, 4)
            take(f"{decoder}.norm", f"{path}2", "weight", "bias")
            layers(f"{decoder}.merge", f"{decoder}.rest.0", path, 3)
            if holds(f"{path}7."):
                layers(f"{decoder}.rest.2", f"{decoder}.rest.3", path, 6)
                last = 9
            path, scale = f"{inner}7.", scale + 1
        take("image.0", f"{last}.{1 if holds(f'{last}.1.') else 0}", "weight", "bias")
    except KeyError as error:
        raise ConfigError(
            f"the state has no {error}; give the state_dict of a network that `skip` of deep-image-prior built"
        ) from None
    return made
