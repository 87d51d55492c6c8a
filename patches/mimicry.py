"""torch_mimicry (kwotsin/mimicry, and 0.1.16 from PyPI): its generators, its loss, its log, and its import on today's torch."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.hosts import until
from sparse_plugin.hosts.host import Example, Host
from sparse_plugin.hosts.recognize import Revision
from sparse_plugin.network.adapters import Adapter
from sparse_plugin.support.console import say

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.attachment.handle import Attachment
    from sparse_plugin.hosts.host import Patcher

# D1 is called c5, c6 or c7 after the resolution; its input follows a BatchNorm and a ReLU.
_D1 = {"32": "c5", "CIFAR": "c5", "48": "c5", "64": "c6", "128": "c7"}
_NETS = {
    "dcgan:DCGAN": ("32", "CIFAR", "48", "64", "128"),
    "wgan_gp:WGANGP": ("32", "48", "64", "128"),
    "sngan:SNGAN": ("32", "48", "64", "128"),
    "ssgan:SSGAN": ("32", "48", "64", "128"),
    "infomax_gan:InfoMaxGAN": ("32", "48", "64", "128"),
    "cgan_pd:CGANPD": ("32", "128"),
    "sagan:SAGAN": ("32", "128"),
}
ADAPTER = Adapter(
    "mimicry",
    {
        f"torch_mimicry.nets.{net.partition(':')[0]}:{net.partition(':')[2]}Generator{size}": _D1[size]
        for net, sizes in _NETS.items()
        for size in sizes
    },
)

_IMAGENET = "torch_mimicry.datasets.imagenet.imagenet_utils"
_METRICS = "torch_mimicry.metrics"


class Mimicry(Host):
    """Also puts the plugin's figures into the log of mimicry's Trainer, stops it where `tune` asks, and lets PyPI's release import
    on today's torch.
    """

    stops = True

    def __init__(self) -> None:
        super().__init__(
            "mimicry",
            generators=["torch_mimicry.nets.gan.gan:BaseGenerator"],
            discriminators=["torch_mimicry.nets.gan.gan:BaseDiscriminator"],
            losses=["torch_mimicry.nets.gan.gan:BaseGenerator.compute_gan_loss"],
            marks=["torch_mimicry.training.trainer:Trainer.train"],
            sources=[
                Revision(
                    "kwotsin/mimicry",
                    "a7fda06c4aff1e6af8dc4c4a35ed6636e434c766",
                    files={
                        "torch_mimicry/nets/gan/gan.py": "9630d30f09ad",
                        "torch_mimicry/nets/sngan/sngan_32.py": "20a0cd73b33d",
                        "torch_mimicry/training/trainer.py": "c0c93c62e811",
                        "torch_mimicry/training/logger.py": "becd1cd7229e",
                    },
                ),
            ],
        )
        # By the logger, whose trainer knows the generator.
        self._logged: weakref.WeakKeyDictionary[Any, Attachment] = weakref.WeakKeyDictionary()

    def prepare(self, session: Patcher) -> None:
        finder = _Imports()
        sys.meta_path.insert(0, finder)
        session.undo.append(lambda: sys.meta_path.remove(finder))

        def imported(module: Any) -> None:
            sys.modules.pop("torch._six", None)

        session.when_imported(_IMAGENET, imported)

    def patch(self, session: Patcher) -> None:
        def trainer_built(wrapped: Any, trainer: Any, args: Any, kwargs: Any) -> None:
            wrapped(*args, **kwargs)
            from sparse_plugin.attachment.handle import Attachment

            handle = Attachment.of(trainer.netG)
            if handle is not None:
                session.log_to(handle, trainer.log_dir, trainer.log_steps)
                self._logged[trainer.logger] = handle

        self.wrap(session, "torch_mimicry.training.trainer:Trainer.__init__", trainer_built)
        self.wrap(session, "torch_mimicry.training.trainer:Trainer.train", _train)
        self.wrap(session, "torch_mimicry.training.logger:Logger.write_summaries", self._summarize)

    def examples(self, root: Path) -> Iterator[Example]:
        """One generator a kind of net, at its smallest."""
        del root

        def build(module: str, name: str) -> tuple[nn.Module, tuple[Any, ...]]:
            import torch

            conditional = name in ("CGANPD", "SAGAN")
            kind = getattr(importlib.import_module(f"torch_mimicry.nets.{module}"), f"{name}Generator32")
            generator = kind(**({"num_classes": 10} if conditional else {}))
            return generator, (torch.randn(2, generator.nz), *([torch.randint(10, (2,))] if conditional else []))

        for net in _NETS:
            module, _, name = net.partition(":")
            yield Example(f"{name}32", lambda module=module, name=name: build(module, name))  # type: ignore[misc]

    def _summarize(self, wrapped: Any, logger: Any, args: Any, kwargs: Any) -> Any:
        """Add the latest measurements to the metrics that mimicry writes to TensorBoard and prints."""
        handle = self._logged.get(logger)
        log_data = kwargs.get("log_data", args[0] if args else None)
        recorder = None if handle is None else handle.recorder
        for measured in recorder.latest if recorder is not None and log_data is not None else ():
            level = f"_{measured.level}" if measured.level > 1 else ""
            log_data.add_metric(f"sparsity_before{level}", measured.sparsity_before, group="sparsity")
            log_data.add_metric(f"sparsity{level}", measured.sparsity, group="sparsity")
            log_data.add_metric(f"atoms_unused{level}", measured.never_used, group="atoms")
            if measured.penalty is not None:
                log_data.add_metric("penalty", measured.penalty, group="penalty", precision=8)
        return wrapped(*args, **kwargs)


def _train(wrapped: Any, trainer: Any, args: Any, kwargs: Any) -> Any:
    """Train up to the step at which the run is to stop: the Trainer then saves a checkpoint, from which it goes on by itself."""
    share, steps = until.share(), trainer.num_steps
    if share is None:
        return wrapped(*args, **kwargs)
    trainer.num_steps = max(1, round(share * steps))
    try:
        result = wrapped(*args, **kwargs)
        if any(Path(trainer.netG_ckpt_dir).glob(f"*_{trainer.num_steps}_steps.pth")):  # not where it was interrupted before
            until.stopped(trainer.num_steps, steps)
        return result
    finally:
        trainer.num_steps = steps


HOST = Mimicry()


class _Imports:
    """A finder that acts as mimicry is imported and otherwise finds nothing.

    Release 0.1.16 takes names from torch._six, which torch dropped; its metrics import TensorFlow, which training does
    not need, and which crashes the process when it is loaded before triton.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Prepare what module `name` of mimicry needs; a spec only for a stand-in of its metrics."""
        if name == "torch_mimicry" and _there("tensorflow"):
            # torchvision loads triton.
            import torchvision  # noqa: F401
        elif name == _IMAGENET and not _there("torch._six"):
            say("torch_mimicry asks for torch._six, which this torch has not; it gets the three names that it uses")
            six = types.ModuleType("torch._six")
            vars(six).update(PY3=True, string_classes=(str, bytes), int_classes=int)
            sys.modules["torch._six"] = six
            vars(sys.modules["torch"])["_six"] = six  # datasets look it up there when they are used
        elif name == _METRICS and not _there("tensorflow"):
            say(
                "torch_mimicry.metrics needs TensorFlow, which is not installed; it is left out, and training does without"
            )
            return importlib.util.spec_from_loader(name, _NoMetrics())
        return None


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


class _NoMetrics(importlib.abc.Loader):
    """Loads the stand-in: any use of it says what is missing."""

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        def missing(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            raise ImportError(
                f"torch_mimicry.metrics.{name} needs TensorFlow: `pip install tensorflow`, then start again"
            )

        vars(module)["__getattr__"] = missing
