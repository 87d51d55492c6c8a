"""The handle to what is attached to a generator."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import (
    first_call,
    hooks,
    loading,
    loss_scaling,
    optimizer_steps,
    synthesis_at,
    verify,
    vigil,
)
from sparse_plugin.attachment.child import SparseChild
from sparse_plugin.attachment.looks import muted
from sparse_plugin.attachment.penalty_hook import PenaltyHook
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.config import Role
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import AttachmentError, ConfigError, PenaltyError, module_of, path_of, shown
from sparse_plugin.measurements.gamma import GammaStatistics, Measurement
from sparse_plugin.measurements.log import Recorder
from sparse_plugin.network.probe import forward
from sparse_plugin.network.sites import CHILD, Site
from sparse_plugin.registry.base import Regularizer
from sparse_plugin.registry.composition import penalizes
from sparse_plugin.support import advice
from sparse_plugin.support.sinks.sink import JSONL
from sparse_plugin.support.sinks.sink import check as check_sinks

if TYPE_CHECKING:
    from sparse_plugin.theory.report import Theory

# What tells that something is attached: it stands at the generator itself, whatever becomes of its parts.
_STANDING = (vigil.Begins, first_call.Deferred)


class Attachment:
    """The handle to what is attached to a generator. `Attachment.of(generator)` finds it again.

    As a context manager it detaches on leaving.
    """

    def __init__(self, generator: nn.Module, off: Regularizer | None = None) -> None:
        self.generator = generator
        self._off = off  # what a config with `enabled: false` would have attached

    @property
    def enabled(self) -> bool:
        """Whether anything was to be attached: False where the config says `enabled: false`."""
        return self._off is None

    @classmethod
    def of(cls, module: nn.Module) -> Attachment | None:
        """The attachment of module, or of the generator that it wraps or copies; None where nothing is attached."""
        module_of(module, "Attachment.of")
        found = next(hooks.find(module, _STANDING), None)
        return None if found is None else cls(module)

    @property
    def _hooks(self) -> list[hooks.SiteHook]:
        return [hook for _, _, hook in hooks.find(self.generator, hooks.SiteHook)]

    @property
    def _penalties(self) -> list[tuple[nn.Module, PenaltyHook]]:
        return [(module, hook) for _, module, hook in hooks.find(self.generator, PenaltyHook)]

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where Γ is read; empty as long as detection waits for the first call."""
        return tuple(dict.fromkeys(hook.site for hook in self._hooks))

    @property
    def regularizer(self) -> Regularizer:
        """The regularizer's settings. Raises AttachmentError where it was detached."""
        if self._off is not None:
            return self._off
        return self._plan.regularizer

    @property
    def _plan(self) -> Plan:
        """What was asked for. Raises AttachmentError where it was detached."""
        for _, _, hook in hooks.find(self.generator, _STANDING):
            plan: Plan = hook.plan if isinstance(hook, first_call.Deferred) else hook.vigil.plan
            return plan
        raise AttachmentError(f"nothing is attached to this {type(self.generator).__name__}: it was detached")

    @property
    def role(self) -> Role:
        """Which network it is, a generator or a discriminator. Raises AttachmentError where it was detached."""
        return self._plan.role

    @property
    def delivery(self) -> str | None:
        """How a penalty reaches the loss, "gradient" or "loss"; None before the first call decides the site."""
        return self._plan.delivery if self._hooks else None

    @property
    def pending(self) -> bool:
        """Whether a forward pass with gradients is alive whose penalty can be taken (delivery="loss")."""
        return any(hook.state.nodes.latest() for _, hook in self._penalties)

    def penalty(self, loss: Tensor | None = None) -> Tensor:
        """The penalty, a scalar with its graph, to be added to the generator's loss: of the latest forward pass, or, given the
        loss so far, the mean over all forwards that it was computed from.

        Raises PenaltyError where there is no penalty to add: under a constraint, with delivery="gradient" (it would count
        twice), on a copied generator, or where no forward pass with gradients is alive. Zero where the config says
        `enabled: false`.
        """
        regularizer = self.regularizer
        if not penalizes(regularizer):
            raise PenaltyError(f"{regularizer} is a constraint and has no penalty; it acts in the forward pass")
        if not self.enabled:
            like = next(self.generator.parameters(), None)
            return torch.zeros((), device=None if like is None else like.device)
        at = self._penalties
        if at and self._plan.delivery == "gradient":
            raise PenaltyError(
                "this attachment adds the penalty's gradient itself, and adding the penalty would count it twice; "
                f"attach with {advice.setting('delivery', 'loss')} to add it by hand"
            )
        if any(hook.is_copy for _, hook in at):
            raise PenaltyError(
                "this generator is a copy (an EMA, say), which never feeds the penalty; use the original's"
            )
        if not at:
            raise PenaltyError(self._unknown())
        # Of several heads, a forward may use only some: those of a growing generator's other depths have nothing to add.
        used = [(module, hook) for module, hook in at if hook.state.nodes.latest()] or at[:1]
        terms = [hook.penalty(module, loss) for module, hook in used]
        return torch.stack(terms).sum() if len(terms) > 1 else terms[0]

    def measure(self, *args: Any, **kwargs: Any) -> list[Measurement]:
        """Measurements of Γ, one a site and level, and of each of several regularizers.

        With a forward's inputs: of that forward, undisturbed and without gradients. Without: the latest of the log.
        Raises AttachmentError where there is nothing to measure.
        """
        if not args and not kwargs:
            if self.recorder is not None and self.recorder.latest:
                return self.recorder.latest
            raise AttachmentError(
                "nothing was measured yet; pass a forward's inputs, as in measure(z), or attach with run_dir=..."
            )
        seen: list[GammaStatistics] = []
        at: dict[tuple[nn.Module, str], list[hooks.SiteHook]] = {}
        for _, module, hook in hooks.find(self.generator, hooks.SiteHook):
            at.setdefault((module, hook.site.side), []).append(hook)
        handles = [_look_at(module, there, seen) for (module, _), there in at.items()]
        if not handles:
            raise AttachmentError(self._unknown())
        try:
            forward(self.generator, args, kwargs)
        finally:
            for handle in handles:
                handle.remove()
        return [statistics.read() for statistics in seen]

    def inserted(self) -> list[nn.Module]:
        """The children named `sparse_plugin` that hold what was added, one a site."""
        return [m for m in self.generator.modules() if isinstance(m, SparseChild)]

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that were added: of inserted dictionaries, for an optimizer that was made before."""
        return [p for child in self.inserted() for p in child.parameters()]

    def log_to(
        self, run_dir: str | os.PathLike[str] | None, every: int, log: str | Sequence[str] | None = None
    ) -> Recorder:
        """Log measurements from now on, every so many steps of the generator's optimizer. Returns the log.

        run_dir: of the JSON lines. log: the sinks, as `attach` takes them; by default JSON lines, and what was asked for before.
        """
        if not self.enabled:
            raise AttachmentError(self._unknown())
        if isinstance(every, bool) or not isinstance(every, int) or every < 0:
            raise ConfigError(f"every is {shown(every)}; give a number of steps, 0 for none")
        if log is None:
            log = list(dict.fromkeys((JSONL, *self._plan.log)))
        log = [log] if isinstance(log, str) else log
        check_sinks(log)
        recorder = Recorder(path_of(run_dir, "run_dir") if JSONL in log else None, every, log)
        for hook in self._hooks:
            hook.state.recorder = recorder
        return recorder

    @property
    def recorder(self) -> Recorder | None:
        """The log of measurements, if one is written."""
        return next((hook.state.recorder for hook in self._hooks), None)

    def kernel(self) -> SynthesisOperator:
        """D1 as it really synthesizes: its atoms, stride and dilation. Raises SiteError where it is no one convolution."""
        for path, _, hook in hooks.find(self.generator, hooks.SiteHook):
            return synthesis_at.read(self.generator, replace(hook.site, path=path))  # as it is now, wrapped or held by something else
        raise AttachmentError(self._unknown())

    def theory(self, *args: Any, **kwargs: Any) -> Theory:
        """What the theory of convolutional sparse coding says of D1 (of ML-CSC: of every dictionary) and of Γ, over one forward.

        args, kwargs: a forward's inputs; it runs undisturbed and without gradients. The report says which bounds hold and which
        are void (docs/theory.md). Raises AttachmentError without inputs, or where nothing is attached; SiteError where D1 is no one
        convolution.
        """
        if not self.enabled:
            raise AttachmentError(self._unknown())
        if not args and not kwargs:
            raise AttachmentError("the theory counts the non-zeros of Γ; give a forward's inputs, as in theory(z)")
        from sparse_plugin.attachment.theory import examine

        return examine(self.generator, str(self.regularizer), [(args, kwargs)])

    def _unknown(self) -> str:
        """Why there is no Γ to look at."""
        if not self.enabled:
            return f"{self._off} is not attached: its config says enabled: false"
        return "the representation is not known before the first forward pass; run the generator first"

    def detach(self) -> None:
        """Take everything off the generator: hooks, child modules, global hooks. Nothing remains; calling it twice is fine."""
        for _, _, hook in list(hooks.find(self.generator, hooks.SiteHook)):
            optimizer_steps.unfollow(hook)
            loss_scaling.unfollow(hook)
        first_call.settle(self.generator)
        loading.unfollow(self.generator)
        for module in list(self.generator.modules()):
            hooks.remove(module, (hooks.SiteHook, *verify.TEMPORARY, *vigil.HOOKS))
            if isinstance(module._modules.get(CHILD), SparseChild):
                del module._modules[CHILD]

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *error: Any) -> None:
        self.detach()

    def __repr__(self) -> str:
        if not self.enabled:
            return f"Attachment(off: {self._off} is not attached to {type(self.generator).__name__})"
        try:
            what = str(self.regularizer)
        except AttachmentError:
            return "Attachment(detached)"
        where = "; ".join(map(str, self.sites)) or "site, to be found at the first call,"
        return f"Attachment({what} at the {where} of {type(self.generator).__name__})"


def _look_at(module: nn.Module, there: list[hooks.SiteHook], seen: list[GammaStatistics]) -> Any:
    """A temporary hook ahead of the site's own, which sees Γ as it arrives."""

    def look(gamma: Tensor) -> None:
        if threading.get_ident() not in muted:
            gamma = gamma.as_subclass(Tensor)
            gamma = hooks.as_needles(gamma)
            for hook in there:
                gamma = hook.look(module, gamma, seen)

    if there[0].site.side == "input":
        return module.register_forward_pre_hook(lambda module, args: look(args[0]), prepend=True)
    return module.register_forward_hook(lambda module, args, output: look(output), prepend=True)
