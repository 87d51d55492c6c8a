"""The hook of a penalty: Γ passes as it is, and its penalty reaches the generator's loss, by hand or in the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import events
from sparse_plugin.attachment.hooks import SiteHook, note_compiled
from sparse_plugin.attachment.identities import AddGradient, AddTerm, Hold, Passage
from sparse_plugin.attachment.loss_scaling import follow_loss_scaling
from sparse_plugin.attachment.penalty import Penalized, say_once, value
from sparse_plugin.attachment.site_state import PenaltyState, Stage
from sparse_plugin.config import Delivery
from sparse_plugin.errors import PenaltyError
from sparse_plugin.measurements.gamma import GammaStatistics, gamma_statistics
from sparse_plugin.network.probe import undrawn
from sparse_plugin.network.sites import Site
from sparse_plugin.registry.base import Penalty
from sparse_plugin.support import advice, capture


class PenaltyHook(SiteHook):
    """Carries Γ's penalty to the loss. A copy of the generator (EMA) never does."""

    regularizer: Penalty
    new_state = PenaltyState
    state: PenaltyState

    def __init__(self, regularizer: Penalty, site: Site, owner: str, delivery: Delivery, accumulation: int) -> None:
        super().__init__(regularizer, site, owner)
        self.delivery = delivery
        self.accumulation = accumulation
        self.compiled = False  # whether the penalty's gradient is part of a compiled graph

    def acting(self, module: nn.Module) -> Penalty:
        """The penalty at the step of training that the generator at work stands for."""
        penalty: Penalty = super().acting(module)  # type: ignore[assignment]
        return penalty

    def act(self, module: nn.Module, gamma: Tensor) -> Tensor:
        """Γ as it is, with what carries its penalty in its graph, if it has one."""
        if self.is_copy or not (torch.is_grad_enabled() and self._trained(module, gamma)) or capture.exporting():
            return gamma
        if torch.compiler.is_compiling():
            return self._compile(module, gamma)
        if self.delivery == "gradient" and getattr(module, "_is_replica", False):
            raise PenaltyError(
                "each replica of DataParallel would add the whole penalty; "
                + (
                    f"attach with {advice.setting('delivery', 'loss')} and add attachment.penalty() to the generator's loss, or "
                    if advice.reader() == "attach"
                    else ""
                )
                + "use one device or DistributedDataParallel"
            )
        self.is_due()
        state = self.state
        if self.delivery == "loss":
            state.ran += 1
            state.acting = self.acting(module)
            passed: Tensor = Hold.apply(gamma, state.nodes)
        else:
            if not state.follows_scaling:  # here, not at attach: the hook may have been pickled into this process
                state.follows_scaling = True
                follow_loss_scaling(self)
            of, penalty = self._of(module)
            passage = Passage(None if self.vigil is None else self.vigil.root, self._own_weights())
            passed = AddGradient.apply(gamma, of, penalty, 1 / self.accumulation, state.counter, passage, state.nodes)
        recorder = state.recorder
        if recorder is not None and recorder.due(state.steps):
            recorder.take(self._weigh(module, gamma))
        return self._handed_on(passed)

    def _handed_on(self, passed: Tensor) -> Tensor:
        """Γ as the generator goes on with it. What a module returned may be changed in place, by the activation of a level of pix2pix's
        say: of a copy it may, and the penalty is still that of Γ.
        """
        return passed.clone() if self.site.side == "output" else passed

    def _compile(self, module: nn.Module, gamma: Tensor) -> Tensor:
        if self.delivery == "loss":
            raise PenaltyError(
                f"{advice.setting('delivery', 'loss')} cannot follow Γ through torch.compile; use "
                f"{advice.setting('delivery', 'gradient')}"
            )
        if self.role == "discriminator":
            raise PenaltyError(
                f"{self.regularizer} acts on a discriminator whose graph is compiled, where nothing tells its own step from the "
                "generator's; leave it uncompiled, or give it a constraint such as l0_inf"
            )
        self.compiled = True
        note_compiled(self.site.path)
        of, penalty = self._of(module)
        out: Tensor = AddTerm.apply(gamma, value(penalty, gamma if of is None else of), 1 / self.accumulation)
        return self._handed_on(out)

    def _trained(self, module: nn.Module, gamma: Tensor) -> bool:
        """Whether what is penalized is computed from something that is trained."""
        return capture.requires_grad(gamma)

    def _of(self, module: nn.Module) -> tuple[Tensor | None, Penalized]:
        """What the penalty is a function of, None for Γ, and the penalty."""
        return None, self.acting(module)

    def _own_weights(self) -> frozenset[int] | None:
        """The weights of the discriminator that this stands in, by identity: gradients of other networks go through it too."""
        root = None if self.role == "generator" or self.vigil is None else self.vigil.network()
        return None if root is None else frozenset(map(id, root.parameters()))

    def look(self, module: nn.Module, gamma: Tensor, seen: list[GammaStatistics]) -> Tensor:
        """Measure Γ and its penalty. Returns Γ."""
        seen.append(self._weigh(module, gamma))
        return gamma

    def _weigh(self, module: nn.Module, gamma: Tensor) -> GammaStatistics:
        acting = self.acting(module)
        found = gamma_statistics(self.site.path, self.site.level, gamma, gamma)
        found.regularizer, found.settings = self.regularizer.name, self.settings_of(acting)
        found.role = self.role
        with undrawn(gamma.device):
            found.penalty = value(acting, gamma.detach())
        return found

    def is_due(self) -> None:
        """Tell the listeners, once, that the generator is being trained, so that a penalty has to reach its loss."""
        state = self.state
        if state.stage is Stage.PLACED:
            state.stage = Stage.DUE
            events.penalizable.announce(self)

    def took_effect(self) -> None:
        """Tell the listeners, once, that the penalty is due, if nobody has, and has reached a loss."""
        self.is_due()
        super().took_effect()

    def penalty(self, module: nn.Module, loss: Tensor | None = None) -> Tensor:
        """The penalty to be added to the generator's loss, of every Γ that it was computed from, or, without it, of the latest;
        a mean over forwards and replicas by their share of the samples. module: the one that the hook stands at.

        Raises PenaltyError where no Γ with a graph is alive.
        """
        state = self.state
        alive = state.nodes.latest() if loss is None else state.nodes.below(loss)
        if loss is None and state.ran > 1 and len(state.nodes.all()) > len(alive):
            say_once(
                f"the generator ran {state.ran} times since its last step, and penalty() is that of the latest forward; "
                "attachment.penalty(loss) takes the mean over all that the loss was computed from"
            )
        if not alive:
            raise PenaltyError(
                f"there is no representation to penalize at the {self.site}: the generator has not run with gradients "
                "since its last step, its images were detached, or it ran inside a reentrant checkpoint (use_reentrant=False follows it); "
                "run it before taking the penalty"
            )
        term = self._term(module, [node.saved_tensors[0] for node in alive])
        state.taken += 1
        state.ran = 0
        self.took_effect()
        return term

    def _term(self, module: nn.Module, gammas: list[Tensor]) -> Tensor:
        """The penalty of these Γ as of one batch."""
        total = sum(len(gamma) for gamma in gammas)
        acting = self.state.acting or self.regularizer
        terms = [value(acting, gamma).to(gammas[0].device) * (len(gamma) / total) for gamma in gammas]
        return torch.stack(terms).sum() if len(terms) > 1 else terms[0]
