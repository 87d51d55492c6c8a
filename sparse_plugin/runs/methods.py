"""What is compared: a regularizer with its settings, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sparse_plugin.config import SparsityConfig, load_yaml
from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.registry import REGULARIZERS
from sparse_plugin.runs import sparsity

VANILLA = "vanilla"


@dataclass(frozen=True)
class Method:
    """name: "vanilla", or a registered regularizer's, or of several "l1+l0_inf". sparse: what is attached, None for vanilla."""

    name: str
    sparse: SparsityConfig | None

    @property
    def control(self) -> Method | None:
        """What tells whether sparsity or something else does it: of ml_csc, its added layers with all of Γ kept."""
        if self.sparse is None or self.name != "ml_csc" or self.sparse.settings.get("k") == 1.0:
            return None
        return Method(self.name, self.sparse.with_settings(k=1.0))

    @property
    def label(self) -> str:
        """The name with the settings, for directories and tables: "l0_inf-k=0.25", or "l0_inf@first-k=0.25" at sites of its own."""
        if self.sparse is None:
            return self.name
        name = "@".join([self.name, *(["+".join(self.sparse.sites).replace("/", "_")] if self.sparse.sites else [])])
        sections = self.sparse.settings if isinstance(self.sparse.regularizer, list) else {"": self.sparse.settings}
        settings = (
            f"{f'{name}.' if name else ''}{key}={_plain(value)}" for name, own in sections.items() for key, value in own.items()
        )
        return "-".join((name, *settings))


def methods(asked: Iterable[str], arch: str, imports: Iterable[str] = ()) -> list[Method]:
    """The methods that "vanilla", "l0_inf", "l1:weight=0.1" or "l1+l0_inf:l1.weight=0.1:l0_inf.k=0.25" name, for an architecture.

    "l0_inf@first:k=0.25" acts at the input of the module `first` instead of D1's. A name without settings takes its defaults
    (`sparsity.settings`). Raises ConfigError for a name or a setting that there is not, and for a method that is named twice.
    """
    found = [_method(text, arch, list(imports)) for text in asked]
    labels = [method.label for method in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ConfigError(f"the method {twice} is named twice; name each once")
    return found


def with_controls(asked: Iterable[Method]) -> list[Method]:
    """The methods, and after them the controls of those that have one."""
    found = {method.label: method for method in asked}
    for method in list(found.values()):
        if method.control is not None:
            found.setdefault(method.control.label, method.control)
    return list(found.values())


def label_of(sparse: dict[str, Any] | None) -> str:
    """The label of what a run's configuration says was attached."""
    if sparse is None:
        return VANILLA
    config = SparsityConfig.from_mapping(sparse)
    return Method(config.name, config).label


def split(texts: Iterable[str]) -> list[str]:
    """The items of lists such as "l0,ml_csc:k=[0.5,0.25]": a comma within brackets or braces does not end one."""
    return [item for text in texts for item in _parts(text, ",") if item]


def _parts(text: str, mark: str) -> list[str]:
    """text between the marks that stand outside of brackets and braces."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == mark and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _method(text: str, arch: str, imports: list[str]) -> Method:
    name, *assignments = _parts(text, ":")
    name, at, site = name.partition("@")
    if name == VANILLA and not assignments and not at:
        return Method(name, None)
    if at and not site:
        raise ConfigError(f"the method {text!r} names no site behind @; name the module whose input is Γ, or leave out the @")
    names = name.split("+")
    unknown = next((each for each in names if each not in REGULARIZERS.all()), None)
    if unknown is not None:
        raise ConfigError(one_of("method", unknown, [VANILLA, *REGULARIZERS.all()]))
    several = len(names) > 1
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(
                f"the method {text!r} cannot be read; write it as {name}:{names[0] + '.' if several else ''}k=0.25, "
                "one :KEY=VALUE a setting"
            )
        try:
            read = load_yaml(value)
        except yaml.YAMLError:
            raise ConfigError(
                f"the value {value!r} in the method {text!r} cannot be read; give a number or a list"
            ) from None
        owner, _, field = key.rpartition(".") if several else (name, "", key)
        if owner not in names:
            raise ConfigError(f"the method {text!r} sets {key}; of several regularizers say whose field it is, as in {names[0]}.{field}")
        fields = REGULARIZERS.get(owner).model_fields
        if field not in fields:
            raise ConfigError(f"the method {text!r} sets {key}: {one_of('field', field, fields)}")
        (settings.setdefault(owner, {}) if several else settings)[field] = read
    given = {"regularizer": names if several else name, **settings, "imports": imports, **({"sites": [site]} if site else {})}
    sparse = SparsityConfig.from_mapping(given, f"the method {text!r}")
    return Method(sparse.name, sparsity.checked(sparse, arch))  # now: before anything is trained


def _plain(value: Any) -> str:
    """A setting without what file systems or commas in tables mind."""
    if isinstance(value, Mapping):
        return "+".join(f"{key}={_plain(each)}" for key, each in value.items())
    return "+".join(map(_plain, value)) if isinstance(value, list) else str(value).replace("/", "_")
