"""Switching the plugin on in a process: `enable()` in a notebook, or a process that the launcher started."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import AttachmentError, ConfigError, SparsePluginError, shown
from sparse_plugin.hosts import current
from sparse_plugin.hosts.environment import anchored, default_run_dir, environment, set_environment
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.hosts.journal import verdict
from sparse_plugin.hosts.request import check_networks
from sparse_plugin.hosts.session import Session
from sparse_plugin.support import advice
from sparse_plugin.support.console import say


def enable(
    host: str | None = None,
    regularizer: str | Sequence[str] | None = None,
    /,
    *,
    config: str | os.PathLike[str] | SparsityConfig | None = None,
    **settings: Any,
) -> Session:
    """Switch the plugin on in this process and in those that it starts, as `sparse-plugin run` does for a script.

    host: the only host to patch, or None for every installed one. regularizer and settings: as in a config file's
    `sparse` section, as in `enable("mimicry", "l0_inf", k=16)` or `enable("mimicry", ["l1", "l0_inf"], l1={"weight": 0.1})`; or
    config: a file's path, or a SparsityConfig.
    Generators are attached when they are built after this call. Raises ConfigError for settings, AttachmentError where it is
    on already.
    """
    config = anchored(_config(host, regularizer, config, settings))
    check_networks(config)
    made = config.build()
    if config.host is not None:
        HOSTS.get(config.host)
    now = current.session()
    if isinstance(now, Session):
        if (now.config.said(), now.config.settings) == (config.said(), config.settings):
            return now
        raise AttachmentError(
            f"sparse_plugin is on already, with {_told(now.config)}, and this asks for {_told(config)}; "
            + ("leave one of them out" if now.launched else "call sparse_plugin.disable() first")
        )
    if not config.enabled:
        say(f"{made} is disabled; running without it")
    run_dir = config.run_dir or default_run_dir()
    session = Session(config, run_dir)
    with session.undo.attempt():
        session.undo.append(advice.speak_to("enable"))
        session.undo.append(set_environment(environment(config, run_dir)))
        session.start()
    current.put(session)
    return session


def _config(
    host: str | None,
    regularizer: str | Sequence[str] | None,
    config: str | os.PathLike[str] | SparsityConfig | None,
    settings: Mapping[str, Any],
) -> SparsityConfig:
    """What the arguments of `enable` ask for."""
    if config is not None and (regularizer is not None or settings):
        raise ConfigError("give a config or a regularizer with its settings, not both")
    if isinstance(config, (str, os.PathLike)):
        config = SparsityConfig.from_file(config)
    if config is not None and not isinstance(config, SparsityConfig):
        raise ConfigError(f"config is {shown(config)}; give a file's path or a SparsityConfig")
    if config is None:
        if regularizer is None:
            raise ConfigError('no regularizer is named; write enable("mimicry", "l0_inf", k=16), for instance')
        config = SparsityConfig.from_mapping({"regularizer": regularizer, **settings})
    if host is not None:
        if config.host not in (None, host):
            raise ConfigError(f"the host is {host!r}, and the config names {config.host!r}; give one of them")
        config = config.with_(host=host)
    return config


def _told(config: SparsityConfig) -> str:
    """All that a config sets, for people."""
    own = config.said()
    own.pop("regularizer", None)
    name = config.name or "no regularizer"
    return f"{name}({', '.join(f'{key}={value}' for key, value in (*config.settings.items(), *own.items()))})"


def disable() -> None:
    """Switch off what `enable` switched on. Generators that were attached stay so; detach them one by one."""
    session = current.put(None)
    if session is not None:
        session.stop()


@atexit.register
def _at_exit() -> None:
    """Say at the end of the process, where no launcher does, that nothing was regularized."""
    now = current.session()
    if now is not None and not now.launched:
        text, _ = verdict(now.journal.events, now.config)
        if text:
            say(text)


def boot() -> None:
    """Start a session from the environment that the launcher set; called in every process of the run."""
    advice.speak_to("command")
    config = SparsityConfig.from_environment()
    if config is None:
        return
    session = Session(config, os.environ.get("SPARSE_PLUGIN_RUN_DIR"), launched=True)
    current.put(session)
    previous, previous_of_threads = sys.excepthook, threading.excepthook

    def told(error: BaseException | None) -> bool:
        text = _mistake(error) if error is not None and session.active else ""
        if text:
            say(text)
            session.journal.note("mistake", text)
        return bool(text)

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not told(error):
            previous(kind, error, trace)

    def excepthook_of_threads(args: threading.ExceptHookArgs) -> None:
        if not told(args.exc_value):
            previous_of_threads(args)

    sys.excepthook, threading.excepthook = excepthook, excepthook_of_threads
    atexit.register(session.journal.close)
    session.journal.note("on", sys.executable)
    session.start()


def _mistake(error: BaseException) -> str:
    """The sentence of one of our errors, or of one that ended a process which torch spawned; else ""."""
    if isinstance(error, SparsePluginError):
        return str(error)
    if type(error).__name__ != "ProcessRaisedException":
        return ""
    lines = [line for line in str(error).splitlines() if line.startswith("sparse_plugin.errors.")]
    return lines[-1].partition(": ")[2] if lines else ""
