"""What a generator that was built gets: its regularizer, the checkpoint's where that names one, and a place for its log."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from sparse_plugin.config import Role, SparsityConfig
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.hosts.host import Host
from sparse_plugin.hosts.instances import handed_on, named
from sparse_plugin.hosts.reporting import Reporter
from sparse_plugin.hosts.request import Request
from sparse_plugin.hosts.undo import Undo
from sparse_plugin.support import advice
from sparse_plugin.support.console import say

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.attachment.handle import Attachment


class Generators:
    """The generators, without what wraps them, that were built while the plugin was on, as long as they live, each with its host,
    if one is known.
    """

    def __init__(self, request: Request, reporter: Reporter, undo: Undo) -> None:
        self._request = request
        self._reporter = reporter
        self._undo = undo
        self._discriminator = False  # whether one was built
        self._hosts: weakref.WeakKeyDictionary[nn.Module, Host | None] = weakref.WeakKeyDictionary()

    def __contains__(self, generator: nn.Module) -> bool:
        return generator in self._hosts

    def discriminator_built(self, discriminator: nn.Module, host: Host | None) -> None:
        """A discriminator was built: attach where one is asked for."""
        self.built(discriminator, host, "discriminator")

    def expect_discriminator(self, optimizers: Any) -> None:
        """Refuse the first step of an optimizer where no discriminator was built by then. optimizers: torch's module of them."""

        def refuse(*step: Any) -> None:
            handle.remove()
            if not self._discriminator and self._request.active:
                raise ConfigError(
                    "role is discriminator, and none that a host patch knows was built before training began, so that nothing would be "
                    f"regularized; name its class with {advice.setting('discriminator', 'module:Class')}, "
                    '"__main__:Class" where the script defines it'
                )

        handle = optimizers.register_optimizer_step_pre_hook(refuse)
        self._undo.append(handle.remove)

    def built(self, generator: nn.Module, host: Host | None, role: Role = "generator") -> None:
        """A network was built, maybe by a function that wrapped it: attach, unless it holds one that is attached already."""
        from sparse_plugin.attachment.handle import Attachment
        from sparse_plugin.hosts import waiting
        from sparse_plugin.network.wrappers import unwrapped

        config = self._request.config
        if not self._request.active or Attachment.of(generator) is not None:
            return
        if config.regularizer is not None and role not in config.roles:
            return  # the other network alone is asked for
        inner = unwrapped(generator)
        if host is not None and role == "generator" and not self._asked_for(inner):
            return
        self._hosts[inner] = host
        self._discriminator = self._discriminator or role == "discriminator"
        if config.regularizer is None or not config.enabled:
            if role == "generator" or config.discriminator is not None:
                waiting.watch(inner)
                self._reporter.waiting(inner)
            return
        self._attach(generator, config.for_role(role))

    def _asked_for(self, generator: nn.Module) -> bool:
        """Whether generator, of a host's class, is of the class that was named, where one was: another is none of it."""
        spec = self._request.config.generator
        if spec is None:
            return True
        module, _, name = spec.partition(":")
        if isinstance(getattr(sys.modules.get(module), name, None), FunctionType):
            return True
        return any(named(spec, cls) or handed_on(spec, cls) for cls in type(generator).__mro__)

    def from_checkpoint(self, generator: nn.Module, settings: Mapping[str, Any]) -> Attachment:
        """Attach what a checkpoint, which is being loaded into generator, was trained with.

        Raises CheckpointError where the plugin is disabled.
        """
        from sparse_plugin.attachment.child import sentence

        if not self._request.config.enabled:
            raise CheckpointError(
                f"this checkpoint was trained with {sentence(dict(settings))} and the plugin is disabled; run with it enabled, "
                "or take it out of the checkpoint with `sparse-plugin strip`"
            )
        if settings.get("role", "generator") == "generator":
            self._request.adopt(settings)
            config = self._request.config
        else:
            config = SparsityConfig.from_data(settings, "the checkpoint")
        say(f"the checkpoint was trained with {config.build()}, which is attached again")
        return self._attach(generator, config, loading=True)

    def attachments(self) -> list[Attachment]:
        """Of those that are alive."""
        from sparse_plugin.attachment.handle import Attachment

        return [handle for generator in list(self._hosts) if (handle := Attachment.of(generator)) is not None]

    def log_to(self, handle: Attachment, host_dir: str | os.PathLike[str], every: int) -> None:
        """Log the measurements of handle beside the host's own log, unless the config says where or how often."""
        config = self._request.config
        chosen = every if config.measure_every is None else config.measure_every
        handle.log_to(config.run_dir or host_dir, chosen, config.log)
        self._reporter.logging(handle)

    def _attach(self, generator: nn.Module, config: SparsityConfig | None, loading: bool = False) -> Attachment:
        from sparse_plugin.attachment.attach import regularize
        from sparse_plugin.attachment.plan import Plan
        from sparse_plugin.network.wrappers import unwrapped

        self.listen()
        assert config is not None  # as what is not asked for is not attached
        host = self._hosts.get(unwrapped(generator))
        plan = Plan.of(config)
        if config.delivery is None and plan.role == "generator" and host is not None and host.knows_loss:
            plan = replace(plan, delivery="loss")
        if host is not None and plan.role == "generator" and not plan.sites and not loading and host.dense(unwrapped(generator)):
            plan = replace(plan, regularizer=plan.regularizer.of_dense())
            self._reporter.dense(unwrapped(generator), plan.regularizer)
        handle = regularize(generator, plan)  # as it was built: sites may be named by its paths
        self._reporter.attached(handle)
        _train_inserted(handle)
        return handle

    def listen(self) -> None:
        """Hear what happens to generators; those that came out of a pickle are attached already."""
        from sparse_plugin.attachment import events

        listeners: list[tuple[events.Event[Any], Callable[[Any], None]]] = [
            (events.placed, self._placed),
            (events.arrived, self._arrived),
            (events.effective, self._reporter.effective),
            (events.penalizable, self._reporter.penalizable),
            (events.trained, self._reporter.trained),
            (events.trained_others, self._reporter.trained_others),
        ]
        for event, tell in listeners:
            if tell not in event:
                self._undo.append(event.subscribe(tell))

    def _arrived(self, generator: nn.Module) -> None:
        """A generator came out of a pickle, as a spawned worker is given it, or as a file holds it whole.

        Raises CheckpointError where it was pickled with another regularizer than is asked for.
        """
        from sparse_plugin.attachment.handle import Attachment
        from sparse_plugin.attachment.plan import Plan

        config, handle = self._request.config, Attachment(generator)
        if not self._request.active or generator in self._hosts:
            return
        asked = config.for_role(handle.role) if config.regularizer is not None and handle.role in config.roles else None
        other = asked is not None and (
            asked.name != handle.regularizer.name or (asked.settings and Plan.of(asked).regularizer != handle.regularizer)
        )
        if not config.enabled or other:
            raise CheckpointError(
                f"this {type(generator).__name__} was pickled with {handle.regularizer}, and this run "
                + (f"asks for {asked.build() if asked.settings else asked.name}" if asked is not None and config.enabled else "is disabled")
                + "; ask for the same, or load a state_dict into a generator that is built here"
            )
        self._hosts[generator] = None
        self._reporter.attached(handle)
        self._placed(generator)

    def _placed(self, generator: nn.Module) -> None:
        if generator not in self._hosts:
            return
        from sparse_plugin.attachment import hooks
        from sparse_plugin.attachment.handle import Attachment
        from sparse_plugin.attachment.penalty_hook import PenaltyHook
        from sparse_plugin.attachment.plan import MEASURE_EVERY

        handle, host = Attachment(generator), self._hosts[generator]
        for _, _, hook in hooks.find(generator, PenaltyHook):
            hook.state.loss_is_known = hook.role == "generator" and host is not None and host.knows_loss
        if handle.recorder is None and self._request.default_run_dir:
            every = self._request.config.measure_every
            handle.log_to(
                self._request.default_run_dir, MEASURE_EVERY if every is None else every, self._request.config.log
            )
        self._reporter.logging(handle)
        self._reporter.placed(handle)


def _train_inserted(handle: Attachment) -> None:
    """Hand inserted dictionaries to an optimizer that the generator's own constructor made."""
    added = handle.parameters()
    if not added:
        return
    from torch.optim import Optimizer

    for optimizer in vars(handle.generator).values():
        if isinstance(optimizer, Optimizer):
            # Into its group, so that the host's schedules and the layout of its checkpoints stay as they are.
            optimizer.param_groups[0]["params"].extend(added)
