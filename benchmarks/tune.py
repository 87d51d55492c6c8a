"""`tune` against the best of a grid of k: `python benchmarks/tune.py --data cifar10-train.zip`.

The grid is that of `auto.py`, trained on seeds of its own, on which its best k is chosen. `tune` races levels around the natural
density within a share of the grid's steps, on other seeds. Its choice and the grid's best are then compared, in pairs, on fresh
seeds. Every run is resumable: those of the grid and of the comparison leave their line in the record, those of the race theirs
in OUT/race.jsonl, and the same command goes on. --collect trains nothing and makes the tables of what is recorded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from auto import GRID, arguments_of, tables, train, values

from sparse_plugin.data import Source
from sparse_plugin.experiments.statistics import change
from sparse_plugin.support.files import write
from sparse_plugin.tune.gans import GanTarget, Scoring
from sparse_plugin.tune.trial import SCORES
from sparse_plugin.tune.tune import tune


def race(given: argparse.Namespace, steps: int) -> dict[str, Any]:
    """Race within so many steps, or read what a race came to. Returns ranking.json, which is kept beside the record but for its command."""
    kept = given.record.with_name(f"tune-{given.arch}.json")
    if given.collect:
        return json.loads(kept.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    metric = given.metric[0] if given.metric else "FD-lite0"
    scoring = Scoring(Source(given.data), 32, metric, given.samples, kid_subset=given.kid_subset, device=given.device)
    options = {"width": given.width, "batch": given.batch, "steps": given.steps, "checkpoint_every": given.steps, "device": given.device}
    target = GanTarget(given.arch, [given.arch], scoring, options, given.race)
    out = given.out / f"race-{given.arch}"
    said, code = tune(target, out, budget=str(steps), seeds=given.race_seeds, methods=[given.regularizer], sites=["d1"])
    print(said)
    if code:
        raise SystemExit(code)
    made = [json.loads(line) for file in sorted(out.rglob(SCORES)) for line in file.read_text(encoding="utf-8").splitlines()]
    write(given.out / "race.jsonl", "".join(json.dumps(line) + "\n" for line in made))
    ranking = json.loads((out / "ranking.json").read_text(encoding="utf-8"))
    del ranking["command"]  # which names places of this machine
    write(kept, json.dumps(ranking, indent=1) + "\n")
    return ranking  # type: ignore[no-any-return]


def compare(given: argparse.Namespace) -> dict[str, Any]:
    """What the comparison comes to."""
    methods = {f"{given.regularizer}-k={k}": f"{given.regularizer}:k={k}" for k in GRID}
    train(given, list(methods.values()), given.choose, given.choosing_seeds)
    chosen_on = {label: values(given, label, given.choose, given.choosing_seeds) for label in methods}
    best = min(chosen_on, key=lambda label: mean(chosen_on[label]))
    grid_steps = given.steps * len(GRID) * given.choosing_seeds
    ranking = race(given, int(given.budget * grid_steps))
    chosen = ranking["chosen"]
    methods.setdefault(chosen, chosen.replace("-k=", ":k="))
    names = list(dict.fromkeys([best, chosen]))
    train(given, [methods[name] for name in names], given.fresh, given.fresh_seeds)
    ours, theirs = (values(given, name, given.fresh, given.fresh_seeds) for name in (chosen, best))
    return {
        "grid": chosen_on,
        "best": best,
        "tune": ranking["sentence"],
        "chosen": chosen,
        "natural_density": ranking["natural_density"],
        "fresh": {chosen: ours, best: theirs},
        "change_percent": asdict(change(ours, theirs)),
        "steps_of_tune": ranking["whole_runs"] * given.steps,
        "steps_of_the_grid": grid_steps,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__, Path("runs/tune-benchmark"), choosing_seeds=3)
    parser.add_argument("--budget", type=float, default=0.3, help="a share of the grid's steps")
    parser.add_argument("--race", type=int, default=220, help="the first seed of the race")
    parser.add_argument("--race-seeds", type=int, default=2)
    given = parser.parse_args(arguments)
    found = compare(given)
    print(tables(found, given))
    steps = f"`tune` took {found['steps_of_tune']:,.0f} steps, the grid {found['steps_of_the_grid']:,}"
    print(f"\n{steps}, on a natural density of {100 * found['natural_density'][0]:.1f} %. It said: `{found['tune']}`")


if __name__ == "__main__":
    main()
