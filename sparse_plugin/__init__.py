"""Sparse-modeling regularization for image generators that other people wrote."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparse_plugin.adapters import Adapter as Adapter
    from sparse_plugin.attachment import Attachment as Attachment
    from sparse_plugin.attachment import attach as attach
    from sparse_plugin.config import SparsityConfig as SparsityConfig
    from sparse_plugin.detection import detect as detect
    from sparse_plugin.errors import SparsePluginError as SparsePluginError
    from sparse_plugin.hosts import Host as Host
    from sparse_plugin.atoms import atoms as atoms
    from sparse_plugin.atoms import effective_atoms as effective_atoms
    from sparse_plugin.plugins import register_adapter as register_adapter
    from sparse_plugin.plugins import register_host as register_host
    from sparse_plugin.registry import Constraint as Constraint
    from sparse_plugin.registry import Penalty as Penalty
    from sparse_plugin.registry import register as register
    from sparse_plugin.session import disable as disable
    from sparse_plugin.session import enable as enable
    from sparse_plugin.sites import Site as Site

__version__ = "0.1.0"

# Names are resolved on first use, so that `import sparse_plugin` and `--help` import neither torch nor pydantic.
_HOME = {
    "Adapter": "adapters",
    "Attachment": "attachment",
    "Constraint": "registry",
    "Host": "hosts",
    "Penalty": "registry",
    "Site": "sites",
    "SparsePluginError": "errors",
    "SparsityConfig": "config",
    "atoms": "atoms",
    "attach": "attachment",
    "detect": "detection",
    "disable": "session",
    "effective_atoms": "atoms",
    "enable": "session",
    "register": "registry",
    "register_adapter": "plugins",
    "register_host": "plugins",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sparse_plugin' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"sparse_plugin.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
