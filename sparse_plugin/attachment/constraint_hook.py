"""The hook of a constraint: it projects Γ in the forward pass, of copies of the generator too."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.hooks import SiteHook, note_compiled
from sparse_plugin.attachment.site_state import ConstraintState, Stage
from sparse_plugin.measurements.gamma import GammaStatistics, gamma_statistics
from sparse_plugin.network.sites import CHILD
from sparse_plugin.registry.base import Constraint, Observer
from sparse_plugin.support import capture

log = logging.getLogger("sparse_plugin")


class ConstraintHook(SiteHook):
    """Hands D1 the nearest Γ that meets the constraint."""

    regularizer: Constraint
    new_state = ConstraintState
    state: ConstraintState

    def act(self, module: nn.Module, gamma: Tensor) -> Tensor:
        """The projection of Γ, which is measured where the log is due."""
        constraint, dictionaries = self.regularizer, self._dictionaries(module)
        if capture.recording():
            if torch.compiler.is_dynamo_compiling() and not capture.exporting():
                note_compiled(self.site.path)
            return constraint.represent(gamma, dictionaries)
        state = self.state
        sparse = constraint.represent(gamma, dictionaries, self._observer(state))
        if state.stage is not Stage.EFFECTIVE:
            self.took_effect()
            if gamma.dim() > 1:
                self.say_slack(gamma.shape[1], gamma.shape[1:].numel())
        return sparse

    def say_slack(self, channels: int, size: int | None) -> None:
        """Say, once, where the constraint cannot change a Γ of this size; not of a copy, whose original said it."""
        state = self.state
        why = "" if state.slack_said or self.is_copy else self.regularizer.slack(channels, size)
        if why:
            state.slack_said = True
            log.warning(
                "%s at the %s projects nothing away: %s; give a smaller k, or the fraction 1.0 where that is meant",
                self.regularizer,
                self.site,
                why,
            )

    def look(self, module: nn.Module, gamma: Tensor) -> list[GammaStatistics]:
        """Measure Γ, every level of it, and pass nothing on."""
        found: list[GammaStatistics] = []
        self.regularizer.represent(gamma, self._dictionaries(module), self._measuring(found.append))
        return found

    def _observer(self, state: ConstraintState) -> Observer | None:
        recorder = state.recorder
        if recorder is None or not recorder.due(state.steps) or not torch.is_grad_enabled():
            return None
        return self._measuring(recorder.take)

    def _measuring(self, take: Callable[[GammaStatistics], None]) -> Observer:
        """Level 1 at this site is the Γ of the generator that the site says; deeper ones follow."""
        first = self.site.level - 1
        return lambda level, *seen: take(gamma_statistics(self.site.path, first + level, *seen))

    def _dictionaries(self, module: nn.Module) -> nn.Module | None:
        child = (module.get_submodule(self.owner) if self.owner else module)._modules.get(CHILD)
        return None if child is None else child._modules.get("dictionaries")
