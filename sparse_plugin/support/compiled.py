"""What functions are to torch.compile, said without the import of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def constant(function: F) -> F:
    """A decorator: what function returns while a forward is compiled is a constant of the graph.

    What torch.compiler.assume_constant_result does, without the import of torch's compiler. For what Dynamo cannot follow, and
    what must happen once for each graph.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
