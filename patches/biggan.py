"""BigGAN-PyTorch and codebases that grew out of it, DiffAugment-biggan-cifar among them: generators, loss, flags, resuming."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.hosts import flags
from sparse_plugin.hosts.host import Example, Host, allow_loading
from sparse_plugin.hosts.recognize import Revision
from sparse_plugin.network.adapters import Adapter

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.hosts.host import Patcher


class BigGAN(Host):
    """Its Adam is made inside the generator's constructor, and its EMA generator is a second construction."""

    def prepare(self, session: Patcher) -> None:
        """Flags in its own parser; and checkpoints that torch.load refuses since 2.6, for the nn.ReLU in their config."""

        def prepared(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            parser = wrapped(*args, **kwargs)
            flags.add(parser, session)
            return parser

        self.wrap(session, "utils:prepare_parser", prepared)
        self.wrap(session, "utils:load_weights", allow_loading(_activations))

    def examples(self, root: Path) -> Iterator[Example]:
        """BigGAN and, where it is there, BigGAN-deep, as for CIFAR-10."""
        def build(module: str) -> tuple[nn.Module, tuple[Any, ...]]:
            import torch

            kind = importlib.import_module(module).Generator
            activation = torch.nn.ReLU(inplace=False)
            hierarchical = module == "BigGANdeep"  # which it cannot do without
            generator = kind(resolution=32, G_attn="0", n_classes=10, hier=hierarchical, G_activation=activation)
            z, y = torch.randn(2, generator.dim_z), torch.randint(10, (2,))
            return generator, (z, generator.shared(y))

        for module in ("BigGAN", "BigGANdeep"):
            if (root / f"{module}.py").is_file():
                yield Example(module, lambda module=module: build(module))  # type: ignore[misc]


def _activations() -> list[Any]:
    from torch import nn

    return [nn.ReLU, nn.LeakyReLU, set]


HOST = BigGAN(
    "biggan",
    generators=["BigGAN:Generator", "BigGANdeep:Generator"],
    discriminators=["BigGAN:Discriminator", "BigGANdeep:Discriminator"],
    # A module attribute that the training function looks up at each call; one call an accumulation step.
    losses=["losses:generator_loss"],
    marks=["BigGAN:G_D", "train_fns:GAN_training_function", "utils:prepare_parser"],
    switch="flags of its own parser: --sparse l0_inf --sparse_k 16",
    sources=[
        Revision(
            "ajbrock/BigGAN-PyTorch",
            "98459431a5d618d644d54cd1e9fceb1e5045648d",
            files={
                "BigGAN.py": "036d48e52ae3",
                "BigGANdeep.py": "95763c341221",
                "layers.py": "55aaab105cdf",
                "losses.py": "6a7467fb8f49",
                "train_fns.py": "5a4d2a9bae14",
                "utils.py": "bdca336c905b",
            },
        ),
        Revision(
            "mit-han-lab/data-efficient-gans",
            "0b6339510be1e3859d360cbf464d0a425514a6b4",
            "DiffAugment-biggan-cifar",
            {
                "BigGAN.py": "fbb7cfc75b3e",
                "layers.py": "73bb15aad3c6",
                "losses.py": "2fbe809d731f",
                "train_fns.py": "0cb3a517cf49",
                "utils.py": "1d041593b81f",
            },
        ),
    ],
)
# Inside Sequential(batch norm, activation, convolution); the activation object also serves D and the EMA generator.
ADAPTER = Adapter("biggan", {"BigGAN:Generator": "output_layer.2", "BigGANdeep:Generator": "output_layer.2"}, HOST)
