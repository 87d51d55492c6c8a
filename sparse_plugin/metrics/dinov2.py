"""DINOv2's vision transformers for torch-fidelity's extractors of that name, which know no way but downloading them.

The network has the names and the arithmetic of facebookresearch/dinov2 (Apache-2.0), for images of 224x224 and files such
as dinov2_vits14_pretrain.pth. Source: Oquab et al., arXiv 2304.07193.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH, HEAD = 14, 64
# Positions were learned for a square of so many patches, and are scaled from it with this much added to the wanted size.
LEARNED, OFFSET = 37, 0.1


@dataclass(frozen=True)
class Size:
    """A network of the family, and the file of its weights."""

    file: str
    width: int
    depth: int
    gated: bool = False


NAMES = {
    "dinov2-vit-s-14": Size("dinov2_vits14_pretrain.pth", 384, 12),
    "dinov2-vit-b-14": Size("dinov2_vitb14_pretrain.pth", 768, 12),
    "dinov2-vit-l-14": Size("dinov2_vitl14_pretrain.pth", 1024, 24),
    "dinov2-vit-g-14": Size("dinov2_vitg14_pretrain.pth", 1536, 40, gated=True),
}


def extractor(name: str, path: Path) -> Any:
    """torch-fidelity's extractor called name, with its preprocessing, around a network with the weights in a file.

    Raises what `torch.load` does of a file that holds more than tensors, RuntimeError for weights of another network.
    """
    from torch_fidelity import FeatureExtractorDinoV2
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    with torch.device("meta"):
        network = VisionTransformer(NAMES[name])
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), assign=True)
    # Its own constructor fetches code and weights, and takes no file.
    made = FeatureExtractorDinoV2.__new__(FeatureExtractorDinoV2)
    FeatureExtractorBase.__init__(made, name, ["dinov2"])
    made.feature_extractor_internal_dtype = torch.float32
    made.model = network
    return made.float().requires_grad_(False).eval()


class VisionTransformer(nn.Module):
    """Images (N, 3, H, W), normalized, H and W multiples of 14 -> the normalized class token, (N, width)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + LEARNED**2, size.width))
        self.mask_token = nn.Parameter(torch.zeros(1, size.width))  # in the files, and of training alone
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, size.width, PATCH, PATCH)})
        self.blocks = nn.Sequential(*(Block(size) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """The class token of a batch."""
        patches = self.patch_embed["proj"](images)
        height, width = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        found: Tensor = self.norm(self.blocks(tokens + self._positions(height, width)))
        return found[:, 0]

    def _positions(self, height: int, width: int) -> Tensor:
        if height == width == LEARNED:
            return self.pos_embed
        learned = self.pos_embed[:, 1:].reshape(1, LEARNED, LEARNED, -1).permute(0, 3, 1, 2)
        scale = ((height + OFFSET) / LEARNED, (width + OFFSET) / LEARNED)
        scaled = F.interpolate(learned, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], scaled.permute(0, 2, 3, 1).flatten(1, 2)], 1)


class Block(nn.Module):
    """Attention and a perceptron, each after a normalization, scaled by channel, and added."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(size.width, eps=1e-6) for _ in range(2))
        self.attn = SelfAttention(size.width)
        self.mlp: nn.Module = Gated(size.width) if size.gated else Perceptron(size.width)
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.ones(size.width)}) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, width), the same shape."""
        x = x + self.attn(self.norm1(x)) * self.ls1["gamma"]
        added: Tensor = self.mlp(self.norm2(x)) * self.ls2["gamma"]
        return x + added


class SelfAttention(nn.Module):
    """Self-attention in heads of 64 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, width), the same shape."""
        query, key, value = self.qkv(x).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class Perceptron(nn.Module):
    """One hidden layer of four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, width), the same shape."""
        found: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return found


class Gated(nn.Module):
    """SwiGLU, with two thirds of that, in eights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
        self.w12, self.w3 = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, width), the same shape."""
        gate, value = self.w12(x).chunk(2, -1)
        found: Tensor = self.w3(F.silu(gate) * value)
        return found
