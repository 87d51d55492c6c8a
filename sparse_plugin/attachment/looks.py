"""Looking at a generator, which is no forward of its host's: meanwhile nothing is counted, judged, or added to a loss.

What may be D1 takes Γ as the constraint leaves it all the same: whoever watches convolutions never sees one that breaks it.
"""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor

from sparse_plugin.attachment import returned
from sparse_plugin.errors import ForwardError
from sparse_plugin.registry.base import Constraint, Regularizer
from sparse_plugin.registry.composition import parts_of, sites_of

# Threads in which a generator is being looked at.
muted: set[int] = set()


class looking:
    """In this thread nothing is counted or judged, while a call of the host's is looked at beforehand.

    Where that fails the call would have failed too: the host gets its own error, which it may know how to handle.
    """

    def __enter__(self) -> None:
        self.me = threading.get_ident()
        self.before = self.me in muted
        muted.add(self.me)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not self.before:
            muted.discard(self.me)
        if isinstance(error, ForwardError):
            raise (error.__cause__ or error) from None


def constrained(regularizer: Regularizer, gamma: Tensor) -> Tensor:
    """Γ as a convolution that may be D1 takes it in a look; as it is where the constraint needs more than one level of Γ."""
    for part in parts_of(regularizer):
        one = not any(isinstance(getattr(part, name), list) for name in part.listed)
        if isinstance(part, Constraint) and one and not sites_of(regularizer, part) and part.dictionaries(1, 2) is None:
            gamma = returned.represent(part, gamma)
    return gamma


def constrained_input(regularizer: Regularizer, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """`constrained`, of a module's first argument; None, for as it is, where that is no representation."""
    if args and isinstance(args[0], Tensor) and args[0].dim() >= 4 and args[0].is_floating_point():
        return (constrained(regularizer, args[0]), *args[1:])
    return None
