"""`k: auto` against the best of a grid of k: `python benchmarks/auto.py --data cifar10-train.zip`.

The grid is trained on seeds of its own, on which its best k is chosen; that k and `auto` are then compared, in pairs, on fresh
seeds. Every run is resumable and leaves its line in the record, so the same command goes on, wherever it is started again.
--collect trains nothing and makes the tables of what is recorded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from sparse_plugin.experiments import records
from sparse_plugin.experiments.comparison import groups
from sparse_plugin.experiments.gan_grid import run_gan_table
from sparse_plugin.experiments.statistics import change

GRID = (0.1, 0.25, 0.4, 0.6, 1.0)


RECORD = Path(__file__).parent.parent / "docs/results/auto.jsonl"


def train(given: argparse.Namespace, methods: Sequence[str], first: int, seeds: int) -> None:
    """Train and measure methods on so many seeds from first on; those that are recorded are not, nor any with --collect."""
    if given.collect:
        return
    if given.data is None:
        raise SystemExit("no images were given to train on: name them by --data, or ask for --collect alone")
    said, code = run_gan_table(
        "table1",
        given.out,
        given.data,
        archs=[given.arch],
        methods=methods,
        seeds=seeds,
        first_seed=first,
        controls=False,
        width=given.width,
        steps=given.steps,
        batch=given.batch,
        samples=given.samples,
        metrics=given.metric,
        kid_subset=given.kid_subset,
        checkpoint_every=max(1, given.steps // 4),
        measure_at=[given.steps * 3 // 4],
        record=given.record,
        device=given.device,
    )
    if code:
        raise SystemExit(said)


def values(given: argparse.Namespace, method: str, first: int, seeds: int) -> list[float]:
    """The primary metric of a method's runs, by seed. Raises SystemExit where one is not recorded."""
    wanted = range(first, first + seeds)
    for group in groups(records.read(given.record)):
        if (group.config.arch, group.config.width, group.config.steps) == (given.arch, given.width, given.steps):
            found = {record.seed: group.primary(record) for record in group.of(method) if record.seed in wanted}
            if len(found) == seeds:
                return [found[seed] for seed in wanted]
    raise SystemExit(f"{method} is not recorded on all of the seeds {first} to {first + seeds - 1}")


def compare(given: argparse.Namespace) -> dict[str, Any]:
    """What the comparison comes to."""
    grid = [f"{given.regularizer}:k={k}" for k in GRID]
    labels = [f"{given.regularizer}-k={k}" for k in GRID]
    train(given, grid, given.choose, given.choosing_seeds)
    chosen_on = {label: values(given, label, given.choose, given.choosing_seeds) for label in labels}
    best = min(chosen_on, key=lambda label: mean(chosen_on[label]))
    # Measured over an eighth of the run, annealed over three eighths.
    auto = f"{given.regularizer}:k={{auto: 0.5, measure: {max(1, given.steps // 8)}, steps: {max(1, given.steps * 3 // 8)}}}"
    (label,) = {method.label for method in _methods(auto, given.arch)}
    train(given, [grid[labels.index(best)], auto], given.fresh, given.fresh_seeds)
    ours, theirs = (values(given, name, given.fresh, given.fresh_seeds) for name in (label, best))
    return {
        "grid": chosen_on,
        "best": best,
        "auto": label,
        "fresh": {label: ours, best: theirs},
        "change_percent": asdict(change(ours, theirs)),
        "steps_of_auto": given.steps,
        "steps_of_the_grid": given.steps * len(GRID),
    }


def tables(found: dict[str, Any], given: argparse.Namespace) -> str:
    """The grid on the seeds that chose, and its best against what chooses itself on the fresh ones, in Markdown."""
    change = found["change_percent"]
    fresh = range(given.fresh, given.fresh + given.fresh_seeds)
    lines = [
        f"{given.arch}, width {given.width:g}, {given.steps:,} steps; the grid, seeds from {given.choose} on:",
        "",
        _row("", *found["grid"]),
        _row(*["---"] * (len(found["grid"]) + 1)),
        *(
            _row(f"seed {given.choose + i}", *(f"{of[i]:.1f}" for of in found["grid"].values()))
            for i in range(given.choosing_seeds)
        ),
        _row("mean", *(f"{mean(of):.1f}" for of in found["grid"].values())),
        "",
        "and fresh seeds:",
        "",
        _row("", *(f"seed {seed}" for seed in fresh), "mean"),
        _row(*["---"] * (given.fresh_seeds + 2)),
        *(_row(label, *(f"{value:.1f}" for value in of), f"{mean(of):.1f}") for label, of in found["fresh"].items()),
        "",
        f"Change {change['mean']:+.1f} % (95 % interval {change['low']:+.1f} to {change['high']:+.1f}; p {change['p']:.2g}, "
        f"which so many pairs cannot bring below {change['least']:.2g}).",
    ]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _methods(text: str, arch: str) -> Any:
    from sparse_plugin.runs.methods import methods

    return methods([text], arch)


def arguments_of(description: str | None, out: Path, choosing_seeds: int) -> argparse.ArgumentParser:
    """What a comparison with the grid takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the images to train on")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--collect", action="store_true", help="make the tables, and train nothing")
    parser.add_argument("--arch", default="dcgan")
    parser.add_argument("--regularizer", default="l0_inf")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--metric", action="append", default=[])
    parser.add_argument("--kid-subset", type=int)
    parser.add_argument("--device")
    parser.add_argument("--choose", type=int, default=200, help="the first seed on which the grid's best is chosen")
    parser.add_argument("--choosing-seeds", type=int, default=choosing_seeds)
    parser.add_argument("--fresh", type=int, default=210, help="the first seed on which it is compared")
    parser.add_argument("--fresh-seeds", type=int, default=3)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    given = arguments_of(__doc__, Path("runs/auto"), choosing_seeds=2).parse_args(arguments)
    print(tables(compare(given), given))


if __name__ == "__main__":
    main()
