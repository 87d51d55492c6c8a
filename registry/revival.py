"""A projection that revives atoms which it never chooses."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr, model_validator

from sparse_plugin.errors import SiteError
from sparse_plugin.registry.base import Appearance, Constraint, K, Penalty
from sparse_plugin.support.capture import recording

if TYPE_CHECKING:
    from torch import Tensor

# No atom is favoured by more than twice this.
_MOST = 2.0**14
# So many atoms are listed in a line.
_LISTED = 20


class Revival(Constraint):
    """The projection of `constraint`, in which an atom that was not chosen once in so many steps is favoured for as many.

    Dead is an atom of which no training forward of `steps` steps of the generator's optimizer kept any coefficient, in whichever
    process. For the next `steps` steps its coefficients compete, in training, with 2ⁿ times their magnitude, such that the largest of
    the steps before comes to the mean of those of the live atoms, or up to twice that: it is chosen where it is strongest, and its
    gradient comes with that. What is kept is kept bit for bit, k holds, and evaluation projects as `constraint` does. Then it has to
    hold its own for as long before it is favoured again. While all atoms live, this is `constraint`, bit for bit.

    The aim is that of resampling dead features of sparse autoencoders (Bricken et al. 2023, "Towards monosemanticity"; the window is
    `dead_feature_window` of SAELens), the means the boosted competition of k-winners networks (Ahmad & Scheinkman 2019, arXiv
    1903.11257) and not new weights: in a generator those that make an atom's coefficients may be anywhere. An atom whose coefficients
    are zero before they are projected cannot be revived so, which is said.

    k: as of `constraint`, the registered name of one with a field k that inserts and remembers nothing.
    """

    k: K = Field(description="k, the coefficients kept, as of the constraint")
    steps: int = Field(default=1000, ge=1, lt=2**24)
    constraint: str = "l0_inf"

    # docs/results.md has the sweeps that found it, of `l0_inf`; none has looked for steps, which are those of SAELens.
    defaults: ClassVar[dict[str, float]] = {"k": 0.25}
    # The steps of this window so far; and of each atom its largest magnitude in it before and after the projection, and by how much it is
    # favoured: 0 for not, -1 where there is nothing to favour.
    memory: ClassVar[int] = 1
    memory_per_channel: ClassVar[int] = 3
    appearance = Appearance("Revival", "#F0E442", 7)

    _memory: Any = PrivateAttr(default=None)
    _training: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _check(self) -> Revival:
        _ = self.inner  # looked up now: a wrong name is a wrong setting
        return self

    @cached_property
    def inner(self) -> Constraint:
        """The constraint that holds."""
        from sparse_plugin.registry import create, get

        cls = get(self.constraint)
        if issubclass(cls, Penalty) or "k" not in cls.model_fields:
            raise ValueError(f"constraint is {self.constraint!r}, which chooses no k coefficients; name a constraint such as 'l0_inf'")
        made = create(self.constraint, {"k": self.k})
        if not isinstance(made, Constraint) or made.remembers or made.dictionaries(1, 2) is not None:
            raise ValueError(f"constraint is {self.constraint!r}, which is more than a projection; name another one, such as 'l0_inf'")
        return made

    def remembering(self, memory: Tensor, training: bool) -> Revival:
        """This at a site, where some atoms may be favoured now."""
        made = self.model_copy()
        made._memory, made._training = memory, training
        return made

    def project(self, gamma: Tensor) -> Tensor:
        """gamma: (N, C, ...), any float dtype and memory format. Same shape, dtype and format, as of the constraint."""
        if self._memory is None or not self._training or recording():
            return self.inner.project(gamma)
        favour = _parts(self._memory)[2]
        if len(favour) != gamma.shape[1]:
            raise SiteError(
                f"{self} is at a Γ of {gamma.shape[1]} channels, and the convolution there has {len(favour)} atoms; name another site"
            )
        if gamma.device.type == "cpu" and not bool((favour > 0).any()):  # the same, without a device that would be waited for
            return self.inner.project(gamma)
        # A power of 2: nothing is rounded, and with 1 nothing changes. In half precision what is favoured could overflow.
        wide = gamma.float() if gamma.dtype.itemsize == 2 else gamma
        gain = favour.clamp(min=1).to(wide.dtype).view(-1, *(1 for _ in gamma.shape[2:]))
        return (self.inner.project(wide * gain) / gain).to(gamma.dtype)

    def holds(self, gamma: Tensor) -> bool:
        """As of the constraint."""
        return self.inner.holds(gamma)

    def slack(self, channels: int, size: int | None) -> str:
        """As of the constraint."""
        return self.inner.slack(channels, size)

    def notes(self, gamma: Tensor, sparse: Tensor) -> Tensor:
        """The largest magnitudes of each atom, before and after the projection: (2C,); 0 where one is not finite, which tells nothing."""
        import torch

        def largest(each: Tensor) -> Tensor:
            flat = each.flatten(2) if each.dim() > 2 else each.unsqueeze(2)
            # By position first, and signs apart: several times as fast as an infinity norm on CPUs.
            found = torch.maximum(flat.amax(2), -flat.amin(2)).amax(0).float()
            return torch.where(found.isfinite(), found, 0)

        return torch.cat([largest(gamma), largest(sparse)])

    def stepped(self, memory: Tensor, noted: Tensor, steps: int) -> str:
        """A window goes a step on, and at its end it is seen which atoms are dead. Nothing waits for the device but what is said then."""
        import torch

        peak, kept, favour = _parts(memory)
        torch.maximum(memory[1 : 1 + len(noted)], noted.to(memory), out=memory[1 : 1 + len(noted)])
        memory[0] += 1
        ended = memory[0] >= self.steps
        given = favour > 0
        live = (kept > 0) & ~given
        usual = (peak * live).sum() / live.sum().clamp(min=1)
        ratio = torch.where(peak > 0, usual / peak, 1).clamp(1, _MOST)
        gain = torch.where(peak > 0, ratio / torch.frexp(ratio).mantissa, -1)  # the power of 2 above
        favour.copy_(torch.where(ended, torch.where(live | given, 0, gain), favour))
        memory[: 1 + len(noted)] *= ~ended
        # Windows of a resumed run, and of a schedule of steps, end at other steps of this process, which a device tells when it is asked.
        due = bool(ended) if memory.device.type == "cpu" else steps % self.steps == 0
        return self._told(favour.tolist(), self.steps - int(memory[0])) if due else ""

    def measures(self) -> dict[str, Tensor]:
        """How many atoms are favoured now, and how many are dead before they are projected."""
        if self._memory is None:
            return {}
        favour = _parts(self._memory)[2]
        return {"revived": (favour > 0).sum(), "silent": (favour < 0).sum()}

    def _told(self, favour: list[float], left: int) -> str:
        revived = [atom for atom, by in enumerate(favour) if by > 0]
        silent = [atom for atom, by in enumerate(favour) if by < 0]
        said = []
        if revived:
            said.append(
                f"{len(revived)} of {len(favour)} atoms were not chosen once in {self.steps} steps and are favoured for the next "
                f"{left}: {_list(revived)}"
            )
        if silent:
            said.append(
                f"{len(silent)} of {len(favour)} atoms cannot be revived, since Γ is zero there, or not finite, before it is projected: "
                f"{_list(silent)}"
            )
        return "; ".join(said)


def _parts(memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each atom the largest magnitude before and after the projection, and by how much it is favoured."""
    peak, kept, favour = memory[1:].view(3, -1).unbind()
    return peak, kept, favour


def _list(atoms: list[int]) -> str:
    return ", ".join(map(str, atoms[:_LISTED])) + (", ..." if len(atoms) > _LISTED else "")
