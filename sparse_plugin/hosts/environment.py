"""The environment by which the plugin comes into the processes that this one starts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sparse_plugin.config import ENVIRONMENT, SparsityConfig

BOOT = Path(__file__).parent / "boot"


def anchored(config: SparsityConfig) -> SparsityConfig:
    """config with its run_dir told from the working folder as it is now: scripts change theirs."""
    return config if config.run_dir is None else config.with_(run_dir=os.path.abspath(config.run_dir))


def environment(config: SparsityConfig, run_dir: str | None) -> dict[str, str]:
    """The variables that switch the plugin on in a Python process."""
    path = [str(BOOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "SPARSE_PLUGIN_BOOT": "1",
        ENVIRONMENT: config.to_environment(),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        **({"SPARSE_PLUGIN_RUN_DIR": os.path.abspath(run_dir)} if run_dir else {}),
    }


def set_environment(variables: Mapping[str, str]) -> Callable[[], None]:
    """Set variables for the processes that this one starts. Returns a function that sets them back as they were."""
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)

    def restore() -> None:
        for key, value in before.items():
            now = os.environ.get(key)
            if key == "PYTHONPATH" and now is not None and now != variables[key]:  # changed since, by somebody else
                value = os.pathsep.join(path for path in now.split(os.pathsep) if path != str(BOOT))
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value

    return restore


def default_run_dir() -> str:
    """Where measurements go when neither the user nor the host says: a new folder for every run, also of several that begin at once."""
    return os.path.abspath(Path("sparse_runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
