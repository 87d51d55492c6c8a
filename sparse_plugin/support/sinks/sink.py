"""What a sink is, and the table of them."""

from __future__ import annotations

import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from sparse_plugin.errors import ConfigError, shown
from sparse_plugin.support.plugins import Plugins

# The sink of JSON lines, which is the default.
JSONL = "jsonl"


class Sink(ABC):
    """One place that the measurements of a generator go to.

    packages: which packages it writes with, one of which must be installed. waits_for: what must be live in this process
    before it writes anything, for people; "" where nothing need be.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    waits_for: ClassVar[str] = ""

    def __init__(self, file: Callable[[], Path | None]) -> None:
        """file: the file of JSON lines by now (a rank is known once its process group is), for those that write one."""
        self.file = file

    @abstractmethod
    def write(
        self, step: int, records: Sequence[Mapping[str, Any]], scalars: Mapping[str, Mapping[str, float]]
    ) -> str | None:
        """Write what was measured at one step of the generator's optimizer.

        records: all of it, one a site and level, as JSON has it. scalars: the numbers in it, by site and name. Returns where
        it went, for people, and None where nothing that could take it is live. What it raises is told once, and ends nothing.
        """


class LiveSink(Sink):
    """One that writes scalars to something that the host opened, and opens nothing itself."""

    @abstractmethod
    def live(self) -> Any | None:
        """What to write to: an object of the host's that is open in this process, or None."""

    @abstractmethod
    def put(self, target: Any, step: int, root: str, scalars: Mapping[str, float]) -> str:
        """Write scalars, by the name below root, to what `live` gave. Returns where that is, for people."""

    def write(
        self, step: int, records: Sequence[Mapping[str, Any]], scalars: Mapping[str, Mapping[str, float]]
    ) -> str | None:
        """Write the scalars, each named `sparse_plugin/SITE/NAME`."""
        target = self.live()
        if target is None:
            return None
        named = {"/".join(filter(None, (site, name))): v for site, of in scalars.items() for name, v in of.items()}
        return self.put(target, step, self._root(target), named)

    def _root(self, target: Any) -> str:
        """What the names begin with; of a second generator that writes to the same target, sparse_plugin_2, and so on."""
        owners = _OWNERS.setdefault(target, [])
        for place, owner in enumerate(owners):
            if owner() is None:
                owners[place] = weakref.ref(self)
            if owners[place]() is self:
                break
        else:
            place = len(owners)
            owners.append(weakref.ref(self))
        return "sparse_plugin" if place == 0 else f"sparse_plugin_{place + 1}"


_OWNERS: weakref.WeakKeyDictionary[Any, list[weakref.ref[LiveSink]]] = weakref.WeakKeyDictionary()

SINKS: Plugins[type[Sink]] = Plugins(
    "sink", ("write", "packages", "waits_for"), "a subclass of sparse_plugin.support.sinks.sink.Sink", classes=True
)


def check(names: Sequence[str], run_dir: str | None = None, measure_every: int | None = None) -> None:
    """Raise ConfigError unless names, what `log` lists, are different sinks whose packages are installed, and have something to
    do with the run_dir and the measure_every that are given beside them.
    """
    if not names:
        raise ConfigError(
            f"log is [], which names no place for measurements; give some of {', '.join(SINKS.all())}, or measure_every 0 "
            "to measure nothing"
        )
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"log is {shown(list(names))}, which names {name} twice; name each sink once")
        needed = SINKS.get(name).packages
        if needed and not any(map(_installed, needed)):
            raise ConfigError(
                f"log asks for {name}, which needs {' or '.join(needed)}, not installed here; run `pip install {needed[0]}`, "
                f"or leave {name} out"
            )
    if run_dir is not None and JSONL not in names:
        raise ConfigError(
            f"run_dir is {shown(run_dir)}, the place of the JSON lines, and log is {shown(list(names))}; add jsonl to log, or "
            "leave run_dir out"
        )
    if measure_every == 0 and list(names) != [JSONL]:
        raise ConfigError(
            f"log is {shown(list(names))}, and measure_every is 0, so that there is nothing to log; leave one of them out"
        )


def _installed(package: str) -> bool:
    """Whether a package is there; a mere folder of that name, such as W&B makes for its runs, is none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return sys.modules.get(package) is not None
    return spec is not None and spec.origin is not None
