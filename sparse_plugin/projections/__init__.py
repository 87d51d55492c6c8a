"""The projections of a representation Γ onto L0 and L0,inf balls: one entry each, the fastest kernel there is for it.

    project_needles(gamma, k)   at most k non-zeros in every needle (L0,inf)
    project_global(gamma, k)    at most k non-zeros in every sample (L0)
    project_channels(gamma, k)  at most k non-zeros in every channel map of every sample

Everything that needs torch is imported on first use, and a kernel is loaded (and compiled, once per machine) by the
first projection that wants it, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparse_plugin.projections.sizes import check_k, resolve_k

if TYPE_CHECKING:
    from sparse_plugin.projections.entry import project_channels, project_global, project_needles
    from sparse_plugin.projections.status import kernel_status

__all__ = ["check_k", "kernel_status", "project_channels", "project_global", "project_needles", "resolve_k"]

_LAZY = {
    **dict.fromkeys(("project_needles", "project_global", "project_channels"), "entry"),
    "kernel_status": "status",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
