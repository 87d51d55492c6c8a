"""StyleGAN2 and StyleGAN3 in NVIDIA's layout, DiffAugment-stylegan2-pytorch among them: where Γ is in their generators."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.hosts.host import Example, Host
from sparse_plugin.hosts.recognize import Revision, source_file
from sparse_plugin.network.adapters import Adapter

if TYPE_CHECKING:
    from torch import nn


def torgb(generator: Any) -> str | None:
    """The last ToRGB of a StyleGAN2: it sees (Γ, style), and its image is added to the upsampled ones before. Forks have other
    generators in modules of these names.
    """
    if not hasattr(getattr(generator, "synthesis", None), "block_resolutions"):
        return None
    return f"synthesis.b{generator.synthesis.block_resolutions[-1]}.torgb"


def last_layer(generator: Any) -> str | None:
    """The last layer of a StyleGAN3, the one that makes the image."""
    if not hasattr(getattr(generator, "synthesis", None), "layer_names"):
        return None
    return f"synthesis.{generator.synthesis.layer_names[-1]}"


class StyleGAN(Host):
    """Its trainers never call the generator: they call mapping and synthesis, each in a parallel wrapper of its own.

    A penalty acts by its gradient: the loss is computed inside one function of several phases, of which path-length
    regularization is left alone.
    """

    def examples(self, root: Path) -> Iterator[Example]:
        """Every generator class that is there, small and at 32 pixels."""
        def build(spec: str) -> tuple[nn.Module, tuple[Any, ...]]:
            import torch

            module, _, name = spec.partition(":")
            small = {"channel_base": 2048, "channel_max": 64}
            sizes = {"z_dim": 64, "c_dim": 0, "w_dim": 64, "img_resolution": 32, "img_channels": 3}
            kind = getattr(importlib.import_module(module), name)
            try:
                generator = kind(**sizes, **small)
            except TypeError:
                generator = kind(**sizes, synthesis_kwargs=small)
            return generator, (torch.randn(2, 64), torch.zeros(2, 0))

        for spec in self.generators:
            if source_file(root, spec.partition(":")[0]) is not None:
                yield Example(spec.partition(":")[0].rpartition(".")[2], lambda spec=spec: build(spec))  # type: ignore[misc]


HOST = StyleGAN(
    "stylegan",
    generators=[
        "training.networks:Generator",
        "training.networks_stylegan2:Generator",
        "training.networks_stylegan3:Generator",
    ],
    marks=[
        "training.loss:StyleGAN2Loss",
        "training.training_loop:training_loop",
        "torch_utils.persistence:persistent_class",
    ],
    sources=[
        Revision(
            "mit-han-lab/data-efficient-gans",
            "0b6339510be1e3859d360cbf464d0a425514a6b4",
            "DiffAugment-stylegan2-pytorch",
            {
                "training/networks.py": "b046eba2c314",
                "training/loss.py": "1ff3483b1e9f",
                "training/training_loop.py": "14836ad2e4ef",
                "torch_utils/persistence.py": "0186cfd97bca",
            },
        )
    ],
)
ADAPTER = Adapter(
    "stylegan",
    {
        "training.networks:Generator": torgb,
        "training.networks_stylegan2:Generator": torgb,
        "training.networks_stylegan3:Generator": last_layer,
    },
    HOST,
)
