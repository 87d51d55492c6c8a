"""PyTorch-StudioGAN: every backbone, its loss, a section SPARSE in its YAML, its log and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts.host import Example, Host, allow_loading
from sparse_plugin.hosts.recognize import Revision
from sparse_plugin.network.adapters import Adapter, Row
from sparse_plugin.patches.stylegan import last_layer, torgb
from sparse_plugin.support.config_text import load_yaml, located

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.hosts.host import Patcher

SECTION = "SPARSE"


class Section:
    """What stands under SPARSE: like StudioGAN's own sections, an object with an attribute a key, which it pickles and logs."""

    def __init__(self, keys: dict[str, Any]) -> None:
        vars(self).update(keys)


class StudioGAN(Host):
    """Under DDP it spawns processes that import everything anew; its EMA generator is a deep copy."""

    patched_loss = "config:Configurations.define_losses"

    def prepare(self, session: Patcher) -> None:
        """The section SPARSE; and checkpoints that torch.load refuses since 2.6, for the numpy scalars in them."""

        def overwrite(wrapped: Any, cfgs: Any, args: Any, kwargs: Any) -> None:
            file = args[0] if args else kwargs["cfg_file"]
            with open(file, encoding="utf-8") as stream:
                sections = load_yaml(stream.read()) or {}
            if SECTION in sections:
                keys = sections[SECTION]
                if not isinstance(keys, dict):
                    raise ConfigError(
                        f"{file}: {SECTION} is {keys!r}; write `regularizer: l0_inf` and its fields below it"
                    )
                session.configure(located(keys, Path(file).parent), f"{file}: {SECTION}")
                cfgs.SPARSE = cfgs.super_cfgs[SECTION] = Section(keys)
            wrapped(*args, **kwargs)

        self.wrap(session, "config:Configurations._overwrite_cfgs", overwrite)
        for function in ("load_ckpt", "load_StudioGAN_ckpts", "load_best_model"):
            self.wrap(session, f"utils.ckpt:{function}", allow_loading(_numpy_scalars))

    def patch(self, session: Patcher) -> None:
        """The loss, which it binds when its worker is built, and the log's folder, which it knows by then."""

        def define_losses(wrapped: Any, cfgs: Any, args: Any, kwargs: Any) -> None:
            wrapped(*args, **kwargs)
            loss = cfgs.LOSS.g_loss
            # The multi-hinge loss is multiplied by a factor of its own, which the penalty is not to get.
            share = 1 / cfgs.LOSS.mh_lambda if cfgs.LOSS.adv_loss == "MH" else 1.0
            cfgs.LOSS.g_loss = lambda *a, **k: session.with_penalty(loss(*a, **k), share=share)
            for handle in session.attachments():
                if getattr(cfgs.RUN, "ckpt_dir", None):
                    session.log_to(handle, cfgs.RUN.ckpt_dir, cfgs.RUN.print_freq)

        self.wrap(session, self.patched_loss, define_losses)

    def examples(self, root: Path) -> Iterator[Example]:
        """One generator a backbone and kind of block, as its own CIFAR-10 configurations say."""

        def build(file: Path) -> tuple[nn.Module, tuple[Any, ...]]:
            import config  # type: ignore[import-not-found]
            import torch
            from models import model  # type: ignore[import-not-found]

            cfgs = config.Configurations(str(file))
            cfgs.update_cfgs({"mixed_precision": False, "distributed_data_parallel": False}, super="RUN")
            cfgs.MODEL.apply_g_ema = False
            cfgs.MODEL.g_init = cfgs.MODEL.d_init = ""  # orthogonal matrices take most of the time
            generator, *_ = model.load_generator_discriminator(
                DATA=cfgs.DATA,
                OPTIMIZATION=cfgs.OPTIMIZATION,
                MODEL=cfgs.MODEL,
                STYLEGAN=cfgs.STYLEGAN,
                MODULES=cfgs.MODULES,
                RUN=cfgs.RUN,
                device="cpu",
                logger=None,
            )
            stylegan = cfgs.MODEL.backbone.startswith("stylegan")
            batch = 1 if stylegan else 2  # slow on a CPU; and batch norms want more than one
            label = torch.randint(cfgs.DATA.num_classes, (batch,))
            if stylegan:
                label = torch.eye(cfgs.DATA.num_classes)[label][:, : generator.c_dim]
            return generator, (torch.randn(batch, cfgs.MODEL.z_dim), label)

        for name in _EXAMPLES:
            file = root / "configs" / "CIFAR10" / f"{name}.yaml"
            if file.is_file():
                yield Example(name, lambda file=file: build(file))  # type: ignore[misc]


_EXAMPLES = (
    "DCGAN",
    "WGAN-GP",
    "SNGAN",
    "SAGAN",
    "BigGAN",
    "BigGAN-Deep",
    "BigGAN-Deep-StudioGAN",
    "StyleGAN2",
    "StyleGAN3-t-ADA",
    "StyleGAN3-r-ADA",
)


def _numpy_scalars() -> list[Any]:
    import numpy

    core = getattr(numpy, "_core", None) or numpy.core
    return [core.multiarray.scalar, numpy.dtype, *(type(numpy.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]


_D1: dict[str, Row] = {
    "deep_conv": "conv4",
    "resnet": "conv2d5",
    "big_resnet": "conv2d5",
    "big_resnet_deep_legacy": "conv2d5",
    "big_resnet_deep_studiogan": "conv2d5",
    "stylegan2": torgb,
    "stylegan3": last_layer,
}
HOST = StudioGAN(
    "studiogan",
    generators=[f"models.{backbone}:Generator" for backbone in _D1],
    marks=["config:Configurations", "loader:load_worker", "worker:WORKER", "models.model:load_generator_discriminator"],
    switch=f"a section {SECTION} in its YAML: {{regularizer: l0_inf, k: 16}}",
    sources=[
        Revision(
            "POSTECH-CVLab/PyTorch-StudioGAN",
            "947b35e9835b67860fdce44d337f6d7fee7c8db3",
            "src",
            {
                "models/deep_conv.py": "69c6c635a1c8",
                "models/resnet.py": "537bcb7f26b5",
                "models/big_resnet.py": "036fcf5b0ba5",
                "models/big_resnet_deep_legacy.py": "cdcf1286dbd6",
                "models/big_resnet_deep_studiogan.py": "6122bbf46915",
                "models/stylegan2.py": "2933d8f75069",
                "models/stylegan3.py": "eceb666f33e0",
                "models/model.py": "f0957ad3c0ee",
                "config.py": "976894168f9a",
                "loader.py": "d64d65f0b12c",
                "worker.py": "474670679978",
                "utils/losses.py": "a7bb618890d5",
                "utils/ckpt.py": "4318d91290b4",
            },
        )
    ],
)
ADAPTER = Adapter("studiogan", {f"models.{backbone}:Generator": row for backbone, row in _D1.items()}, HOST)
