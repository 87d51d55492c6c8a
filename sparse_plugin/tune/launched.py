"""Tuning a trainer of others: `sparse-plugin tune ... -- python train.py ARGS`, each run through the launcher.

ended.json  how far the trainer came, of its own accord
stopped.json  what a trainer says that was stopped at a share
sparse.yaml   what was attached
measured/     the log of Γ
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from sparse_plugin.errors import ConfigError, OutputError, SparsePluginError
from sparse_plugin.experiments.engine import FailedRun, Say
from sparse_plugin.hosts import until
from sparse_plugin.hosts.command import checked, is_python
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.hosts.supervise import bound_to_us
from sparse_plugin.measurements.log import FILE as LOG
from sparse_plugin.support.files import content, lines, make_folder, understood, write
from sparse_plugin.support.progress import move
from sparse_plugin.tune.candidates import VANILLA_CANDIDATE, Candidate
from sparse_plugin.tune.metric import InOutput, MetricMissing, Written
from sparse_plugin.tune.pictures import newest
from sparse_plugin.tune.target import Goal, Target
from sparse_plugin.tune.trial import OUTPUT, RUN, SAMPLES, Score, Trial

DIR, SEED = "{dir}", "{seed}"
ENDED, STOPPED, SETTINGS, MEASURED = "ended.json", "stopped.json", "sparse.yaml", "measured"
# What vanilla attaches: nothing is projected, to the bit, and Γ is measured.
EVERYTHING_KEPT = {"regularizer": "l0_inf", "k": 1.0}
# Seconds in which an interrupted trainer may save what it has.
SAVING = 60


class Scorer(Protocol):
    """What scores a run from what it wrote."""

    @property
    def protocol(self) -> str:
        """What its numbers depend on."""

    def check(self) -> None:
        """Raise ConfigError for what cannot be measured."""

    def score(self, trial: HostTrial, before: Score | None) -> tuple[float, dict[str, Any]]:
        """The number, and what is to be kept. before: the score at the rung before. Raises MetricMissing."""


@dataclass(frozen=True)
class WrittenScorer:
    """The last number that the trainer wrote."""

    written: Written

    @property
    def protocol(self) -> str:
        """As it was asked for."""
        return f"the last of {self.written.text}"

    def check(self) -> None:
        """Nothing can be told beforehand."""

    def score(self, trial: HostTrial, before: Score | None) -> tuple[float, dict[str, Any]]:
        """Raises MetricMissing where no new one was written since the rung before."""
        found = self.written.values(trial.directory / RUN, trial.directory / OUTPUT)
        # As many with the same last one are those; a file that is written anew may have fewer.
        if before is not None and (len(found), found[-1]) == (before.more.get("count"), before.value):
            raise MetricMissing(
                f"no new number was written to {self.written.text} since {100 * before.share:.3g} % of the run; "
                "have it written more often, or race whole runs by --whole"
            )
        return found[-1], {"count": len(found)}


@dataclass(frozen=True)
class HostTrial(Trial):
    """A run of a trainer of others. words: its command, with placeholders. launcher: options of `run`. stops: whether it is
    stopped at a share.
    """

    words: tuple[str, ...]
    launcher: tuple[str, ...]
    scorer: Scorer = field(hash=False)
    stops: bool = False

    @property
    def protocol(self) -> str:
        """Of the scorer."""
        return self.scorer.protocol

    def scored(self, title: str, say: Say) -> Score:
        """Run it, or go on with it, and read its score. A run that ended already is only read."""
        run = self.directory / RUN
        ended = self._ended()
        if ended is None or ended < self.share:
            if ended is None and run.exists() and not self.stops:
                # An interrupted run of a trainer that does not say how it is gone on with: nothing of it is read for the next.
                for name in (RUN, OUTPUT, MEASURED):
                    _aside(self.directory / name)
            say(f"training; what it prints is in {self.directory / OUTPUT}")
            self._launch()
        elif ended > self.share:
            raise ConfigError(
                f"{self.directory} has gone on to {100 * ended:.3g} % of a run, and is to be scored at {100 * self.share:.3g} % by "
                f"{self.protocol}, which was not done then; name another directory by --out"
            )
        before = [score for score in self.scores() if score.share < self.share]
        try:
            value, more = self.scorer.score(self, before[-1] if before else None)
        except OutputError:
            raise
        except SparsePluginError as error:  # no number, no checkpoint, or none that images can be drawn from
            if self.candidate == VANILLA_CANDIDATE:
                raise
            raise FailedRun(f"{self}: {error}") from None
        newest(run, self.directory / SAMPLES)
        return Score(self.share, value, self.protocol, self._step(), self._levels(), more=more)

    def _ended(self) -> float | None:
        try:
            with understood(self.directory / ENDED, "delete it, and the run is trained again"):
                return float(json.loads(content(self.directory / ENDED))["share"])
        except FileNotFoundError:
            return None

    def _step(self) -> int | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads(content(self.directory / STOPPED))["step"])
        return None

    def _launch(self) -> None:
        make_folder(self.directory / RUN)
        sparse = EVERYTHING_KEPT if self.candidate.sparse is None else self.candidate.sparse.flat()
        write(self.directory / SETTINGS, yaml.safe_dump({"version": 1, "sparse": sparse}, sort_keys=False))
        (self.directory / STOPPED).unlink(missing_ok=True)
        asked = until.environment(self.share, self.directory / STOPPED) if self.stops else {}
        command = [sys.executable, "-m", "sparse_plugin", "run", "--config", str(self.directory / SETTINGS)]
        command += ["--run-dir", str(self.directory / MEASURED), *self.launcher, "--"]
        command += filled(self.words, self.directory / RUN, self.seed)
        with open(self.directory / OUTPUT, "ab") as output:
            code = _watched(command, {**os.environ, **asked}, output)
        if code:
            raise self._failed(code)
        if self.stops and not (self.directory / STOPPED).is_file():
            raise ConfigError(
                f"{self} was to be stopped, and did not train by a trainer that the host patch stops; race whole runs by --whole, "
                "with another --out"
            )
        write(self.directory / ENDED, json.dumps({"share": self.share}))

    def _failed(self, code: int) -> Exception:
        said = [line for line in _tail(self.directory / OUTPUT) if line.strip()]
        ours = [line.partition(": ")[2] for line in said if line.startswith(("sparse-plugin: ", "sparse_plugin: "))]
        why = (ours if ours and code in (2, 3) else said or [""])[-1].strip()[:500]
        how = f"died of signal {-code}" if code < 0 else f"exited with {code}"
        text = f"the trainer {how}: {why or 'it printed nothing'}; see {self.directory / OUTPUT}"
        if self.candidate == VANILLA_CANDIDATE and code in (2, 3):
            error = ConfigError(text)  # nothing of it can be regularized, or launched
            error.exit_code = code
            return error
        return FailedRun(f"{self}: {text}")

    def _levels(self) -> list[dict[str, Any]]:
        """Of Γ before any projection: means over the later half of what was logged, by site and level."""
        path = self.directory / MEASURED / LOG
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for record in lines(path) if path.is_file() else ():
            with suppress(KeyError, TypeError):
                found.setdefault((record["site"], record["level"]), []).append(record)
        levels = []
        for (site, level), records in found.items():
            late = records[len(records) // 2 :]
            mean = sum(float(record["sparsity_before"]) for record in late) / len(late)
            levels.append({**late[-1], "site": site, "level": level, "sparsity": mean})
        return levels


def filled(words: Sequence[str], run: Path, seed: int) -> list[str]:
    """A command with its placeholders replaced; what stands for them is taken as it is, whatever the directory is called. The
    directory is absolute, for a trainer that changes its own.
    """
    values = {DIR: os.path.abspath(run), SEED: str(seed)}
    return [re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], word) for word in words]


def _watched(command: Sequence[str], environment: Mapping[str, str], output: Any) -> int:
    """Run a command to its end, and return its code. An interrupt is passed on once, and waited for while it saves."""
    more: dict[str, Any] = {}
    if hasattr(signal, "pthread_sigmask"):
        more["preexec_fn"] = bound_to_us(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    child = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **more
    )
    try:
        printed = -1
        while True:
            with suppress(subprocess.TimeoutExpired):
                return child.wait(1.0)
            if printed != (printed := os.fstat(output.fileno()).st_size):  # what hangs prints nothing
                move()
    except BaseException:
        child.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(SAVING)
        child.kill()
        child.wait()
        raise


def _tail(path: Path) -> list[str]:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 20_000))
        return file.read().decode("utf-8", "replace").splitlines()


def _aside(path: Path) -> None:
    number = 1
    while (other := path.with_name(f"{path.name}-cut{number}")).exists():
        number += 1
    with suppress(FileNotFoundError):
        os.rename(path, other)


def stopping_host(words: Sequence[str], name: str | None) -> str | None:
    """The host whose trainer the command uses, by the imports of its script, and whose patch stops it; None where none does."""
    if name is not None:
        return name if getattr(HOSTS.get(name), "stops", False) else None
    script = next((word for word in words[1:] if word.endswith(".py") and os.path.exists(word)), None)
    if script is None or not is_python(words[0]):
        return None
    try:
        tree = ast.parse(Path(script).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    named = {a.name.partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    named |= {(n.module or "").partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
    for host_name, host in HOSTS.usable():
        roots = {spec.partition(":")[0].partition(".")[0] for spec in host.builders}
        if getattr(host, "stops", False) and roots & named:
            return host_name
    return None


class HostTarget(Target):
    """A trainer of others. words: its command, with {dir} and {seed}. launcher: options of `run`, as words. steps: of a whole run.
    whole: whether runs are never stopped.
    """

    def __init__(
        self,
        words: Sequence[str],
        scorer: Scorer,
        goal: Goal,
        *,
        launcher: Sequence[str] = (),
        host: str | None = None,
        steps: int | None = None,
        whole: bool = False,
    ) -> None:
        self.words, self.scorer, self.launcher = tuple(words), scorer, tuple(launcher)
        self.host = None if whole else stopping_host(words, host)
        how = "whole runs are raced" if self.host is None else f"stopped at rungs as {self.host} allows"
        super().__init__(f"{shlex.join(words)} ({how})", goal, steps=steps, stops=self.host is not None)

    def identity(self) -> Mapping[str, Any]:
        """The command, and how it is stopped."""
        return {"target": "command", "words": list(self.words), "stops": self.stops, "launcher": list(self.launcher)}

    def check(self) -> None:
        """Refuse a command that cannot be run, or whose runs would be one: without a seed, or a directory each."""
        checked(self.words)
        text = " ".join(self.words)
        written = getattr(self.scorer, "written", None)
        if SEED not in text:
            raise ConfigError(
                f"the command has no {SEED}, so that every pair of runs would have the same one; write it where the trainer takes a "
                f"seed, as in --seed {SEED}"
            )
        if DIR not in text and (not isinstance(written, InOutput) or self.stops):
            raise ConfigError(
                f"the command has no {DIR}, so that all runs would write into one place; write it where the trainer takes a directory, "
                f"as in --out {DIR}"
            )
        self.scorer.check()

    def trial(self, candidate: Candidate, seed: int, share: float, out: Path) -> HostTrial:
        """One run."""
        return HostTrial(candidate, seed, share, out, self.words, self.launcher, self.scorer, self.stops)

    def command(self, out: Path, config: Path | None) -> str:
        """The same command, launched with the settings, or alone."""
        words = filled(self.words, out / "best", self.first_seed)
        return shlex.join(words if config is None else ["sparse-plugin", "run", "--config", str(config), *self.launcher, "--", *words])
