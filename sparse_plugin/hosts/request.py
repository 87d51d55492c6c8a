"""What this process was asked for: by who switched the plugin on, by the host's own configuration, or by a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts.environment import anchored
from sparse_plugin.support import advice


def discriminator_of(config: SparsityConfig) -> str | None:
    """The class of discriminators that is named, in whichever section."""
    return next((part.discriminator for part in config.parts() if part.discriminator is not None), None)


def check_networks(config: SparsityConfig) -> None:
    """Build every regularizer. Raises ConfigError for what is not valid, or has no effect: a discriminator's class where nothing
    acts on discriminators; a penalty that somebody is to add to a discriminator's loss, which no host patch knows.
    """
    for part in config.parts():
        if part.regularizer is not None:
            part.build()
        if part.role == "discriminator" and part.delivery == "loss":
            raise ConfigError(
                "delivery is 'loss' and role is discriminator, whose loss no host patch knows; leave it out: the gradient is added in the "
                "backward pass of its own step"
            )
    spec = discriminator_of(config)
    if spec is not None and config.regularizer is not None and "discriminator" not in config.roles:
        raise ConfigError(
            f"the discriminator's class is named, {spec}, and {config.name} acts on the generator; say "
            f"{advice.setting('role', 'discriminator')} where the discriminator is meant, or give a section of its own for it"
        )


class Request:
    """A config, which may lack a regularizer until one of the others names it, and where measurements go by default.

    active: whether generators that are built now are attached.
    """

    def __init__(self, config: SparsityConfig, default_run_dir: str | None) -> None:
        self.config = config
        self.default_run_dir = default_run_dir
        self.active = False

    def configure(self, mapping: Mapping[str, Any], source: str) -> SparsityConfig:
        """Take settings that the host's own configuration holds; returns them alone.

        Raises ConfigError, naming source, where they are not valid or differ from what the launcher was given.
        """
        given = anchored(SparsityConfig.from_mapping(mapping, source))
        ours = self.config
        try:
            given.build()
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        clashes = {
            key: (theirs[key], mine[key])
            for theirs, mine in ((given.said(), ours.said()), (given.settings, ours.settings))
            for key in theirs.keys() & mine.keys()
            if theirs[key] != mine[key]
        }
        if not clashes and ours.regularizer and ours.settings != given.settings:
            clashes = {"settings": (given.settings, ours.settings)}
        if clashes:
            key, (theirs_, mine_) = min(clashes.items())
            raise ConfigError(
                f"{source} and the command that launched this run differ in {key}: {theirs_!r} and {mine_!r}; give it in one "
                "place"
            )
        try:
            self.config = given.with_(**ours.said())
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        return given

    def adopt(self, settings: Mapping[str, Any]) -> None:
        """Take the settings that a checkpoint holds: the regularizer with its fields, and sites where the user named none.

        All else is what the user typed: a checkpoint has no say in imports, or in what is written where. Raises
        CheckpointError for what are no settings.
        """
        found = SparsityConfig.from_data(settings, "the checkpoint")
        given = self.config if self.config.sites or self.config.adapter else self.config.with_(sites=found.sites)
        self.config = given.model_copy(update={"regularizer": found.regularizer, "settings": found.settings})
