"""`tune`: a race from beginning to page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments.engine import Engine, say_line
from sparse_plugin.support.files import content, make_folder, understood, write
from sparse_plugin.tune import report
from sparse_plugin.tune.budget import Budget, Rung, cost, plan
from sparse_plugin.tune.candidates import SHARES, Candidate, wanted
from sparse_plugin.tune.page import write_page
from sparse_plugin.tune.race import Race
from sparse_plugin.tune.target import Target

IDENTITY = "tune.json"
AUTO, D1 = "auto", "d1"


def tune(
    target: Target,
    out: str | Path,
    *,
    budget: str = "0.3",
    seeds: int = 2,
    methods: Sequence[str] = (),
    shares: Sequence[float] = SHARES,
    sites: Sequence[str] = (AUTO,),
    imports: Iterable[str] = (),
    dry_run: bool = False,
    engine: Engine | None = None,
) -> tuple[str, int]:
    """Race regularizers on a target, and write ranking, settings and page into out. Returns what to say and an exit code, 1
    where a candidate failed.

    budget: a share of the full grid's steps, or steps, see `Budget`. seeds: of each candidate that reaches the end. methods,
    shares: as of `candidates.wanted`; methods by default the target's. sites: "auto" for D1 and what else is possible, "d1" for
    D1 alone, or further paths. dry_run: say what would be raced. engine: what places runs, by default what the
    command chose.

    Raises ConfigError for what cannot be raced, before anything is trained, and where out holds another target; FailedRun
    where vanilla fails.
    """
    spent = Budget.parse(budget)
    if seeds < 1:
        raise ConfigError(f"{seeds} seeds were asked for; give 1 or more")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a race does not run under torchrun; start the same command once for every GPU instead")
    out = Path(out)
    before = _check_identity(target, out)
    target.check()
    found = wanted(methods or target.methods, shares, _further(target, sites), imports, target.arch)
    rungs = plan(spent, len(found), seeds, target.steps, target.stops)
    _check_shares(out, before, rungs)
    if dry_run:
        return planned(target, found, rungs), 0
    _keep_identity(target, out, rungs)
    say_line("tune", planned(target, found, rungs))
    outcome = Race(target, found, rungs, out, engine).run()
    made = report.make(outcome, out)
    page = write_page(made, out)
    written = [page, out / report.RANKING, *([out / report.SETTINGS] if made.settings else [])]
    failed = any(each.failed for each in outcome.standings)
    return f"{report.text(made)}\nwritten: {', '.join(map(str, written))}", int(failed)


def planned(target: Target, found: Sequence[Candidate], rungs: Sequence[Rung]) -> str:
    """What would be raced."""
    full = (len(found) + 1) * rungs[-1].seeds
    spent = cost(tuple(rungs))
    steps = "" if target.steps is None else f", {round(spent * target.steps)} steps"
    names = [
        each.label if each.share is None else f"{each.name} {each.share:g}{f'@{each.site}' if each.site else ''}" for each in found
    ]
    lines = [
        f"{target.title}: {len(found)} candidates and vanilla, {rungs[-1].seeds} seeds, {spent:.3g} of {full} whole runs{steps}",
        f"  {', '.join(names)}",
        *(
            f"  rung {number}: {rung.candidates} candidates, {100 * rung.share:.3g} % of a run, {rung.seeds} seeds"
            for number, rung in enumerate(rungs, 1)
        ),
    ]
    return "\n".join(lines)


def _further(target: Target, sites: Sequence[str]) -> list[str]:
    """The paths of further sites that are raced."""
    if list(sites) == [D1]:
        return []
    if AUTO in sites and len(sites) > 1:
        raise ConfigError(f"--sites {','.join(sites)} names auto beside others; give auto, d1, or paths")
    target.look()
    if list(sites) == [AUTO]:
        return [site.path for site in target.further]
    return target.named(sites)


def _check_identity(target: Target, out: Path) -> list[float] | None:
    """Raise ConfigError where out holds something else. Returns the shares of the rungs of the race that it holds, if any."""
    path = out / IDENTITY
    try:
        with understood(path, "name another directory"):
            there = json.loads(content(path))
            there.pop("version")
            shares = [float(share) for share in there.pop("shares")]
    except FileNotFoundError:
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise ConfigError(f"{out} is there and holds no race; name another directory by --out") from None
        return None
    here = json.loads(json.dumps(target.identity()))
    differ = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    if differ:
        each = "; ".join(f"{key} is {there.get(key)!r} there and {here.get(key)!r} here" for key in differ)
        raise ConfigError(f"{out} holds another race: {each}; name another directory by --out, or ask for the same")
    return shares


def _check_shares(out: Path, before: Sequence[float] | None, rungs: Sequence[Rung]) -> None:
    """Raise ConfigError for a rung at which the runs in out have not been scored, and which they may be beyond."""
    lacking = [] if before is None else [rung.share for rung in rungs if not any(math.isclose(rung.share, share) for share in before)]
    if lacking:
        there = ", ".join(f"{100 * share:.3g}" for share in before or ())
        raise ConfigError(
            f"{out} holds a race with rungs at {there} % of a run, and one at {100 * lacking[0]:.3g} % is asked for, by another --budget, "
            "--seeds or number of candidates; ask for the same, for all by --budget 1, or name another directory by --out"
        )


def _keep_identity(target: Target, out: Path, rungs: Sequence[Rung]) -> None:
    make_folder(out)
    if not (out / IDENTITY).exists():
        shares = sorted({rung.share for rung in rungs})
        write(out / IDENTITY, json.dumps({"version": 1, **target.identity(), "shares": shares}, indent=1))
