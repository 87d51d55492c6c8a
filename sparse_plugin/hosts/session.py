"""One process with the plugin switched on."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from wrapt import FunctionWrapper, resolve_path

from sparse_plugin.config import ENVIRONMENT, SparsityConfig
from sparse_plugin.errors import CheckpointError, ConfigError, SiteError, SparsePluginError
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.hosts.importing import when_imported
from sparse_plugin.hosts.instances import (
    Building,
    after_construction,
    handed_on,
    looks_like_a_generator,
    named,
    named_generator,
)
from sparse_plugin.hosts.journal import Journal, say
from sparse_plugin.support import advice
from sparse_plugin.support.subclasses import when_any_defined
from sparse_plugin.support.user_files import load

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.attachment.handle import Attachment
    from sparse_plugin.hosts.host import Host


class Session:
    """What is switched on in this process, and how to switch it off again.

    A config without a regularizer waits for one: from the host's own configuration (`configure`), or from the checkpoint
    that is loaded into a generator.
    """

    def __init__(self, config: SparsityConfig, default_run_dir: str | None = None, *, launched: bool = False) -> None:
        self.config = config
        self.default_run_dir = default_run_dir
        self.launched = launched
        self.active = False
        # What takes back everything that was done to this process, in the order in which it was done.
        self.undo: list[Callable[[], None]] = []
        self.journal = Journal()
        self._said: set[str] = set()
        self._generators: weakref.WeakKeyDictionary[nn.Module, Host | None] = weakref.WeakKeyDictionary()
        self._watched: weakref.WeakKeyDictionary[type, Host | None] = weakref.WeakKeyDictionary()

    def start(self) -> None:
        """Patch the hosts, now or when they are imported. Where that fails, all of it is taken back."""
        config = self.config
        self.active = True
        try:
            for name in config.imports:
                load(name)
            hosts = [(config.host, HOSTS.get(config.host))] if config.host else HOSTS.usable()
            for name, host in hosts:
                self._install(name, host)
            if config.generator:
                self.attach_instances_of(config.generator, None)
            elif not config.host:
                self._attach_generators()
        except BaseException:
            self.stop()
            raise

    def _install(self, name: str, host: Host) -> None:
        """Apply a host's patch; one of a package that fails, and that nobody asked for, is left out."""
        done = len(self.undo)
        try:
            host.install(self)
        except Exception as error:
            if name == self.config.host or HOSTS.is_local(name) or isinstance(error, SparsePluginError):
                raise
            self._take_back(done)
            HOSTS.leave_out(name, f"{HOSTS.described(name)} fails: {type(error).__name__}: {error}")

    def stop(self) -> None:
        """Take every patch back. Generators that were attached stay so."""
        self.active = False
        self._take_back(0)

    def _take_back(self, done: int) -> None:
        """Undo what was done after the first so many, the latest first, each whether or not another fails."""
        while len(self.undo) > done:
            undo = self.undo.pop()
            try:
                undo()
            except Exception as error:
                say(f"a patch could not be taken back: {type(error).__name__}: {error}")

    def configure(self, mapping: Mapping[str, Any], source: str) -> None:
        """Take settings that the host's own configuration holds, for this process and those that it starts.

        Raises ConfigError, naming source, where they are not valid or differ from what the launcher was given.
        """
        given = SparsityConfig.from_mapping(mapping, source)
        try:
            given.build()
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        ours, theirs = self.config.flat(), given.flat()
        clash = sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
        if clash or (self.config.regularizer and self.config.settings != given.settings):
            key = clash[0] if clash else "settings"
            raise ConfigError(
                f"{source} and the command that launched this run differ in {key}: {theirs.get(key, given.settings)!r} and "
                f"{ours.get(key, self.config.settings)!r}; give it in one place"
            )
        self.config = SparsityConfig.from_mapping({**theirs, **ours}, source)
        os.environ[ENVIRONMENT] = self.config.to_environment()
        if not given.enabled:
            say(f"{source} disables {given.build()}; running without it")
            self.journal.note("off", source)

    def attach_instances_of(self, spec: str, host: Host | None) -> None:
        """Attach to every instance of the class that spec, "module:Class", names, once the class exists.

        The module may be the one that defines the class or one that hands it on. Where the user named it (host is None),
        it may be a function that returns a generator.
        """
        module, _, name = spec.partition(":")

        def defined(cls: type) -> None:
            if named(spec, cls):
                self._watch(cls, host)
            elif cls.__name__ == name:  # as lazy modules hand it on: not before it is used
                self.undo.append(
                    after_construction(cls, lambda built: self.built(built, host) if handed_on(spec, cls) else None)
                )

        def imported(found: Any) -> None:
            value = vars(found).get(name)
            torch = sys.modules.get("torch.nn.modules.module")
            if isinstance(value, type) and torch is not None and issubclass(value, torch.Module):
                self._watch(value, host)
            elif isinstance(value, FunctionType) and host is None:
                self.wrap(found, name, self.after_factory(None))

        self._when_torch(lambda torch: when_any_defined(torch.Module, defined))
        self.when_imported(module, imported)

    def _attach_generators(self) -> None:
        """Attach to every instance of a class that is named like a generator and is no part of another."""
        building = Building()

        def defined(cls: type) -> None:
            if looks_like_a_generator(cls) and not any(base in self._watched for base in cls.__mro__):
                self.undo.append(after_construction(cls, self._built_unasked, building))

        self._when_torch(lambda torch: when_any_defined(torch.Module, defined))

    def wrap(self, parent: Any, attribute: str, wrapper: Callable[..., Any]) -> None:
        """Put a wrapt wrapper around parent's attribute, unless it stands there already."""
        parent, attribute, original = resolve_path(parent, attribute)
        if isinstance(original, FunctionWrapper) and original._self_wrapper is wrapper:
            return
        own, wrapped = attribute in vars(parent), FunctionWrapper(original, wrapper)
        setattr(parent, attribute, wrapped)

        def undo() -> None:
            if vars(parent).get(attribute) is not wrapped:
                return  # somebody else put another there
            if own:
                setattr(parent, attribute, original)
            else:
                delattr(parent, attribute)

        self.undo.append(undo)

    def when_imported(self, module: str, then: Callable[[Any], None]) -> None:
        """Call then(module) now, or when a module is imported, for as long as this session is on."""
        self.undo.append(when_imported(module, then))

    def _when_torch(self, watch: Callable[[Any], Callable[[], None]]) -> None:
        self.when_imported("torch.nn.modules.module", lambda torch: self.undo.append(watch(torch)))

    def _watch(self, cls: type, host: Host | None) -> None:
        if host is not None and not host.owns(sys.modules.get(cls.__module__)):
            return
        other = self._watched.get(cls, host)
        if other is not None and host is not None and other is not host:
            raise ConfigError(
                f"the host patches {other.name!r} and {host.name!r} both claim {cls.__module__}:{cls.__name__}; choose one "
                f"with {advice.setting('host', other.name)} or {advice.setting('host', host.name)}"
            )
        if cls in self._watched:
            return
        self._watched[cls] = host
        self.undo.append(after_construction(cls, lambda built: self.built(built, host)))

    def after_factory(self, host: Host | None) -> Callable[..., Any]:
        """A wrapt wrapper around a function that returns a generator."""

        def built(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            generator = wrapped(*args, **kwargs)
            self.built(generator, host)
            return generator

        return built

    def _built_unasked(self, generator: nn.Module) -> None:
        """An instance of a class that is named like a generator was built, whose host is not known."""
        from sparse_plugin.network.sites import kernel_owners

        cls = type(generator)
        if not any(True for _ in kernel_owners(generator)) and not named_generator(cls):
            return
        try:
            self.built(generator, None)
        except SiteError as error:
            raise SiteError(
                f"{error}. {cls.__module__}:{cls.__name__} was taken for the generator by its name; name another class with "
                f"{advice.setting('generator', 'module:Class')}"
            ) from None

    def built(self, generator: nn.Module, host: Host | None) -> None:
        """A generator was built: attach, unless it holds one that is attached already."""
        from sparse_plugin.attachment.handle import Attachment
        from sparse_plugin.hosts import waiting

        if not self.active or Attachment.of(generator) is not None:
            return
        self._generators[generator] = host
        if self.config.regularizer is None or not self.config.enabled:
            waiting.watch(generator)
            self.journal.note("waiting", type(generator).__name__)
            return
        self.attach(generator)

    def attach(self, generator: nn.Module) -> Attachment:
        """Attach to a generator that was built in this session."""
        from sparse_plugin.attachment.attach import regularize
        from sparse_plugin.attachment.plan import Plan
        from sparse_plugin.registry.base import Penalty

        self._listen()
        plan, host = Plan.of(self.config), self._generators.get(generator)
        if self.config.delivery is None and host is not None and host.knows_loss:
            plan = replace(plan, delivery="loss")
        handle = regularize(generator, plan)
        if isinstance(handle.regularizer, Penalty):
            self.journal.note("penalty", str(handle.regularizer))
        if not handle.sites:
            self._attached(f"{handle.regularizer} waits for the first call of {type(generator).__name__}")
        _train_inserted(generator, handle)
        return handle

    def _listen(self) -> None:
        from sparse_plugin.attachment import events

        listeners: list[tuple[events.Event[Any], Callable[[Any], None]]] = [
            (events.placed, self._on_placed),
            (events.effective, self._on_effective),
            (events.penalizable, self._on_penalizable),
        ]
        for event, tell in listeners:
            if tell not in event:
                self.undo.append(event.subscribe(tell))

    def from_checkpoint(self, generator: nn.Module, settings: Mapping[str, Any]) -> Attachment:
        """Attach what a checkpoint, which is being loaded into generator, was trained with.

        Raises CheckpointError where the plugin is disabled.
        """
        from sparse_plugin.attachment.child import sentence

        if not self.config.enabled:
            raise CheckpointError(
                f"this checkpoint was trained with {sentence(dict(settings))} and the plugin is disabled; run with it enabled, "
                "or take it out of the checkpoint with `sparse-plugin strip`"
            )
        # All but the regularizer and its fields is what the user typed: a checkpoint has no say in imports, or in what is
        # written where.
        found = SparsityConfig.from_data(settings, "the checkpoint")
        given = self.config if self.config.sites or self.config.adapter else self.config.with_(sites=found.sites)
        self.config = given.model_copy(update={"regularizer": found.regularizer, "settings": found.settings})
        say(f"the checkpoint was trained with {self.config.build()}, which is attached again")
        return self.attach(generator)

    def attachments(self) -> list[Attachment]:
        """Of the generators that were built in this session and are alive."""
        from sparse_plugin.attachment.handle import Attachment

        return [handle for generator in list(self._generators) if (handle := Attachment.of(generator)) is not None]

    def add_penalty(self, share: float = 1.0) -> Callable[..., Any]:
        """A wrapt wrapper around the host's loss: its value with share of the penalty of the generator at work added."""

        def with_penalty(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            return self.with_penalty(wrapped(*args, **kwargs), instance, share)

        return with_penalty

    def with_penalty(self, loss: Any, instance: Any = None, share: float = 1.0) -> Any:
        """A generator's loss with share of the penalty added: of instance where it is a generator, else of those that ran."""
        import torch

        from sparse_plugin.registry.base import Penalty

        if not torch.is_grad_enabled():
            return loss
        found = self.attachments()
        if isinstance(instance, torch.nn.Module) and instance in self._generators:
            found = [handle for handle in found if handle.generator is instance]
        mine = [handle for handle in found if isinstance(handle.regularizer, Penalty) and handle.delivery == "loss"]
        # A function's loss belongs to the generators that have just run; EMA twins were built too, and did not.
        whole = loss
        for handle in [h for h in mine if h.pending] or mine:
            whole = whole + share * handle.penalty(loss if isinstance(loss, torch.Tensor) else None)
        return whole

    def log_to(self, handle: Attachment, host_dir: str | os.PathLike[str], every: int) -> None:
        """Log the measurements of handle beside the host's own log, unless the config says where or how often."""
        config = self.config
        chosen = every if config.measure_every is None else config.measure_every
        handle.log_to(config.run_dir or host_dir, chosen)

    def _on_placed(self, generator: nn.Module) -> None:
        if generator not in self._generators:
            return
        from sparse_plugin.attachment import hooks
        from sparse_plugin.attachment.handle import Attachment
        from sparse_plugin.attachment.plan import MEASURE_EVERY
        from sparse_plugin.network.sites import own_kernel

        handle = Attachment(generator)
        host = self._generators[generator]
        for _, _, hook in hooks.find(generator, hooks.SiteHook):
            hooks.runtime(hook).loss_is_known = host is not None and host.knows_loss
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
        if text not in self._said:
            self._said.add(text)
            say(f"{text} [process {os.getpid()}]")
        self.journal.note("attached", text)

    def _on_effective(self, hook: Any) -> None:
        self.journal.note("effective", str(hook.site))

    def _on_penalizable(self, hook: Any) -> None:
        self.journal.note("penalizable", str(hook.site))


def _train_inserted(generator: nn.Module, handle: Attachment) -> None:
    """Hand inserted dictionaries to an optimizer that the generator's own constructor made."""
    added = handle.parameters()
    if not added:
        return
    from torch.optim import Optimizer

    for optimizer in vars(generator).values():
        if isinstance(optimizer, Optimizer):
            # Into its group, so that the host's schedules and the layout of its checkpoints stay as they are.
            optimizer.param_groups[0]["params"].extend(added)
