"""The projection of a whole batch, with a threshold where one sample is to be judged by itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, PrivateAttr

from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.registry.base import Appearance, Constraint, Ks
from sparse_plugin.support.capture import exporting, recording

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("sparse_plugin")


class L0Batch(Constraint):
    """Keep the k·N coefficients of largest magnitude of the whole batch of N samples, zero the rest: k of a sample on average.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  ‖Γ'‖₀ <= k·N over the batch, in training

    It is BatchTopK of sparse autoencoders (Bussmann et al. 2024, arXiv 2412.06410), by magnitude. It couples the samples of a
    batch: what is kept of one depends on the others. In evaluation mode it does not: what is below a threshold is zeroed, the
    running mean of the smallest magnitude that training has kept, so that k holds on average and not exactly. Where none is
    known yet, the batch decides there too, and a program that was exported so gives NaN.

    k: an integer counts, a float in (0, 1] is a fraction of C·H·W, of which never more is kept; a list has one for each Γ_1, Γ_2, ... There
    is no default: no sweep has looked for one. momentum: the share of the latest batch in the running mean, in (0, 1].
    """

    k: Ks = Field(
        description="k, the coefficients that a sample keeps on average: an integer counts, a float in (0, 1] is a fraction"
    )
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.01

    listed = ("k",)
    memory: ClassVar[int] = 2  # the threshold times its weight, and that weight: both can be averaged
    appearance = Appearance("L0 a batch", "#D55E00", 5)

    _memory: Any = PrivateAttr(default=None)
    _training: bool = PrivateAttr(default=True)

    def remembering(self, memory: Tensor, training: bool) -> L0Batch:
        """This at a site: in training the threshold in memory follows, else it decides."""
        made = self.model_copy()
        made._memory, made._training = memory, training
        return made

    def project(self, gamma: Tensor) -> Tensor:
        """gamma: (N, C, ...), any float dtype and memory format. Same shape, dtype and format; ties go to the lowest index."""
        if self._memory is None or self._training:
            sparse = self._of_batch(gamma)
            if self._memory is not None and gamma.numel():
                self._follow(sparse)
            return sparse
        threshold, known = self._threshold()
        if recording():
            import torch

            # A program that is exported is for batches of any size: where no threshold is known, its images are NaN.
            return torch.where(known, _above(gamma, threshold), torch.nan if exporting() else self._of_batch(gamma))
        if bool(known):
            return _above(gamma, threshold)
        log.warning("%s was not trained yet and knows no threshold: the batch that is evaluated decides what is kept of each sample", self)
        return self._of_batch(gamma)

    def slack(self, channels: int, size: int | None) -> str:
        """An integer k of a sample's size or more."""
        k = self._one("k")
        return f"k = {k} keeps all {size} coefficients of a sample" if size and isinstance(k, int) and k >= size else ""

    def holds(self, gamma: Tensor) -> bool:
        """At most k·N non-zeros in the batch; where the threshold decides, none below it."""
        if not gamma.numel():
            return True
        if self._memory is not None and not self._training:
            threshold, known = self._threshold()
            if bool(known):
                return not bool(((gamma != 0) & (gamma.abs() < threshold)).any())
        return int((gamma != 0).sum()) <= self._count(gamma)

    def _count(self, gamma: Tensor) -> int:
        return resolve_k(self._one("k"), gamma.shape[1:].numel()) * gamma.shape[0]

    def _of_batch(self, gamma: Tensor) -> Tensor:
        from sparse_plugin.projections import project_global

        if not gamma.numel():
            return gamma
        flat = (gamma if gamma.dim() < 5 else gamma.flatten(3)).unsqueeze(0)  # one sample: the batch
        return project_global(flat, self._count(gamma)).squeeze(0).view_as(gamma)

    def _threshold(self) -> tuple[Tensor, Tensor]:
        known = self._memory[1] > 0
        return self._memory[0] / self._memory[1].clamp(min=1e-12), known

    def _follow(self, sparse: Tensor) -> None:
        """Let the threshold follow the smallest magnitude that was kept. Nothing waits for the device."""
        import torch

        if torch._C._functorch.peek_interpreter_stack() is not None:
            return  # a derivative that torch.func takes is no training, and may change nothing outside
        with torch.no_grad():
            kept = sparse.detach().abs()
            least = torch.where(kept > 0, kept, torch.inf).amin().to(self._memory)
            now = torch.stack([least, torch.ones_like(least)])
            share = torch.where(self._memory[1] > 0, self.momentum, 1.0)
            # A batch without any non-zero, or with one that is not finite, tells nothing.
            largest = kept.amax()
            self._memory.copy_(torch.where(largest.isfinite() & (largest > 0), self._memory + share * (now - self._memory), self._memory))


def _above(gamma: Tensor, threshold: Tensor) -> Tensor:
    """gamma where its magnitude is not below the threshold, +0 elsewhere; NaN stays."""
    import torch

    return torch.where(gamma.abs() < threshold, 0, gamma)
