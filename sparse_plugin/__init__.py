"""Sparse-modeling regularization for image generators that other people wrote."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparse_plugin.support.version import __version__ as __version__

if TYPE_CHECKING:
    from sparse_plugin.attachment.atoms import atoms as atoms
    from sparse_plugin.attachment.atoms import effective_atoms as effective_atoms
    from sparse_plugin.attachment.attach import attach as attach
    from sparse_plugin.attachment.handle import Attachment as Attachment
    from sparse_plugin.config import SparsityConfig as SparsityConfig
    from sparse_plugin.errors import SparsePluginError as SparsePluginError
    from sparse_plugin.hosts.enable import disable as disable
    from sparse_plugin.hosts.enable import enable as enable
    from sparse_plugin.hosts.host import Host as Host
    from sparse_plugin.hosts.host import register_host as register_host
    from sparse_plugin.network.adapters import Adapter as Adapter
    from sparse_plugin.network.adapters import register_adapter as register_adapter
    from sparse_plugin.network.detection import detect as detect
    from sparse_plugin.network.sites import Site as Site
    from sparse_plugin.registry import Constraint as Constraint
    from sparse_plugin.registry import Penalty as Penalty
    from sparse_plugin.registry import register as register

# Names are resolved on first use, so that `import sparse_plugin` and `--help` import neither torch nor pydantic.
_HOME = {
    "Adapter": "network.adapters",
    "Attachment": "attachment.handle",
    "Constraint": "registry",
    "Host": "hosts.host",
    "Penalty": "registry",
    "Site": "network.sites",
    "SparsePluginError": "errors",
    "SparsityConfig": "config",
    "atoms": "attachment.atoms",
    "attach": "attachment.attach",
    "detect": "network.detection",
    "disable": "hosts.enable",
    "effective_atoms": "attachment.atoms",
    "enable": "hosts.enable",
    "register": "registry",
    "register_adapter": "network.adapters",
    "register_host": "hosts.host",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sparse_plugin' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"sparse_plugin.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
