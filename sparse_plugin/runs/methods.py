"""What is compared: a regularizer with its settings, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import yaml

from sparse_plugin.config import Role, SparsityConfig, load_yaml
from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.registry import REGULARIZERS
from sparse_plugin.runs import sparsity

VANILLA = "vanilla"


@dataclass(frozen=True)
class Method:
    """name: "vanilla", or a registered regularizer's, or of several "l1+l0_inf", with "@discriminator" where it acts there; of both
    networks "l0_inf&l1@discriminator". sparse: what is attached, None for vanilla.
    """

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
        return self.name if self.sparse is None else "&".join(map(_label, self.sparse.parts()))


def methods(asked: Iterable[str], arch: str, imports: Iterable[str] = ()) -> list[Method]:
    """The methods that "vanilla", "l0_inf", "l1:weight=0.1" or "l1+l0_inf:l1.weight=0.1:l0_inf.k=0.25" name, for an architecture.

    "l0_inf@first:k=0.25" acts at the input of the module `first` instead of D1's, "l0_inf@discriminator:k=0.25" on the discriminator,
    and "l0_inf:k=0.25&l1@discriminator:weight=0.1" on both networks. A name without settings takes its defaults
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
    return Method(config.title, config).label


def split(texts: Iterable[str]) -> list[str]:
    """The items of lists such as "l0, ml_csc:k=[0.5,0.25]": a comma within brackets or braces does not end one."""
    return [item.strip() for text in texts for item in _parts(text, ",") if item.strip()]


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


def _label(sparse: SparsityConfig) -> str:
    """What acts on one network, with its settings."""
    sections = sparse.settings if isinstance(sparse.regularizer, list) else {"": sparse.settings}
    settings = (
        f"{f'{name}.' if name else ''}{key}={_plain(value)}" for name, own in sections.items() for key, value in own.items()
    )
    sites = ["+".join(sparse.sites).replace("/", "_")] if sparse.sites else []
    return "-".join(("@".join([sparse.title, *sites]), *settings))


def _method(text: str, arch: str, imports: list[str]) -> Method:
    if text == VANILLA:
        return Method(text, None)
    parts = [_of_one(part, arch, imports) for part in _parts(text, "&")]
    if len(parts) > 2 or len({part.role for part in parts}) < len(parts):
        raise ConfigError(f"the method {text!r} names a network twice; write one part for the generator, and &NAME@discriminator")
    sparse = parts[0].with_(beside={**parts[1].flat(), "role": parts[1].role}) if len(parts) > 1 else parts[0]
    return Method(sparse.title, sparse)


def _of_one(text: str, arch: str, imports: list[str]) -> SparsityConfig:
    """What acts on one network."""
    whole, *assignments = _parts(text, ":")
    name, at, site = whole.partition("@")
    role, _, rest = site.partition("@")
    role, site = (role, rest) if role in get_args(Role) else ("generator", site)
    if at and not site and role == "generator" and whole.endswith("@"):
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
    given = {"regularizer": names if several else name, **settings, "imports": imports, "role": role}
    given |= {"sites": [site]} if site else {}
    return sparsity.checked(SparsityConfig.from_mapping(given, f"the method {text!r}"), arch)  # now: before anything is trained


def _plain(value: Any) -> str:
    """A setting without what file systems or commas in tables mind."""
    if isinstance(value, Mapping):
        return "+".join(f"{key}={_plain(each)}" for key, each in value.items())
    return "+".join(map(_plain, value)) if isinstance(value, list) else str(value).replace("/", "_")
