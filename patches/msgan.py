"""MSGAN (mode seeking) on the conditional DCGAN: its generator, its loss, flags in its own parser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sparse_plugin.hosts import flags
from sparse_plugin.hosts.host import Example, Host
from sparse_plugin.hosts.recognize import Revision
from sparse_plugin.network.adapters import Adapter

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.hosts.host import Patcher


class MSGAN(Host):
    """One forward pass, of two batches of noise side by side, serves D and G, and G's loss is computed for each half."""

    def prepare(self, session: Patcher) -> None:
        """Flags in the parser of its options."""

        def built(wrapped: Any, options: Any, args: Any, kwargs: Any) -> None:
            wrapped(*args, **kwargs)
            flags.add(options.parser, session)

        self.wrap(session, "options:TrainOptions.__init__", built)
        self.wrap(session, "options:TestOptions.__init__", built)

    def examples(self, root: Path) -> Iterator[Example]:
        """The generator of the CIFAR-10 experiments."""
        del root

        def build() -> tuple[nn.Module, tuple[Any, ...]]:
            import networks  # type: ignore[import-not-found]
            import torch

            generator = networks.generator(SimpleNamespace(nz=100, class_num=10))
            labels = torch.eye(10)[torch.randint(10, (2,))]
            return generator, (torch.randn(2, 100), labels[:, :, None, None])

        yield Example("DCGAN", build)


HOST = MSGAN(
    "msgan",
    generators=["networks:generator"],
    discriminators=["networks:discriminator"],
    losses={"model:CDCGAN.backward_G": 0.5},
    marks=["networks:discriminator", "options:TrainOptions.parse", "model:CDCGAN"],
    switch="flags of its own parser: --sparse l0_inf --sparse_k 16",
    sources=[
        Revision(
            "HelenMao/MSGAN",
            "e386c252f059703fcf5d439258949ae03dc46519",
            "DCGAN-Mode-Seeking",
            {"model.py": "980deed37881", "networks.py": "818c9a5237d4", "options.py": "02a91de9710d"},
        )
    ],
)
ADAPTER = Adapter("msgan", {"networks:generator": "deconv4"}, HOST)
