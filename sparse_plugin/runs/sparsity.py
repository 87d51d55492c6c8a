"""What the commands with networks of their own take of a config: the settings where nobody says, and no key without a meaning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import create, get
from sparse_plugin.support import advice

log = logging.getLogger("sparse_plugin")

# The name by which `settings` knows the network of Deep Image Prior.
RESTORING = "deep_image_prior"

# Keys of a config that say nothing to a command, and what to do instead.
MEANINGLESS = {
    "train": {
        "host": "the networks are the command's own, so leave it out",
        "generator": "the networks are the command's own, so leave it out",
        "discriminator": "the networks are the command's own, so leave it out; role: discriminator regularizes it",
        "accumulation": "give --accumulation, which counts the passes to one update",
        "run_dir": "measurements are logged in the run's directory, so leave it out",
        "log": "a run has sparsity.jsonl, and a TensorBoard folder with them, in its directory, so leave it out",
    },
    "restore": {
        "host": "the network is the command's own, so leave it out",
        "generator": "the network is the command's own, so leave it out",
        "role": "there is no discriminator, so leave it out",
        "discriminator": "there is none, so leave it out",
        "beside": "there is one network, so give one section",
        "accumulation": "an iteration is one pass, so leave it out",
        "run_dir": "what is logged stands beside OUT, so leave it out",
        "log": "what is logged stands beside OUT, so leave it out",
        "measure_every": "--log-every says when something is logged, so leave it out",
        "delivery": "the network's loss is reached in one way, so leave it out",
    },
}


def settings(arch: str, regularizer: str) -> dict[str, Any]:
    """The settings of a regularizer for an architecture, or RESTORING; {} where its file declares none."""
    cls = get(regularizer)
    return dict(cls.encoder_defaults if arch == RESTORING else cls.defaults)


def with_defaults(sparse: SparsityConfig, arch: str) -> SparsityConfig:
    """sparse, with the settings of `settings` where it names a regularizer and none of its settings."""
    if sparse.regularizer is None or (sparse.settings and isinstance(sparse.regularizer, str)):
        return sparse
    sparse.load_imports()
    if not isinstance(sparse.regularizer, str):
        given = {name: sparse.settings.get(name, {}) for name in sparse.regularizer}
        lacking = [name for name, own in given.items() if isinstance(own, Mapping) and not own.keys() - {"sites"}]
        return sparse.with_settings(**{name: {**settings(arch, name), **given[name]} for name in lacking})
    found = settings(arch, sparse.regularizer)
    return sparse.with_settings(**found) if found else sparse


def attachable(sparse: SparsityConfig | None, command: str, arch: str) -> SparsityConfig | None:
    """What is to be attached, with its defaults and checked; None where nothing is.

    Raises ConfigError for a regularizer or a setting that there is not, a key of MEANINGLESS, and keys without a
    regularizer: nothing that is asked for is dropped.
    """
    if sparse is None:
        return None
    if sparse.beside and sparse.enabled and command != "restore":
        first, other = (attachable(part, command, arch) for part in sparse.parts())
        if first is None or other is None:
            raise ConfigError("one of two sections names no regularizer; give one in each, or one section alone")
        return first.with_(beside={**other.flat(), "role": other.role})
    given = sparse.flat()
    for key, instead in MEANINGLESS[command].items():
        if key in given:
            raise ConfigError(f"sparse.{key} is {given[key]!r} and has no meaning in `{command}`: {instead}")
    if sparse.regularizer is None:
        left = [key for key in given if key not in ("enabled", "imports")]
        if left and sparse.enabled:
            raise ConfigError(
                f"sparse.{left[0]} is {given[left[0]]!r} and no regularizer is named; give one, as in --sparse l0_inf"
            )
        return None
    if not sparse.enabled:
        return None
    return checked(sparse, arch)


def check_length(sparse: SparsityConfig | None, steps: int, discriminator_steps: int = 1) -> None:
    """Raises ConfigError where a run of so many steps ends before `auto` has measured; warns where it ends within a schedule.

    discriminator_steps: those of the discriminator to one of the generator.
    """
    for part in [] if sparse is None else sparse.parts():
        _check_length(part, steps * (discriminator_steps if part.role == "discriminator" else 1))


def _check_length(sparse: SparsityConfig, steps: int) -> None:
    made = sparse.build()
    auto = made.automatic
    if auto is not None and auto.measure >= steps:
        shorter = f"{{auto: {auto.share:g}, measure: {max(1, steps // 8)}, steps: {max(1, steps // 2)}}}"
        raise ConfigError(
            f"{made} measures the natural density of Γ over the first {auto.measure} steps, and this run has {steps}; give it fewer, "
            f"as in {advice.setting('k', shorter)}"
        )
    if made.settled > steps:
        log.warning("%s goes on changing up to step %d, and this run ends at step %d", made, made.settled, steps)


def checked(sparse: SparsityConfig, arch: str) -> SparsityConfig:
    """sparse with its defaults. Raises ConfigError for a regularizer or a setting that there is not, or that is missing."""
    sparse = with_defaults(sparse, arch)
    if arch == RESTORING:  # what needs a setting and has no default for encoder scales is refused
        sections = {sparse.name: sparse.settings} if isinstance(sparse.regularizer, str) else sparse.settings
        for name in sparse.names:
            if sections.get(name) == {}:
                create(name, {})
    sparse.build()
    return sparse
