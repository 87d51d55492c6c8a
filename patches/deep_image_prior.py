"""Deep Image Prior: the encoder scales of its networks, which its functions build out of plain Sequentials."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.hosts.host import Example, Host
from sparse_plugin.hosts.recognize import Revision
from sparse_plugin.network.adapters import Adapter

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.network.sites import Site


class NestedScales(Adapter):
    """Γ_1..Γ_K are what each scale of the encoder hands on: to the next scale, its skip branch, and the decoder.

    The networks have no class of their own, so they are known by how they are nested: children are numbered from 1, and a
    level begins with its deeper part, alone or beside a skip branch, that ends in an Upsample.
    """

    def __init__(self) -> None:
        super().__init__("deep_image_prior", {}, HOST)

    def matches(self, generator: nn.Module) -> bool:
        return bool(scales(generator))

    def sites(self, generator: nn.Module) -> tuple[Site, ...]:
        from sparse_plugin.network.sites import Site

        return tuple(Site(path, "output", level) for level, path in enumerate(scales(generator), 1))


def scales(network: nn.Module) -> list[str]:
    """The paths of the modules whose outputs are the encoder scales, from fine to coarse; [] where there is no encoder."""
    if type(network).__name__ == "UNet" and hasattr(network, "start") and hasattr(network, "down4"):
        more = (f"more_downs.{i}" for i, _ in enumerate(getattr(network, "more_downs", ()) or ()))
        return ["start", "down1", "down2", "down3", "down4", *more]
    return _levels(network, "") or _branches(network, "")


def _levels(network: nn.Module, prefix: str) -> list[str]:
    """`skip`: the deeper part is [convolution, norm, activation] twice, then the next level if any, then an Upsample."""
    from torch.nn import Sequential, Upsample

    first = network._modules.get("1") if isinstance(network, Sequential) and "0" not in network._modules else None
    deeper, path = first, f"{prefix}1"
    if type(first).__name__ == "Concat" and first is not None:
        deeper, path = first._modules.get("1"), f"{prefix}1.1"
    if not isinstance(deeper, Sequential) or "0" in deeper._modules:
        return []
    names = [name for name, child in deeper.named_children()]
    if len(names) < 7 or not isinstance(deeper._modules[names[-1]], Upsample):
        return []
    last = names[-2]
    below = _levels(deeper._modules[last], f"{path}.{last}.")
    return [f"{path}.{names[-3] if below else last}", *below]


def _branches(network: nn.Module, prefix: str) -> list[str]:
    """`texture_nets`: no encoder, but a branch a scale, each of a pooled input; what it hands on before its last norm."""
    from torch.nn import AvgPool2d, Sequential

    if not isinstance(network, Sequential) or "0" in network._modules:
        return []
    names = [name for name, _ in network.named_children()]
    first = network._modules.get("1")
    if isinstance(first, AvgPool2d):
        # The last convolution, its norm and its activation; what follows resamples or normalizes for the merge.
        norms = [name for name in names if "Norm" in type(network._modules[name]).__name__]
        return [f"{prefix}{names[names.index(norms[2]) + 1]}"] if len(norms) > 2 else []
    if type(first).__name__ != "Concat" or first is None:
        return []
    found: list[str] = []
    for name in reversed(list(first._modules)):
        found += _branches(first._modules[name], f"{prefix}1.{name}.")  # type: ignore[arg-type]
    return found


class DeepImagePrior(Host):
    """A penalty acts by its gradient: the loss is computed in each notebook's own closure."""

    def examples(self, root: Path) -> Iterator[Example]:
        """Its networks, as its experiments use them."""
        del root

        def build(name: str, channels: int, **options: Any) -> tuple[nn.Module, tuple[Any, ...]]:
            import torch

            module = importlib.import_module(f"models.{name.lower()}")
            return getattr(module, name)(channels, 3, **options), (torch.rand(1, channels, 256, 256),)

        wide = [128] * 5
        yield Example(
            "skip, denoising",
            lambda: build(
                "skip", 32, num_channels_down=wide, num_channels_up=wide, num_channels_skip=[4] * 5,
                upsample_mode="bilinear", pad="reflection",
            ),
        )  # fmt: skip
        yield Example(
            "skip, library",
            lambda: build(
                "skip", 1, num_channels_down=[16, 32, 64, 128, 128, 128], num_channels_up=[16, 32, 64, 128, 128, 128],
                num_channels_skip=[0] * 6, filter_size_down=5, filter_size_up=3, need1x1_up=False, pad="reflection",
            ),
        )  # fmt: skip
        yield Example("UNet", lambda: build("UNet", 32, upsample_mode="bilinear", pad="zero"))


HOST = DeepImagePrior(
    "deep_image_prior",
    generators=["models.unet:UNet", "models.resnet:ResNet"],
    factories=["models.skip:skip", "models.texture_nets:get_texture_nets", "models.dcgan:dcgan"],
    marks=["models:get_net", "models.common:Concat"],
    sources=[
        Revision(
            "DmitryUlyanov/deep-image-prior",
            "042e0d4c1e93f4b1eb0932781de55b8cff5e0f40",
            files={
                "models/__init__.py": "f4d121ea2119",
                "models/common.py": "9af09e2c5830",
                "models/skip.py": "0ebe15c794f1",
                "models/unet.py": "3816556a98ef",
            },
        )
    ],
)
ADAPTER = NestedScales()
