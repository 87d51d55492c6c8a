"""The hook of a constraint: it projects Γ in the forward pass, of copies of the generator too."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import returned
from sparse_plugin.attachment.hooks import SiteHook, note_compiled
from sparse_plugin.attachment.site_state import ConstraintState, Stage
from sparse_plugin.measurements.gamma import GammaStatistics, gamma_statistics
from sparse_plugin.network.probe import probing, undrawn
from sparse_plugin.network.sites import Site
from sparse_plugin.registry.base import Constraint, Observer
from sparse_plugin.support import capture

log = logging.getLogger("sparse_plugin")


class ConstraintHook(SiteHook):
    """Hands D1 the nearest Γ that meets the constraint."""

    regularizer: Constraint
    new_state = ConstraintState
    state: ConstraintState
    behind: tuple[Constraint, ...] = ()  # what it takes Γ from

    def __init__(self, regularizer: Constraint, site: Site, owner: str) -> None:
        super().__init__(regularizer, site, owner)
        self.inserts = regularizer.dictionaries(1, 2) is not None
        self.changes |= regularizer.remembers  # from forward to forward

    def acting(self, module: nn.Module) -> Constraint:
        """The constraint at the step of training that the generator at work stands for."""
        constraint: Constraint = super().acting(module)  # type: ignore[assignment]
        if not constraint.remembers or (child := self.child(module)) is None:
            return constraint
        memory = child.memory[child.slots[self.regularizer.name]]
        # What a gradient checkpoint computes once more is remembered already.
        once_more = not capture.recording() and capture.recomputing()
        return returned.remembering(constraint, memory.clone() if once_more else memory, module.training)

    def act(self, module: nn.Module, gamma: Tensor) -> Tensor:
        """The projection of Γ, which is measured where the log is due."""
        constraint, dictionaries = self.acting(module), self._dictionaries(module)
        if capture.recording():
            if torch.compiler.is_dynamo_compiling() and not capture.exporting():
                note_compiled(self.site.path)
            return returned.represent(constraint, gamma, dictionaries)
        state = self.state
        state.acting = constraint
        if self.changes:
            self._prepare(module, gamma)
        sparse = returned.represent(constraint, gamma, dictionaries, self._observer(state, constraint))
        if constraint.memory_per_channel and module.training:
            self._note(constraint, gamma, sparse)
        if state.stage is not Stage.EFFECTIVE and not self._waits(module):
            self.took_effect()
            if gamma.dim() > 1:
                self.say_slack(gamma.shape[1], gamma.shape[1:].numel())
        return sparse

    def _note(self, constraint: Constraint, gamma: Tensor, sparse: Tensor) -> None:
        """Keep for the optimizer's next step what this forward of training shows; a derivative of torch.func is none, nor is a look."""
        if gamma.numel() and not probing() and torch._C._functorch.peek_interpreter_stack() is None:
            with torch.no_grad():
                self.state.noted.add(constraint.notes(gamma.detach(), sparse.detach()))

    def stepped(self) -> None:
        """The generator's optimizer took a step: what the constraint keeps for each channel goes on, and what comes of it is said."""
        child = self.state.child
        if not self.regularizer.memory_per_channel or child is None:
            return
        memory = child.memory[child.slots[self.regularizer.name]]
        if (noted := self.state.noted.take(memory)) is None:
            return
        acting = self.regularizer if child.training_step is None else child.training_step.acting(self.regularizer)
        assert isinstance(acting, Constraint)
        with torch.no_grad():
            said = acting.stepped(memory, noted, self.state.steps)
        if said:
            log.warning("%s at the %s: %s", self.regularizer, self.site, said)

    def _waits(self, module: nn.Module) -> bool:
        """Whether all of Γ is kept because its natural density is not known yet."""
        if not self.changes or self.regularizer.automatic is None:
            return False
        child = self.child(module)
        return child is not None and child.training_step is not None and child.training_step.density is None

    def say_slack(self, channels: int, size: int | None) -> None:
        """Say, once, where the constraint cannot change a Γ of this size; not of a copy, whose original said it."""
        state = self.state
        why = "" if state.slack_said or self.is_copy else self._last().slack(channels, size)
        if why:
            state.slack_said = True
            log.warning(
                "%s at the %s projects nothing away: %s; give a smaller k, or the fraction 1.0 where that is meant",
                self.regularizer,
                self.site,
                why,
            )

    def look(self, module: nn.Module, gamma: Tensor, seen: list[GammaStatistics]) -> Tensor:
        """Measure Γ, every level of it. Returns its projection."""
        constraint = self.acting(module)
        return returned.represent(constraint, gamma, self._dictionaries(module), self._measuring(seen.append, constraint))

    def _last(self) -> Constraint:
        """The constraint at the end of its schedules."""
        return self.regularizer.at_step(self.regularizer.settled)

    def _prepare(self, module: nn.Module, gamma: Tensor) -> None:
        """Of a constraint that changes over training: see now that it can project at every step, and count what `auto` asks for."""
        child, auto = self.child(module), self.regularizer.automatic
        now = None if child is None else child.training_step
        if child is None or now is None:
            return
        if not self.state.tried:
            self.state.tried = True
            with torch.no_grad(), undrawn(gamma.device):
                for step in self.regularizer.turns:
                    self.regularizer.at_step(step, now.density).project(gamma[:1].detach())
        if auto is not None and now.density is None and torch.is_grad_enabled():
            first = self.state.child or child
            if not (getattr(module, "_is_replica", False) and gamma.device != first.counted.device):  # one replica tells
                now.count(gamma, auto, first.counted)

    def _observer(self, state: ConstraintState, constraint: Constraint) -> Observer | None:
        recorder = state.recorder
        if recorder is None or not recorder.due(state.steps) or not torch.is_grad_enabled():
            return None
        return self._measuring(recorder.take, constraint)

    def _measuring(self, take: Callable[[GammaStatistics], None], constraint: Constraint) -> Observer:
        """Level 1 at this site is the Γ of the generator that the site says; deeper ones follow."""
        first, settings = self.site.level - 1, self.settings_of(constraint)

        def observe(level: int, before: Tensor, after: Tensor) -> None:
            returned.check(constraint, before, after)
            found = gamma_statistics(self.site.path, first + level, before, after)
            found.regularizer, found.settings, found.measured = self.regularizer.name, settings, constraint.measures()
            found.role = self.role
            take(found)

        return observe

    def _dictionaries(self, module: nn.Module) -> nn.Module | None:
        child = self.child(module) if self.inserts else None
        return None if child is None else child.dictionaries
