"""The hook of a penalty on atoms: Γ passes as it is, and carries the penalty of the atoms that it is multiplied by to the loss.

So it is in each loss that is computed from an image exactly once, as a penalty of Γ is, whoever computes, scales, accumulates or
reduces that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.operators import unhooked_operator
from sparse_plugin.attachment.penalty import Penalized, say_once, value
from sparse_plugin.attachment.penalty_hook import PenaltyHook
from sparse_plugin.config import Delivery
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import PenaltyError
from sparse_plugin.measurements.gamma import GammaStatistics, gamma_statistics
from sparse_plugin.network.probe import undrawn
from sparse_plugin.network.sites import Site, own_kernel
from sparse_plugin.network.synthesis import operator_of
from sparse_plugin.registry.base import AtomPenalty
from sparse_plugin.support import advice, capture


@dataclass(frozen=True)
class OfAtoms:
    """A penalty on atoms as a function of them alone, laid out as in operator."""

    regularizer: AtomPenalty
    operator: SynthesisOperator

    def penalty(self, atoms: Tensor, /) -> Tensor:
        """A scalar."""
        return self.regularizer.of_atoms(replace(self.operator, atoms=atoms))


class AtomPenaltyHook(PenaltyHook):
    """Carries the penalty of D1's atoms to the loss.

    synthesis: the path of the convolution below the site's module. made_late: whether its weight is made as it runs.
    """

    regularizer: AtomPenalty

    def __init__(
        self, regularizer: AtomPenalty, site: Site, owner: str, delivery: Delivery, accumulation: int, synthesis: str, made_late: bool
    ) -> None:
        super().__init__(regularizer, site, owner, delivery, accumulation)
        self.synthesis = synthesis
        self.outside = made_late

    def act(self, module: nn.Module, gamma: Tensor) -> Tensor:
        """Γ as it is, with what carries the penalty in its graph; where D1 alone is trained, that is a graph of its own."""
        bare = not (self.is_copy or capture.recording() or capture.requires_grad(gamma)) and torch.is_grad_enabled()
        if bare and self._trained(module, gamma):
            gamma = gamma.detach().requires_grad_()
        return super().act(module, gamma)

    def _trained(self, module: nn.Module, gamma: Tensor) -> bool:
        # FullyShardedDataParallel takes parameters away, and puts tensors in their place while the module runs.
        held = (tensor for part in self._d1(module).modules() for tensor in (*part._parameters.values(), *vars(part).values()))
        if any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in held):
            return True
        if capture.requires_grad(gamma) and not capture.recording():
            say_once(f"D1 at the {self.site} is frozen, so that {self.regularizer} has nothing to act on")
        return False

    def _of(self, module: nn.Module) -> tuple[Tensor, Penalized]:
        operator = self._operator(module)
        return operator.atoms, OfAtoms(self.acting(module), operator)  # type: ignore[arg-type]

    def _term(self, module: nn.Module, gammas: list[Tensor]) -> Tensor:
        kernel = own_kernel(self._d1(module))
        if kernel is None or hasattr(kernel, "full_tensor"):
            raise PenaltyError(
                f"D1 at the {self.site} has its whole weights in its forward alone, since it is sharded by itself; attach with "
                f"{advice.setting('delivery', 'gradient')}"
            )
        operator = self._operator(module)
        return value(OfAtoms(self.state.acting or self.regularizer, operator), operator.atoms)  # type: ignore[arg-type]

    def _weigh(self, module: nn.Module, gamma: Tensor) -> GammaStatistics:
        acting: AtomPenalty = self.acting(module)  # type: ignore[assignment]
        found = gamma_statistics(self.site.path, self.site.level, gamma, gamma)
        found.regularizer, found.settings = self.regularizer.name, self.settings_of(acting)
        with torch.no_grad(), undrawn(gamma.device):
            operator = unhooked_operator(self._d1(module))
            found.penalty, found.measured = value(OfAtoms(acting, operator), operator.atoms), acting.measures(operator)
        return found

    def _d1(self, module: nn.Module) -> nn.Module:
        return module.get_submodule(self.synthesis) if self.synthesis else module

    def _operator(self, module: nn.Module) -> SynthesisOperator:
        """D1 with the graph of its atoms."""
        return (operator_of if torch.compiler.is_compiling() else unhooked_operator)(self._d1(module), grad=True)
