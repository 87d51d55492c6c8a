"""SparsityConfig: what to attach and where, validated, from keywords, YAML, TOML or the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sparse_plugin.config.meaning import check_meaning
from sparse_plugin.config.out_of_data import settings_of
from sparse_plugin.errors import CheckpointError, ConfigError, one_of, shown
from sparse_plugin.registry import by_default, compose, create
from sparse_plugin.registry.base import Regularizer
from sparse_plugin.support.config_text import path_text, read
from sparse_plugin.support.files import reason
from sparse_plugin.support.sinks import sink as sinks
from sparse_plugin.support.sinks.sink import JSONL
from sparse_plugin.support.user_files import import_named

ENVIRONMENT = "SPARSE_PLUGIN_CONFIG"

# Of steps.
_MOST = 2**63 - 1

Delivery = Literal["gradient", "loss"]
Role = Literal["generator", "discriminator"]


class SparsityConfig(BaseModel):
    """One regularizer or several, their settings, and where and how they act.

    In a file all of it stands under the key `sparse`, the regularizer's own fields beside the ones below:

        version: 1
        sparse:
          regularizer: l0_inf
          k: 16

    regularizer: a registered name, or a list of several, which act in this order and have a section each for their
    fields, as in `l1: {weight: 0.1}`, with `sites` among them where one acts elsewhere; None where the host's own
    configuration or a checkpoint is to say (`waiting=True`).
    enabled: whether anything is attached at all. host: the only host to patch; else every installed one. generator:
    "module:Class" to attach to in a host that is not known. role: which network it acts on; "discriminator" regularizes what
    its last feature layer hands on to its head. discriminator: "module:Class" of it, in a host. beside: the section of the
    other network, where both are regularized; in a file, `sparse` is then a list of two sections. sites: paths of modules
    whose input is Γ, or "path:output". adapter: the name of one. delivery, accumulation: see `attach`; the default is "loss"
    where a host patch knows the generator's loss, else "gradient". measure_every: steps between two measurements, 0 for
    none; the default is the host's own interval, else 100. run_dir: where they are logged; the default is the host's own run
    directory. log: the sinks that they are written to, `jsonl` (that directory) by default, and `tensorboard` and `wandb`,
    which are the host's own where it has them open. imports: files or modules that register regularizers.

    Raises ConfigError for what is not valid, or contradicts itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    regularizer: str | list[str] | None = None
    settings: dict[str, Any] = {}
    enabled: bool = True
    host: str | None = None
    generator: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    role: Role = "generator"
    discriminator: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    beside: dict[str, Any] = {}
    sites: list[str] = []
    adapter: str | None = None
    delivery: Delivery | None = None
    accumulation: int = Field(default=1, ge=1, le=_MOST)
    measure_every: int | None = Field(default=None, ge=0, le=_MOST)
    run_dir: str | None = None
    log: list[str] = [JSONL]
    imports: list[str] = []
    # A regularizer that was handed over as an object need not be registered.
    _made: Any = PrivateAttr(default=None)

    def __init__(self, /, **own: Any) -> None:
        try:
            super().__init__(**own)
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from None

    @field_validator("regularizer", mode="before")
    @classmethod
    def _regularizers(cls, value: Any) -> Any:
        """Several may be written with commas between, as on a command line."""
        if isinstance(value, str) and "," in value:
            value = [name.strip() for name in value.split(",")]
        if not isinstance(value, (list, tuple)):
            return value
        if not value or not all(isinstance(name, str) and name for name in value):
            raise ValueError(f"sparse.regularizer is {shown(value)}; give one name, or a list of names such as [l1, l0_inf]")
        twice = next((name for name in value if value.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"sparse.regularizer lists {twice} twice, in {shown(value)}; of several, list each once")
        return list(value)

    @field_validator("sites", "imports", mode="before")
    @classmethod
    def _list(cls, value: Any, field: ValidationInfo) -> Any:
        """One is as good as a list of one; a module's path may be a number."""
        if isinstance(value, (str, os.PathLike, int, float)):
            value = [value]
        if not isinstance(value, (list, tuple)):
            return value
        return [path_text(each, f"sparse.{field.field_name}") for each in value]

    @field_validator("run_dir", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return path_text(value, "sparse.run_dir")

    @field_validator("log", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """One is as good as a list of one."""
        value = [value] if isinstance(value, str) else list(value) if isinstance(value, tuple) else value
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise ValueError(f"sparse.log is {shown(value)}; give a list of sinks, as [jsonl, tensorboard]")
        return value

    @model_validator(mode="after")
    def _check(self) -> SparsityConfig:
        if self.adapter is not None and self.sites:
            raise ValueError(
                f"adapter {self.adapter!r} and the sites {', '.join(self.sites)} both say where Γ is; give one of them"
            )
        if self.adapter is not None and self.role == "discriminator":
            raise ValueError(f"adapter {self.adapter!r} says where Γ of a generator is, and role is discriminator; name sites instead")
        sinks.check(self.log, self.run_dir, self.measure_every)
        for path in (self.run_dir, *self.imports):
            if path is not None and (not path or "\0" in path):
                raise ValueError(f"{shown(path)} is no path of a file or folder; give one")
        return self

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], source: str = "the settings", *, waiting: bool = False
    ) -> SparsityConfig:
        """From the flat mapping under `sparse`. Raises ConfigError, naming source, for what is not valid.

        waiting: whether it may do without a regularizer.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"{source}: {shown(mapping)} is no mapping; write `regularizer: l0_inf` and its fields")
        mapping = dict(mapping)
        own = {key: mapping.pop(key) for key in list(mapping) if key in cls.model_fields and key != "settings"}
        if own.get("regularizer") is None and not (waiting and not mapping):
            near = one_of("key", next(iter(mapping)), ["regularizer"]) if mapping else ""
            raise ConfigError(
                f"{source}: no regularizer is named; write `regularizer: l0_inf`, for instance. {near}".strip()
            )
        try:
            return cls(**own, settings=mapping)._one()
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    def for_role(self, role: Role) -> SparsityConfig | None:
        """What acts on the network of this role alone, None where nothing does. Raises ConfigError for a section that is not valid."""
        found = next((part for part in self.parts() if part.role == role), None)
        unneeded = "discriminator" if role == "generator" else "generator"
        return found if found is None or getattr(found, unneeded) is None else found.with_(**{unneeded: None})

    @property
    def roles(self) -> list[Role]:
        """The networks that a regularizer is named for, one or two."""
        return [part.role for part in self.parts() if part.regularizer is not None]

    def parts(self) -> list[SparsityConfig]:
        """What acts on each network, one or two."""
        return [self.with_(beside={}), self._other()] if self.beside else [self]

    def _other(self) -> SparsityConfig:
        """The section of the other network, which shares what is not of one network."""
        both = ("enabled", "measure_every", "run_dir", "log", "imports", "host", "generator", "discriminator")
        shared = {key: value for key, value in self.said().items() if key in both}
        other = type(self).from_mapping({**shared, **self.beside}, f"the section beside {self.name}")
        if other.beside or other.role == self.role:
            raise ConfigError(
                f"{self.name} and {other.name} are both of the {other.role}; give one section with `role: discriminator` and one without, "
                "or list both regularizers in one section"
            )
        return other

    @classmethod
    def from_data(cls, found: Any, source: str) -> SparsityConfig:
        """From the settings that a checkpoint or a run directory holds: the regularizer with its own fields, and sites.

        Nothing else of them is taken: data never say what is imported, patched or written. Raises CheckpointError, naming
        source, where they are no settings, or of a regularizer that is not registered here: it says by which --import.
        """
        named, settings = settings_of(found, source)
        try:
            role = found.get("role", "generator")
            config = cls(regularizer=named, settings=settings, sites=found.get("sites", []), role=role)
            config.build()
        except ConfigError as error:
            raise CheckpointError(f"{source} holds settings that are not valid: {reason(error)}") from None
        return config

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> SparsityConfig:
        """From a YAML or TOML file. Raises ConfigError for one that is missing, malformed or of another version."""
        return cls.from_mapping(read(path), os.fspath(path))

    @classmethod
    def from_environment(cls) -> SparsityConfig | None:
        """From SPARSE_PLUGIN_CONFIG: a file's path, or JSON. None where it is not set."""
        text = os.environ.get(ENVIRONMENT)
        if not text:
            return None
        if not text.lstrip().startswith("{"):
            return cls.from_file(text)
        try:
            mapping = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"the environment variable {ENVIRONMENT} is no JSON: {reason(error)}; give it a file's path, or unset it"
            ) from None
        return cls.from_mapping(mapping, ENVIRONMENT, waiting=True)

    @classmethod
    def of(cls, regularizer: Regularizer | Sequence[Regularizer], **own: Any) -> SparsityConfig:
        """For a regularizer object, or a list of several. Raises ConfigError for anything else."""
        if isinstance(regularizer, (list, tuple)) and all(isinstance(part, Regularizer) for part in regularizer):
            regularizer = compose(regularizer, {})
        if not isinstance(regularizer, Regularizer):
            raise ConfigError(
                f"the regularizer is {shown(regularizer)}; give a registered name, a Constraint or a Penalty"
            )
        settings = regularizer.settings()
        config = cls(regularizer=settings.pop("regularizer"), settings=settings, **own)
        config._made = regularizer
        return config

    def build(self) -> Regularizer:
        """The regularizer. Raises ConfigError for an unknown name or field, a value out of range, and for settings of this
        config that have no meaning for it.
        """
        made = self._made or self._create()
        check_meaning(made, self)
        regularizer: Regularizer = made
        return regularizer

    @property
    def apart(self) -> bool:
        """Whether each of several regularizers has sites of its own."""
        sections = [self.settings.get(name) for name in self.names] if isinstance(self.regularizer, list) else []
        return bool(sections) and all(isinstance(section, Mapping) and "sites" in section for section in sections)

    def _create(self) -> Regularizer:
        self.load_imports()
        if self.regularizer is None:
            raise ConfigError("no regularizer is named; give one, such as l0_inf")
        return create(self.regularizer, self.settings) if self.settings else by_default(self.regularizer)

    def _one(self) -> SparsityConfig:
        """Of a list of one the same as of the one."""
        if not isinstance(self.regularizer, list) or len(self.regularizer) > 1:
            return self
        (name,) = self.regularizer
        section = self.settings.get(name, {})
        if self.settings.keys() - {name} or not isinstance(section, Mapping) or ("sites" in section and self.sites):
            return self  # which is refused where it is built
        return type(self)(
            **{**self.said(), "regularizer": name, "sites": section.get("sites", self.sites)},
            settings={key: value for key, value in section.items() if key != "sites"},
        )

    @property
    def name(self) -> str:
        """The name of the regularizer; of several "l1+l0_inf"; "" where none is named."""
        return "+".join(self.names)

    @property
    def title(self) -> str:
        """The name with the network that it acts on, unless that is a generator: "l0_inf@discriminator", or "l0_inf&l1@discriminator"."""
        named = f"{self.name}@{self.role}" if self.role != "generator" else self.name
        return "&".join([named, *(part.title for part in self.parts()[1:])])

    @property
    def names(self) -> list[str]:
        """The names of all regularizers, in order."""
        return self.regularizer if isinstance(self.regularizer, list) else [self.regularizer] if self.regularizer else []

    def load_imports(self) -> None:
        """Import what registers regularizers. Raises ConfigError where that fails."""
        for name in self.imports:
            import_named(name)

    def with_settings(self, **settings: Any) -> SparsityConfig:
        """A copy whose regularizer has these of its settings changed."""
        return type(self)(**self.said(), settings={**self.settings, **settings})

    def with_(self, **own: Any) -> SparsityConfig:
        """A copy with these of its own fields changed (not the regularizer's)."""
        twin = type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | own)
        twin._made = self._made
        return twin

    def said(self) -> dict[str, Any]:
        """Its own fields that have not their default value, the regularizer's settings aside."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"settings"})

    def flat(self) -> dict[str, Any]:
        """As `from_mapping` reads it, without what has its default value."""
        own = self.said()
        named = {key: own.pop(key) for key in ("regularizer",) if key in own}
        return {**named, **self.settings, **own}

    def to_environment(self) -> str:
        """The value of SPARSE_PLUGIN_CONFIG that carries this config to other processes."""
        try:
            return json.dumps(self.flat())
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"the settings cannot be handed on to other processes: {reason(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    where, said = ".".join(map(str, first["loc"])), first["msg"]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "extra_forbidden":
        fields = [name for name in SparsityConfig.model_fields if name != "settings"]
        return f"{one_of('key', where, fields)} The regularizer's own fields stand in settings={{...}}"
    if first["type"] == "string_pattern_mismatch":
        said = 'write "module:Class"'
    return f"sparse.{where} is {shown(first['input'])}; {said[0].lower()}{said[1:]}"
