"""Settings out of a checkpoint or a run directory: the regularizer's own, and never what is imported, patched or written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sparse_plugin.errors import CheckpointError, shown
from sparse_plugin.registry import REGULARIZERS, registered
from sparse_plugin.registry.base import RESERVED
from sparse_plugin.support.user_files import whence


def settings_of(found: Any, source: str) -> tuple[Any, dict[str, Any]]:
    """The name of the regularizer, or of several a list, and their settings.

    Raises CheckpointError, naming source, for what are none, or of a regularizer that is not registered here.
    """
    found = by_registered_name(found) if isinstance(found, Mapping) else found
    named = found.get("regularizer") if isinstance(found, dict) else None
    names = named if isinstance(named, list) else [named]
    if not names or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{source} should hold a regularizer and its settings, and holds {shown(found)}")
    for name in names:
        if name not in REGULARIZERS.all():
            raise CheckpointError(
                f"{source} was trained with {shown(name)}, which is not registered here; {whence(found)}"
            )
    if named is names:
        settings = own_fields(dict(found), names)
        settings.update({name: _own_section(settings[name], name) for name in names if name in settings})
    else:
        settings = own_fields(dict(found), REGULARIZERS.get(str(named)).model_fields)
    del settings["regularizer"]
    return named, settings


def by_registered_name(found: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, in which a regularizer that was constructed directly, and not by name, is called like its class, by registered names."""
    named = found.get("regularizer")
    if isinstance(named, str):
        return {**found, "regularizer": registered(named)}
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return dict(found)
    names = {name: registered(name) for name in named}
    return {**{names.get(key, key): value for key, value in found.items()}, "regularizer": list(names.values())}


def section_of(found: Mapping[str, Any] | None, role: str) -> Mapping[str, Any] | None:
    """Of what a run's directory says was attached, the section of the network of this role; None where there is none."""
    sections = [] if found is None else [found, *([found["beside"]] if isinstance(found.get("beside"), Mapping) else [])]
    return next((section for section in sections if section.get("role", "generator") == role), None)


def own_fields(found: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """What of found, settings out of data, is the regularizer's own, which has these fields.

    What a config says beside them (what is imported, patched, written) is never taken from data; any other key is left, to
    be refused.
    """
    aside = RESERVED - {"regularizer", *fields}
    return {key: value for key, value in found.items() if key not in aside}


def _own_section(section: Any, name: str) -> Any:
    """What of the section of one of several regularizers is its own, with the sites that it alone stands at."""
    if not isinstance(section, Mapping):
        return section
    sites = {"sites": section["sites"]} if "sites" in section else {}
    return {**own_fields(dict(section), REGULARIZERS.get(name).model_fields), **sites}
