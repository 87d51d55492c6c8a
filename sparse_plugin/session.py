"""One process with the plugin switched on: `enable()` in a notebook, or a process that the launcher started."""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.construction import after_construction, when_defined
from sparse_plugin.errors import AttachmentError, ConfigError
from sparse_plugin.imports import load
from sparse_plugin.plugins import HOSTS

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.attachment import Attachment
    from sparse_plugin.hosts import Host

STATUS = "SPARSE_PLUGIN_STATUS"  # a folder where every process says what it attached

_current: Session | None = None


class Session:
    """What is switched on in this process, and how to switch it off again."""

    def __init__(self, config: SparsityConfig, default_run_dir: str | None = None) -> None:
        self.config = config
        self.default_run_dir = default_run_dir
        self.active = False
        self.undo: list[Callable[[], None]] = []
        self.attached = self.effective = 0
        self._said: set[str] = set()
        self._generators: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def start(self) -> None:
        """Patch the hosts, now or when they are imported."""
        config = self.config
        self.active = True
        for name in config.imports:
            load(name)
        names = [config.host] if config.host else list(HOSTS.all())
        for name in names:
            HOSTS.get(name).install(self)
        if config.generator and config.enabled:
            self.attach_instances_of(config.generator, None)

    def stop(self) -> None:
        """Take every patch back. Generators that were attached stay so."""
        self.active = False
        while self.undo:
            self.undo.pop()()

    def attach_instances_of(self, spec: str, host: Host | None) -> None:
        """Attach to every instance of the class that spec, "module:Class", names, once the class exists."""
        from wrapt import register_post_import_hook

        def watch(torch_module: Any) -> None:
            if self.active:
                self.undo.append(
                    when_defined(
                        torch_module.Module,
                        spec,
                        lambda cls: self.undo.append(after_construction(cls, lambda built: self.built(built, host))),
                    )
                )

        register_post_import_hook(watch, "torch.nn.modules.module")

    def built(self, generator: nn.Module, host: Host | None) -> None:
        """A generator was built: attach, unless it holds one that is attached already."""
        from sparse_plugin import attachment, hooks, placement

        if not self.active or attachment.Attachment.of(generator) is not None:
            return
        if self._on_placed not in placement.placed:
            placement.placed.append(self._on_placed)
            hooks.effective.append(self._on_effective)
        config = self.config
        if config.delivery is None and host is not None and host.losses:
            config = config.with_(delivery="loss")
        self._generators.add(generator)
        handle = attachment.attach(generator, config)
        if not handle.sites:
            self._attached(f"{handle.regularizer} waits for the first call of {type(generator).__name__}")

    def add_penalty(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """A wrapt wrapper around the host's loss: its value with the penalties of the generators at work added."""
        import torch

        from sparse_plugin.attachment import Attachment
        from sparse_plugin.registry.base import Penalty

        loss = wrapped(*args, **kwargs)
        if not torch.is_grad_enabled():
            return loss
        own = instance in self._generators
        found = [Attachment.of(generator) for generator in ([instance] if own else list(self._generators))]
        mine = [h for h in found if h is not None and isinstance(h.regularizer, Penalty) and h.delivery == "loss"]
        # A function's loss belongs to the generators that have just run; EMA twins were built too, and did not.
        for handle in [h for h in mine if h.pending] or mine:
            loss = loss + handle.penalty()
        return loss

    def log_to(self, handle: Attachment, host_dir: str | os.PathLike[str], every: int) -> None:
        """Log the measurements of handle beside the host's own log, unless the config says where or how often."""
        config = self.config
        chosen = every if config.measure_every is None else config.measure_every
        handle.log_to(config.run_dir or host_dir, chosen)

    def _on_placed(self, generator: nn.Module) -> None:
        if generator not in self._generators:
            return
        from sparse_plugin.attachment import Attachment
        from sparse_plugin.placement import MEASURE_EVERY
        from sparse_plugin.sites import own_kernel

        handle = Attachment(generator)
        if handle.recorder is None and self.default_run_dir:
            every = MEASURE_EVERY if self.config.measure_every is None else self.config.measure_every
            handle.log_to(self.default_run_dir, every)
        places = []
        for site in handle.sites:
            module = handle.generator.get_submodule(site.path)
            kernel = own_kernel(module)
            size = " " + "x".join(map(str, kernel.shape)) if kernel is not None else ""
            places.append(f"the {site} ({type(module).__name__}{size})")
        self._attached(f"{handle.regularizer} attached to {type(handle.generator).__name__} at {', '.join(places)}")

    def _attached(self, text: str) -> None:
        self.attached += 1
        if text not in self._said:
            self._said.add(text)
            say(f"{text} [process {os.getpid()}]")
        self._status({"attached": text})

    def _on_effective(self, hook: Any) -> None:
        self.effective += 1
        self._status({"effective": str(hook.site)})

    def _status(self, event: dict[str, str]) -> None:
        folder = os.environ.get(STATUS)
        if folder and Path(folder).is_dir():
            with open(Path(folder) / f"{os.getpid()}.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")


def say(text: str) -> None:
    """One line on stderr."""
    print(f"sparse_plugin: {text}", file=sys.stderr, flush=True)


def verdict(attached: Sequence[str], effective: bool, config: SparsityConfig) -> str | None:
    """The sentence for a run in which the regularizer did nothing; None where it acted."""
    if effective:
        return None
    if attached:
        return f"NOTHING WAS REGULARIZED: {attached[0]}, but the generator never ran with it (or its loss was never computed)"
    hosts = ", ".join(HOSTS.all()) or "none"
    return (
        f"NOTHING WAS ATTACHED: no generator of a known host ({hosts}) was built"
        + (f", nor one of class {config.generator}" if config.generator else "")
        + '; name the class with --generator "module:Class" ("__main__:Class" where the script defines it)'
    )


def enable(
    host: str | None = None,
    regularizer: str | None = None,
    /,
    *,
    config: str | SparsityConfig | None = None,
    **settings: Any,
) -> Session:
    """Switch the plugin on in this process and in those that it starts, as `sparse-plugin run` does for a script.

    host: the only host to patch, or None for every installed one. regularizer and settings: as in a config file's
    `sparse` section, as in `enable("mimicry", "l0_inf", k=16)`; or config: a file's path, or a SparsityConfig.
    Generators are attached when they are built after this call. Raises ConfigError for settings, AttachmentError where it is
    on already.
    """
    global _current
    if _current is not None and _current.active:
        raise AttachmentError(f"sparse_plugin is on already, with {_current.config.regularizer}; disable() it first")
    if config is not None and (regularizer is not None or settings):
        raise ConfigError("give a config or a regularizer with its settings, not both")
    if isinstance(config, str):
        config = SparsityConfig.from_file(config)
    if config is None:
        if regularizer is None:
            raise ConfigError('no regularizer is named; write enable("mimicry", "l0_inf", k=16), for instance')
        config = SparsityConfig.from_mapping({"regularizer": regularizer, **settings})
    if host is not None:
        config = config.with_(host=host)
    config.build()
    if config.host is not None:
        HOSTS.get(config.host)
    from sparse_plugin.launch import environment

    session = Session(config, default_run_dir=config.run_dir or default_run_dir())
    before = dict(os.environ)
    os.environ.update(environment(config, session.default_run_dir))

    def restore() -> None:
        for key in os.environ.keys() - before.keys():
            if key.startswith("SPARSE_PLUGIN_"):
                del os.environ[key]
        os.environ["PYTHONPATH"] = before.get("PYTHONPATH", "")
        if "PYTHONPATH" not in before:
            del os.environ["PYTHONPATH"]

    session.undo.append(restore)
    session.start()
    atexit.register(_at_exit, session)
    _current = session
    return session


def disable() -> None:
    """Switch off what `enable` switched on. Generators that were attached stay so; detach them one by one."""
    global _current
    if _current is not None:
        _current.stop()
        _current = None


def _at_exit(session: Session) -> None:
    if session.active and session.config.enabled:
        text = verdict(["a regularizer was attached"] * bool(session.attached), bool(session.effective), session.config)
        if text:
            say(text)


def default_run_dir() -> str:
    """Where measurements go when neither the user nor the host says: a new folder for every run."""
    return str(Path("sparse_runs") / time.strftime("%Y%m%d-%H%M%S"))


def boot() -> None:
    """Start a session from the environment that the launcher set; called in every process of the run."""
    global _current
    config = SparsityConfig.from_environment()
    if config is None:
        return
    _current = Session(config, os.environ.get("SPARSE_PLUGIN_RUN_DIR"))
    _current.start()
