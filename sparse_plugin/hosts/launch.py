"""Running a command with the plugin on, in a fresh interpreter and all that it starts.

The plugin travels by the environment: a `sitecustomize` first on PYTHONPATH reads the config and patches the hosts
when they are imported. The command runs as a child whose exit code, signals and standard streams are passed through.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts.command import checked, not_started
from sparse_plugin.hosts.environment import anchored, default_run_dir, environment
from sparse_plugin.hosts.host import identify
from sparse_plugin.hosts.journal import STATUS, gathered, gathering, verdict
from sparse_plugin.hosts.request import check_networks
from sparse_plugin.hosts.supervise import die_of, supervise
from sparse_plugin.support.console import say

# The command succeeded and nothing was regularized.
NOTHING_ATTACHED = 3


def run_command(command: Sequence[str], config: SparsityConfig) -> int:
    """Run command with the plugin on, and return its exit code, or NOTHING_ATTACHED.

    A config without a regularizer waits for the host's own configuration, or a checkpoint, to name it. `python` means the
    interpreter that runs this. A command that dies of a signal takes this process along. Raises ConfigError for a command,
    a script, settings or a host's source that are not valid, before anything runs.
    """
    check_networks(config := anchored(config))
    regularizer = None if config.regularizer is None else config.build()
    _check_outer(config)
    command = checked(command)
    _check_host(command, config)
    if not config.enabled:
        say(f"{regularizer or 'the plugin'} is disabled; running without it")
    with gathering() as folder:
        run_dir = config.run_dir or default_run_dir()
        # The command itself knows by our process id that it is the one that must have the plugin.
        on = {**environment(config, run_dir), STATUS: str(folder), "SPARSE_PLUGIN_BOOT": str(os.getpid())}
        try:
            code = supervise(command, {**os.environ, **on})
        except OSError as error:
            raise ConfigError(not_started(command, error)) from None
        events = gathered(folder)
    if code in (0, 1) and any("mistake" in event for event in events):  # a script may go on without the thread, or process, refused
        return ConfigError.exit_code
    text, failed = verdict(events, config)
    if text and code == 0:  # what failed did not get as far as to be judged
        say(text)
    if code < 0:
        die_of(-code)
    return NOTHING_ATTACHED if failed and code == 0 else code


def _check_outer(config: SparsityConfig) -> None:
    """Refuse what another launcher, inside which this one runs, was asked to do otherwise."""
    outer = SparsityConfig.from_environment() if STATUS in os.environ else None
    if outer is None or outer.regularizer is None or not outer.enabled:
        return
    same = [(each.regularizer, each.settings, each.role, each.beside) for each in (outer, config)]
    if same[0] != same[1] or not config.enabled:
        asked = config.build() if config.enabled else "nothing, by enabled: false"
        raise ConfigError(
            f"this runs inside another `sparse-plugin run`, which was asked for {outer.build()}, and is asked for {asked}; "
            "give the regularizer in one place"
        )


def _check_host(command: list[str], config: SparsityConfig) -> None:
    """Refuse a host whose source two patches claim, or whose generators are not where its patch looks for them."""
    script = next((word for word in command[1:] if word.endswith(".py") and os.path.exists(word)), None)
    if script is None or config.generator is not None or not config.enabled:
        return
    folder = Path(script).resolve().parent
    for host, recognition in identify(folder, config.host):
        if recognition.root == folder and (lost := host.lost(recognition)):
            raise ConfigError(lost)
