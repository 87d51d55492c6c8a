"""Host patches: how one framework's own trainer comes to run with a regularizer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sparse_plugin.errors import ConfigError, shown
from sparse_plugin.hosts.recognize import Recognition, Revision, import_root, recognize, source_file, unparsable
from sparse_plugin.hosts.undo import Undo
from sparse_plugin.support import advice
from sparse_plugin.support.plugins import Plugins, called_from

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.attachment.handle import Attachment
    from sparse_plugin.config import SparsityConfig


class Patcher(Protocol):
    """What a process with the plugin switched on offers to a host patch."""

    @property
    def config(self) -> SparsityConfig:
        """What is switched on."""

    @property
    def undo(self) -> Undo:
        """What takes back everything that is done to this process: `undo.append(function)` for what a patch does itself."""

    def configure(self, mapping: Mapping[str, Any], source: str) -> None:
        """Take settings that the host's own configuration holds."""

    def attach_instances_of(self, spec: str, host: Host | None) -> None:
        """Attach to every instance of the class "module:Class"."""

    def attach_discriminators_of(self, spec: str, host: Host | None) -> None:
        """The same of a discriminator's class, for those who ask for `role: discriminator`."""

    def after_factory(self, host: Host | None) -> Callable[..., Any]:
        """A wrapt wrapper around a function that returns a generator."""

    def wrap(self, parent: Any, attribute: str, wrapper: Callable[..., Any]) -> None:
        """Put a wrapt wrapper around parent's attribute."""

    def when_imported(self, module: str, then: Callable[[Any], None]) -> None:
        """Call then(module) now, or when a module is imported."""

    def add_penalty(self, share: float = 1.0) -> Callable[..., Any]:
        """A wrapt wrapper around the host's loss, which adds the penalty."""

    def with_penalty(self, loss: Any, instance: Any = None, share: float = 1.0) -> Any:
        """A generator's loss with share of the penalty added."""

    def attachments(self) -> list[Attachment]:
        """Of the generators that were built and are alive."""

    def log_to(self, handle: Attachment, host_dir: str | os.PathLike[str], every: int) -> None:
        """Log the measurements of handle beside the host's own log."""


@dataclass(frozen=True)
class Example:
    """One of a host's generators, for a look at it without training: a name, and what builds it with a forward's inputs."""

    name: str
    build: Callable[[], tuple[nn.Module, tuple[Any, ...]]]


class Host:
    """A framework: which classes build its generators, and which functions compute a generator's loss.

    generators: `"package.module:Class"`; instances of these classes and of classes derived from them are attached as soon
    as they are built, before an optimizer, an EMA copy or a parallel wrapper sees them.
    discriminators: the same of its discriminators, which are attached where somebody asks for `role: discriminator`.
    factories: `"package.module:function"` that return a generator of a class that is not the host's own.
    losses: `"package.module:function"` or `"package.module:Class.method"` that return the generator's loss; a penalty is
    added to what they return, so that loss scaling, accumulation and logging see it. As a mapping, with the share of the
    penalty that each call takes: 0.5 for a function that is called twice a step.
    marks: more names of this framework by which its source is told from another with the same module names.
    sources: repositories and revisions that the patch was written for. switch: how the framework's own configuration
    switches the plugin on, for people. Subclass and override `prepare`, `patch` and `examples` for more.
    """

    # The function where `patch` itself brings the penalty to the generator's loss, if `losses` cannot name one.
    patched_loss = ""
    # Whether `patch` stops the framework's trainer where `until.share()` says, and the same command goes on from there.
    stops = False

    def __init__(
        self,
        name: str,
        *,
        generators: Sequence[str] = (),
        factories: Sequence[str] = (),
        losses: Sequence[str] | Mapping[str, float] = (),
        marks: Sequence[str] = (),
        sources: Sequence[Revision] = (),
        switch: str = "",
        discriminators: Sequence[str] = (),
    ) -> None:
        for given in (generators, factories, losses, marks, sources, discriminators):
            if isinstance(given, str) or not isinstance(given, (Sequence, Mapping)):
                raise ConfigError(
                    f'host {shown(name)} is given {shown(given)}; give a list, as in ["package.module:Class"]'
                )
        self.name = name
        self.generators = tuple(generators)
        self.factories = tuple(factories)
        self.discriminators = tuple(discriminators)
        self.losses = dict(losses) if isinstance(losses, Mapping) else dict.fromkeys(losses, 1.0)
        self.marks = tuple(marks)
        self.sources = tuple(sources)
        self.switch = switch
        self._at = lru_cache(maxsize=64)(self.recognize)

    @property
    def builders(self) -> tuple[str, ...]:
        """The classes and functions that build generators."""
        return self.generators + self.factories

    @property
    def knows_loss(self) -> bool:
        """Whether a penalty reaches the generator's loss; else its gradient is added to that of Γ."""
        return bool(self.losses or self.patched_loss)

    def dense(self, generator: nn.Module) -> bool:
        """Whether Γ of generator, one of its own, is dense by nature, as behind a SiLU: where nobody says how much of it to keep, k
        is then auto.
        """
        del generator
        return False

    def prepare(self, session: Patcher) -> None:
        """What this framework needs with the plugin disabled too: to be imported, to read a configuration that names the
        plugin. Undo with session.undo.
        """

    def patch(self, session: Patcher) -> None:
        """What this framework needs beyond the tables above. Undo with session.undo."""

    def examples(self, root: Path) -> Iterator[Example]:
        """The generators that this framework has below root, for `sparse-plugin check`. Its modules can be imported."""
        del root
        return iter(())

    def recognize(self, root: Path) -> Recognition | None:
        """Whether the source below root is this framework's; None where it is not."""
        return recognize(root, (*self.builders, *self.losses, *filter(None, [self.patched_loss]), *self.marks))

    def find(self, folder: Path) -> Recognition | None:
        """The framework in folder: in itself, or in the subfolder from which its scripts run. None where it is not there."""
        for part in dict.fromkeys(("", *(source.folder for source in self.sources))):
            found = self.recognize(folder / part)
            if found is not None:
                return found
        return None

    def lost(self, found: Recognition) -> str:
        """The sentence for a revision of this framework whose generators the patch does not find; "" where it does."""
        moved = [spec for spec in self.builders if spec in found.moved]
        if not moved and any(spec in found.there for spec in self.builders):
            return ""
        spec = (moved or self.builders)[0]
        file = source_file(found.root, spec.partition(":")[0])
        if file is not None and (why := unparsable(file)):
            return f"{found.root} is {self.name} by its other files, and {why}"
        at = ", ".join(map(str, self.sources)) or "another revision"
        return (
            f"{found.root} is {self.name} by its other files, and does not define {spec}, which its patch "
            f"(written for {at}) attaches to; name the generator with {advice.setting('generator', 'module:Class')}, or update "
            "sparse_plugin"
        )

    def owns(self, module: Any) -> bool:
        """Whether a module that was imported is part of this framework, and not of another with the same names."""
        root = import_root(module)
        return root is not None and self._at(root) is not None

    def install(self, session: Patcher) -> None:
        """Apply the patch, now or when the framework is imported; where the config disables the plugin, prepare only."""
        self.prepare(session)
        for spec in self.generators:
            session.attach_instances_of(spec, self)
        for spec in self.factories:
            self.wrap(session, spec, session.after_factory(self))
        if not session.config.enabled:
            return
        for spec in self.discriminators:
            session.attach_discriminators_of(spec, self)
        self.patch(session)
        for spec, share in self.losses.items():
            self.wrap(session, spec, session.add_penalty(share))

    def wrap(self, session: Patcher, spec: str, wrapper: Callable[..., Any]) -> None:
        """Wrap what "module:function" or "module:Class.method" names with a wrapt wrapper, now or when it is imported.

        Where another codebase has a module of this name, or a revision of this one has not the function, nothing is done.
        """
        module, _, name = spec.partition(":")

        def apply(imported: Any) -> None:
            if not self.owns(imported):
                return
            try:
                session.wrap(imported, name, wrapper)
            except AttributeError:
                return

        session.when_imported(module, apply)


HOSTS: Plugins[Host] = Plugins("host", ("install", "find"), "a Host object")


def register_host(host: Host) -> Host:
    """Register a host patch in this process, under its name. Returns it."""
    HOSTS.register(getattr(host, "name", None), host, called_from())
    return host


def identify(folder: Path, name: str | None = None) -> list[tuple[Host, Recognition]]:
    """The host patches, the one called name or any installed one, that know the source in folder or its subfolders.

    Raises ConfigError where two of them know the same.
    """
    hosts = [HOSTS.get(name)] if name is not None else [host for _, host in HOSTS.usable()]
    found = [(host, recognition) for host in hosts if (recognition := host.find(folder)) is not None]
    by_root: dict[Path, Host] = {}
    for host, recognition in found:
        other = by_root.setdefault(recognition.root, host)
        if other is not host:
            raise ConfigError(
                f"the host patches {other.name!r} and {host.name!r} both claim {recognition.root}; choose one with "
                f"{advice.setting('host', other.name)} or {advice.setting('host', host.name)}"
            )
    return found


def allow_loading(types: Callable[[], list[Any]]) -> Callable[..., Any]:
    """A wrapt wrapper around a function that loads this framework's checkpoints: torch.load may build these types in it.

    Since 2.6 torch.load refuses, by default, whatever is no tensor or plain container.
    """

    def load(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        import torch

        with torch.serialization.safe_globals(types()):
            return wrapped(*args, **kwargs)

    return load
