"""The kinds of regularizer: projections of Γ, penalties on Γ, and penalties on the atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.registry.regularizer import RESERVED as RESERVED

# What a file with a regularizer imports beside its kind.
from sparse_plugin.registry.regularizer import Appearance as Appearance
from sparse_plugin.registry.regularizer import K as K
from sparse_plugin.registry.regularizer import Ks as Ks
from sparse_plugin.registry.regularizer import Regularizer as Regularizer
from sparse_plugin.registry.regularizer import Weight as Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparse_plugin.dictionary.operator import SynthesisOperator

C = TypeVar("C", bound="Constraint")

# Called with the level, Γ before and Γ after its projection.
Observer = Callable[[int, "Tensor", "Tensor"], None]


class Constraint(Regularizer):
    """A projection of Γ, applied in every forward pass, in training and in evaluation."""

    # How many numbers it keeps from one forward to the next, in the checkpoint, and how many more for each channel of Γ: see
    # `remembering`, and for the latter `stepped`.
    memory: ClassVar[int] = 0
    memory_per_channel: ClassVar[int] = 0

    @property
    def remembers(self) -> bool:
        """Whether it keeps any numbers."""
        return bool(self.memory or self.memory_per_channel)

    def remembering(self: C, memory: Tensor, training: bool) -> C:
        """What projects Γ at a site. memory: its numbers there, float32, 0 at first, which hosts copy and average as they do any
        buffer. training: whether D1 is in training mode.
        """
        del memory, training
        return self

    def notes(self, gamma: Tensor, sparse: Tensor) -> Tensor:
        """What `stepped` is told of a training forward: of each number the largest of all forwards, and of all processes.

        gamma, sparse: Γ before and after its projection. Asked of a class with numbers for each channel; no more numbers than it
        keeps. Must wait for no device.
        """
        raise TypeError(f"{type(self).__name__} does not define notes(gamma, sparse)")

    def stepped(self, memory: Tensor, noted: Tensor, steps: int) -> str:
        """The generator's optimizer took a step, after training forwards of which this was noted: memory may change, in place.

        steps: how many of them it took in this process. Returns a sentence for people, "" for none. The same in all processes.
        """
        raise TypeError(f"{type(self).__name__} does not define stepped(memory, noted, steps)")

    def measures(self) -> Mapping[str, Tensor]:
        """Further scalars of the log, by name, of what is `remembering`."""
        return {}

    def project(self, gamma: Tensor) -> Tensor:
        """Γ with the constraint met: a new tensor of the same shape, dtype, device and memory format, never in place.

        gamma: (N, C, ...), any float dtype. Where a generator runs, GammaError is raised for what is none.
        """
        raise TypeError(f"{type(self).__name__} does not define project(gamma)")

    def holds(self, gamma: Tensor) -> bool:
        """Whether Γ meets the constraint; asked once, for the tensor that D1 really consumes. True unless overridden."""
        del gamma
        return True

    def slack(self, channels: int, size: int | None) -> str:
        """Why this cannot bind, for people: no Γ of so many channels, and size entries a sample (None: not known yet),
        would be changed. "" where one would, or where that is what was asked for.
        """
        del channels, size
        return ""

    def dictionaries(self, channels: int, spatial: int) -> nn.Module | None:
        """The learned module to insert before D1, for Γ with this many channels and spatial dimensions; None for none.

        It must not draw random numbers: the host's own run would change.
        """
        del channels, spatial
        return None

    def represent(self, gamma: Tensor, dictionaries: nn.Module | None, observe: Observer | None = None) -> Tensor:
        """The representation that D1 consumes; observe, if given, sees every level before and after its projection."""
        del dictionaries
        sparse = self.project(gamma)
        if observe is not None:
            observe(1, gamma, sparse)
        return sparse


class Penalty(Regularizer):
    """A term of the generator's loss, in training only."""

    def penalty(self, gamma: Tensor) -> Tensor:
        """The scalar to add to the generator's loss, differentiable in gamma.

        gamma: (N, C, ...), float32 or float64 (lower precisions are converted before). A mean over the batch makes
        gradient accumulation and data parallelism come out as on the joint batch. Where the loss is made, PenaltyError is raised for
        what is no scalar, and for one without a gradient that is not 0.
        """
        raise TypeError(f"{type(self).__name__} does not define penalty(gamma)")


class AtomPenalty(Penalty):
    """A term of the generator's loss that depends on the atoms of D1, and not on Γ: once in each loss, whatever the batch."""

    def of_atoms(self, operator: SynthesisOperator) -> Tensor:
        """The scalar to add to the generator's loss, differentiable in the atoms, which are float32 or float64.

        operator: D1 with the weights that it really uses, spectral norm and the like applied.
        """
        raise TypeError(f"{type(self).__name__} does not define of_atoms(operator)")

    def measures(self, operator: SynthesisOperator) -> Mapping[str, Tensor]:
        """Further scalars of the log, by name."""
        del operator
        return {}


def check_fields(cls: type[Regularizer]) -> None:
    """Raises ConfigError for a regularizer with a field that could not be set, or would hide what it inherits, and as `check_class`."""
    taken = [
        name for name in cls.model_fields if name in RESERVED or hasattr(AtomPenalty, name) or hasattr(Constraint, name)
    ]
    if taken:
        raise ConfigError(
            f"{cls.__name__} has the field{'s' * (len(taken) > 1)} {', '.join(taken)}, and a config or the base class has "
            f"something else of that name; rename {'them' if len(taken) > 1 else 'it'}. Taken are {', '.join(sorted(RESERVED))}, "
            "and what Constraint and Penalty define"
        )
    check_class(cls)


def check_class(cls: type[Regularizer]) -> None:
    """Raises ConfigError for a regularizer of two kinds, one with an alias of a field, and one that says something of a field which it has
    not; registered or not.
    """
    if issubclass(cls, Constraint) and issubclass(cls, Penalty):
        raise ConfigError(
            f"{cls.__name__} is derived from Constraint and from Penalty, of which a regularizer is one; write two, and list both"
        )
    aliases = ((name, alias) for name, field in cls.model_fields.items() for alias in (field.alias, field.validation_alias))
    renamed = next((name for name, alias in aliases if alias not in (None, name)), None)
    if renamed is not None:
        raise ConfigError(f"{cls.__name__} has an alias for its field {renamed}; leave it out: the keys of a config are the fields' names")
    for what in ("listed", "unscheduled", "defaults", "encoder_defaults"):
        for name in getattr(cls, what):
            if name not in cls.model_fields:
                raise ConfigError(f"{what} of {cls.__name__}: {one_of('field', name, cls.model_fields)}")
