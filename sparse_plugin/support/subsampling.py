"""A convolution of kernel 1 and a stride, as it is safe on every CPU."""

from __future__ import annotations

from torch import Tensor, nn


class Subsampling(nn.Conv2d):
    """A 1x1 convolution of every `every`-th pixel: the function, the parameters and their names of Conv2d(..., 1, every).

    oneDNN's kernel for the strided convolution writes past its memory in the backward pass on CPUs with AVX2 and without
    AVX-512, where the input or the weight is in channels-last format and the channels are few, as an image's 3. Here the
    pixels are chosen first, and the convolution has no stride.
    """

    def __init__(self, inputs: int, outputs: int, every: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W). Returns (N, outputs, H / every, W / every), rounded up."""
        return super().forward(x[..., :: self.every, :: self.every])
