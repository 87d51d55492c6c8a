"""What functions are to torch.compile, said without the import of torch."""

from __future__ import annotations

import sys
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


def passed_over(function: F) -> F:
    """A decorator: torch.compile breaks its graph and calls function, rather than following it.

    What the frame of torch.compiler.disable does, without the import of torch's compiler; what function calls is followed again.
    """
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    return function


def uncompiled(function: F) -> F:
    """function, which torch.compile shall not compile by itself where it runs beside a graph, nor what it calls: it asks whether it is
    being compiled, and would be told so.
    """
    dynamo = sys.modules.get("torch._dynamo")  # unless that is there, nothing is compiled
    return function if dynamo is None else dynamo.disable(function)
