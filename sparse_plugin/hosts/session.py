"""One process with the plugin switched on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sparse_plugin.config import ENVIRONMENT, SparsityConfig
from sparse_plugin.errors import SparsePluginError
from sparse_plugin.hosts.builders import Builders
from sparse_plugin.hosts.generators import Generators
from sparse_plugin.hosts.host import HOSTS, Host
from sparse_plugin.hosts.journal import Journal
from sparse_plugin.hosts.loss import Loss
from sparse_plugin.hosts.patching import Patches
from sparse_plugin.hosts.reporting import Reporter
from sparse_plugin.hosts.request import Request, check_networks, discriminator_of
from sparse_plugin.hosts.undo import Undo
from sparse_plugin.support.console import say
from sparse_plugin.support.user_files import import_named


class Session:
    """What is switched on in this process, and how to switch it off again.

    A config without a regularizer waits for one: from the host's own configuration (`configure`), or from the checkpoint
    that is loaded into a generator.
    """

    def __init__(self, config: SparsityConfig, default_run_dir: str | None = None, *, launched: bool = False) -> None:
        self.launched = launched
        self.request = Request(config, default_run_dir)
        self.journal = Journal()
        self.undo = Undo()
        patches = Patches(self.undo)
        generators = self.generators = Generators(self.request, Reporter(self.journal), self.undo)
        builders = Builders(patches, generators.built)
        others = Builders(patches, generators.discriminator_built, "discriminator")
        loss = Loss(generators)
        # What a `Patcher` offers, by the parts that do it.
        self.wrap = patches.wrap
        self.when_imported = patches.when_imported
        self.attach_instances_of = builders.attach_instances_of
        self.attach_generators = builders.attach_generators
        self.attach_discriminators_of = others.attach_instances_of
        self.after_factory = builders.after_factory
        self.built = generators.built
        self.from_checkpoint = generators.from_checkpoint
        self.attachments = generators.attachments
        self.log_to = generators.log_to
        self.add_penalty = loss.add_penalty
        self.with_penalty = loss.with_penalty

    @property
    def config(self) -> SparsityConfig:
        """What is asked for, by now."""
        return self.request.config

    @property
    def active(self) -> bool:
        """Whether it is on."""
        return self.request.active

    def start(self) -> None:
        """Patch the hosts, now or when they are imported. Where that fails, all of it is taken back."""
        config = self.config
        self.request.active = True
        try:
            with self.undo.attempt():
                for name in config.imports:
                    import_named(name)
                hosts = [(config.host, HOSTS.get(config.host))] if config.host else HOSTS.usable()
                for name, host in hosts:
                    self._install(name, host)
                check_networks(config)
                self.when_imported("sparse_plugin.attachment.events", lambda module: self.generators.listen())
                if (spec := discriminator_of(config)) is not None:
                    self.attach_discriminators_of(spec, None)
                elif config.enabled and "discriminator" in config.roles:
                    self.when_imported("torch.optim.optimizer", self.generators.expect_discriminator)
                if config.generator:
                    self.attach_instances_of(config.generator, None)
                elif not config.host:
                    self.attach_generators()
        except BaseException:
            self.stop()
            raise

    def _install(self, name: str, host: Host) -> None:
        """Apply a host's patch; one of a package that fails, and that nobody asked for, is left out."""
        try:
            with self.undo.attempt():
                host.install(self)
        except Exception as error:
            if name == self.config.host or HOSTS.is_local(name) or isinstance(error, SparsePluginError):
                raise
            HOSTS.leave_out(name, f"{HOSTS.described(name)} fails: {type(error).__name__}: {error}")

    def stop(self) -> None:
        """Take every patch back. Generators that were attached stay so."""
        self.request.active = False
        self.undo.close()

    def configure(self, mapping: Mapping[str, Any], source: str) -> None:
        """Take settings that the host's own configuration holds, for this process and those that it starts.

        Raises ConfigError, naming source, where they are not valid or differ from what the launcher was given.
        """
        given = self.request.configure(mapping, source)
        os.environ[ENVIRONMENT] = self.config.to_environment()
        if not given.enabled:
            say(f"{source} disables {given.build()}; running without it")
            self.journal.note("off", source)
