"""A run's configuration, which decides its result: as it stands in config.json, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

C = TypeVar("C", bound="RunSettings")


class Configuration(Protocol):
    """What a run's directory is opened with."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in config.json, without its version."""


@dataclass(frozen=True)
class DataConfig:
    """Which images a run is trained on.

    fraction: the share of every class. name: what they are, for people. images: how many. sha256: of them and their
    labels, 16 digits. reading: what else was asked of them that decides which they are (see `data.Source.reading`). What
    an older directory does not say is None.
    """

    fraction: float
    name: str | None = None
    images: int | None = None
    sha256: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> DataConfig:
        """Of the values in config.json."""
        own = {key: mapping[key] for key in ("fraction", "name", "images", "sha256") if key in mapping}
        return cls(**own, reading={key: value for key, value in mapping.items() if key not in own})

    def to_json(self) -> dict[str, Any]:
        """The values in config.json."""
        own = {"name": self.name, "fraction": self.fraction, "images": self.images, "sha256": self.sha256}
        return {key: value for key, value in own.items() if value is not None} | dict(self.reading)


@dataclass(frozen=True)
class RunSettings:
    """What tells the runs of one recipe apart, in a run's directory and in its record.

    arch: the GAN's name. size: of the images, in pixels. width: the factor of all channels. batch: images of an update,
    over all processes; accumulation: passes to one. steps: updates of the generator. classes: of the labels, 0 for an
    unconditional GAN. sparse: what is attached, as `SparsityConfig.flat` says, None for nothing.
    """

    arch: str
    size: int
    width: float
    batch: int
    steps: int
    accumulation: int
    precision: str
    seed: int
    classes: int
    sparse: dict[str, Any] | None
    data: DataConfig

    @classmethod
    def from_json(cls: type[C], mapping: Mapping[str, Any]) -> C:
        """Of the values in config.json. Raises KeyError where one is missing, and ValueError for one of another type."""
        plain = {own.name: mapping[own.name] for own in fields(cls) if own.name != "data" and own.name in mapping}
        return cls(**plain, data=DataConfig.from_json(mapping["data"]))

    def to_json(self) -> dict[str, Any]:
        """The values in config.json."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in own.items() if value is not None or name == "sparse"} | {
            "data": self.data.to_json()
        }


@dataclass(frozen=True)
class RunConfig(RunSettings):
    """The configuration of one run of a GAN.

    recipe: its hyperparameters, as plain values. processes: how many trained it, None where an older directory does not say.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    processes: int | None = None

    @classmethod
    def from_json(cls: type[C], mapping: Mapping[str, Any]) -> C:
        """Of the values in config.json. Raises ValueError where one is missing, of another type or out of range."""
        _Checked.model_validate(mapping)
        return super().from_json(mapping)

    @property
    def title(self) -> str:
        """The GAN's name in tables."""
        return str(self.recipe["title"])


@dataclass(frozen=True, kw_only=True)
class RestorationSettings:
    """What tells the restorations of one image apart, in its record. The fields are as of `RestorationConfig`."""

    iterations: int
    stop: str | None = None
    width: float
    scales: int = 5
    precision: str = "float32"
    compiled: bool = False
    seed: int
    sparse: dict[str, Any] | None

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> RestorationSettings:
        """Of the values in a record. Raises KeyError where one is missing that has no default."""
        required = ("iterations", "width", "seed", "sparse")
        given = {own.name: mapping[own.name] for own in fields(cls) if own.name in mapping or own.name in required}
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """The values in a record."""
        return {own.name: getattr(self, own.name) for own in fields(self)}


@dataclass(frozen=True)
class RestorationConfig:
    """The configuration of one restoration.

    task: name and settings. image: size (width, height), channels and sha256 of the given one; clean: the hash of the one
    that it is measured against, None without one. iterations: at most so many. stop, patience: the rule that ends it, and
    how long it waits. width, scales: of the network. sparse: as of `RunSettings`.
    """

    KIND: ClassVar[str] = "restore"

    task: dict[str, Any]
    image: dict[str, Any]
    clean: str | None
    iterations: int
    stop: str | None
    patience: int
    seed: int
    width: float
    scales: int
    precision: str
    compiled: bool
    sparse: dict[str, Any] | None

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> RestorationConfig:
        """Of the values in config.json. Raises KeyError where one is missing, and ValueError where it is of no restoration."""
        if mapping.get("kind") != cls.KIND:
            raise ValueError("it is of no restoration")
        return cls(**{field.name: mapping[field.name] for field in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """The values in config.json."""
        return {"kind": self.KIND, **{field.name: getattr(self, field.name) for field in fields(self)}}

    @property
    def settings(self) -> RestorationSettings:
        """Those that stand in its record."""
        return RestorationSettings(**{own.name: getattr(self, own.name) for own in fields(RestorationSettings)})


class _Share(BaseModel):
    fraction: float = Field(gt=0, le=1)


class _Checked(BaseModel):
    """What of a GAN's configuration is read again, by whatever wrote it."""

    model_config = ConfigDict(strict=True)

    arch: str
    size: int
    width: float = Field(gt=0, le=16)
    batch: int
    steps: int
    accumulation: int
    precision: str
    classes: int = Field(ge=0, le=1_000_000)
    sparse: dict[str, Any] | None
    data: _Share
    recipe: dict[str, Any]
