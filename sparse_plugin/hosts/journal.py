"""What happened in the processes of one run, and what that comes to: whether anything was regularized."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sparse_plugin.config import SparsityConfig
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.support import advice
from sparse_plugin.support.files import append, lines

STATUS = "SPARSE_PLUGIN_STATUS"  # a folder where every process says what happened in it
_MARK = "run"  # a file of that folder, which is there for as long as nobody empties it

LOST = "lost"  # the kind of event that stands for all those that can no longer be read


class Journal:
    """The events of this process, each of one kind, also for the launcher, which gathers them from every process."""

    def __init__(self) -> None:
        self.events: list[dict[str, str]] = []
        self._complete = True  # whether the launcher's copy is

    def note(self, kind: str, text: str) -> None:
        """Remember what happened."""
        self.events.append({kind: text})
        self._complete = self._write([{kind: text}])

    def close(self) -> None:
        """Write again what the launcher's folder does not hold, because somebody emptied it or the disk was full."""
        file = self._file()
        if file is not None and (not self._complete or (self.events and not file.exists())):
            self._write(self.events)

    def _write(self, events: Sequence[Mapping[str, str]]) -> bool:
        file = self._file()
        if file is None:
            return True
        try:
            file.parent.mkdir(exist_ok=True)
            for event in events:
                append(file, dict(event))
        except OSError:  # never worth the host's run; the launcher says that it does not know
            return False
        return True

    def _file(self) -> Path | None:
        folder = os.environ.get(STATUS)
        return Path(folder) / f"{os.getpid()}.jsonl" if folder else None


@contextmanager
def gathering() -> Iterator[Path]:
    """A folder for the journals of one launched command; inside that of an outer launcher, if any, which reads it too."""
    outer = os.environ.get(STATUS)
    inside = outer if outer and os.path.isdir(outer) else None
    if inside is None:
        with tempfile.TemporaryDirectory(prefix="sparse-plugin-", ignore_cleanup_errors=True) as folder:
            (Path(folder) / _MARK).touch()
            yield Path(folder)
    else:
        folder = tempfile.mkdtemp(dir=inside)
        (Path(folder) / _MARK).touch()
        yield Path(folder)


def gathered(folder: Path) -> list[dict[str, str]]:
    """The events of all processes, and one of kind LOST where the folder was emptied while they ran."""
    events: list[dict[str, str]] = []
    for file in sorted(folder.rglob("*.jsonl")):
        events += lines(file)
    if not (folder / _MARK).exists():
        events.append({LOST: str(folder)})
    return events


def unlogged(events: Sequence[Mapping[str, str]]) -> str:
    """What to say of the sinks that were asked for and never written to; "" where there are none, or it cannot be told."""
    of: dict[str, list[str]] = {}
    for event in events:
        for kind, text in event.items():
            of.setdefault(kind, []).append(text)
    if LOST in of:
        return ""
    written = {text.partition(": ")[0] for text in of.get("logged", ())}
    whys = dict(text.partition(": ")[::2] for text in reversed(of.get("unlogged", [])))  # the first of each
    left = [name for name in dict.fromkeys(of.get("log", ())) if name not in written]
    return "; ".join(
        f"NOTHING WAS LOGGED TO {name}: {whys.get(name, 'no measurement was due, or none was taken')}" for name in left
    )


def _untrained(of: Mapping[str, str]) -> str:
    """What to say of a run that trained networks, of which none is regularized; "" where there is nothing to say."""
    if "beside" not in of or "trained" in of:
        return ""
    return (
        f"NOTHING THAT WAS TRAINED WAS REGULARIZED: {of.get('attached', '')}, which ran as it is, and this run trained other networks; "
        f"name what it trains with {advice.setting('generator', 'module:Class')}"
    )


def verdict(events: Sequence[Mapping[str, str]], config: SparsityConfig) -> tuple[str, bool]:
    """What to say of a run in which the regularizer did nothing, and whether that is a failure; where it acted, of sinks that
    were never written to, which is none, or "".
    """
    of = {kind: text for event in reversed(events) for kind, text in event.items()}  # the first of each kind
    if "off" in of or not config.enabled:
        return unlogged(events), False
    there = {event.get("network") for event in events}
    missing = [role for role in config.roles if role not in there]
    if missing and "attached" in of:
        return (
            f"NOTHING WAS ATTACHED TO A {missing[0].upper()}: {of['attached']}, and no {missing[0]} that a host patch knows or that was "
            f"named was built; name its class with {advice.setting(missing[0], 'module:Class')}"
        ), True
    if "effective" in of:
        acted = {event.get("acted") for event in events}
        idle = dict.fromkeys(name for event in events if (name := event.get("part")) is not None and name not in acted)
        if not idle:
            return _untrained(of) or unlogged(events), False
        return f"NOTHING WAS REGULARIZED BY {' AND '.join(idle)}: {of.get('attached', '')}, of which only the rest acted", True
    if LOST in of:
        return (
            f"NOT KNOWN WHETHER ANYTHING WAS REGULARIZED: {of[LOST]}, in which the run's processes tell what they attached, was "
            "removed while they ran; keep the command from emptying it, or set TMPDIR to another place"
        ), True
    if "attached" in of:
        if "penalty" in of and "penalizable" not in of:
            return f"{of['attached']}; a penalty acts in training, and this run trained nothing", False
        if "auto" in of:
            return (
                f"NOTHING WAS REGULARIZED: {of['attached']}; `auto` keeps all of Γ until its natural density is measured, over the first "
                f"{of['auto']} steps of the generator's optimizer, and this run took fewer; give fewer, as in "
                f"{advice.setting('k', '{auto: 0.5, measure: 100, steps: 500}')}"
            ), True
        return (
            f"NOTHING WAS REGULARIZED: {of['attached']}, but the generator never ran with it (or its loss was never "
            "computed)"
        ), True
    if "waiting" in of:
        return (
            f"NO REGULARIZER WAS NAMED: a {of['waiting']} was built, and neither {advice.regularizer()}, nor the host's own "
            "configuration, nor a checkpoint says which"
        ), True
    if "on" not in of:
        return (
            "NOTHING WAS ATTACHED: the plugin was on in no Python process of this run, because none was started, or because it "
            "was started with -I, -E or -S or another PYTHONPATH, which keep the plugin out; it comes in by PYTHONPATH"
        ), True
    hosts = ", ".join(HOSTS.all()) or "none"
    role = next(iter(config.roles), "generator")
    named = next((spec for part in config.parts() if (spec := getattr(part, role)) is not None), None)
    return (
        f"NOTHING WAS ATTACHED: no {role} of a known host ({hosts}) was built"
        + (f", nor one of class {named}" if named else "")
        + f"; name the class with {advice.setting(role, 'module:Class')} "
        '("__main__:Class" where the script defines it)'
    ), True
