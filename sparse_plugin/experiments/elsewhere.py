"""Which runs of a grid need not be made here, because a file of records has their whole seed from somewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sparse_plugin.experiments.gan_run import GanRun
from sparse_plugin.experiments.records import Record


def complete(
    runs: Iterable[GanRun],
    found: Sequence[Record],
    protocol: Mapping[str, str],
    measure_at: Sequence[int],
    precision: str,
    kind: str,
) -> list[GanRun]:
    """The runs of seeds all of whose methods are recorded, measured in this way, and made with one torch on one device.

    A seed that is recorded in part is none of them: a run that is made here is no pair of one that was made elsewhere. kind:
    the devices whose runs count, "cpu" or "cuda".
    """
    rows: dict[tuple[str, float, int], list[GanRun]] = {}
    for run in runs:
        rows.setdefault((run.recipe.arch, run.fraction, run.seed), []).append(run)
    there: dict[tuple[str, float, int], dict[tuple[str, str], dict[str, Record]]] = {}
    for record in found:
        made = record.made_with[0] if record.made_with else {}
        if made.get("kind", "cpu") == kind and record.protocol == protocol:
            key = (record.config.arch, record.config.data.fraction, record.seed)
            place = there.setdefault(key, {}).setdefault((str(made.get("torch")), str(made.get("device"))), {})
            place[record.method] = record
    done: list[GanRun] = []
    for key, row in rows.items():
        for by_method in there.get(key, {}).values():
            if all(_made(run, by_method.get(run.method.label), measure_at, precision) for run in row):
                done += row
                break
    return done


def _made(run: GanRun, record: Record | None, measure_at: Sequence[int], precision: str) -> bool:
    """Whether a record is of this run."""
    if record is None:
        return False
    config, batch = record.config, run.budget.batch or run.recipe.batch
    return (
        (config.width, config.steps, config.batch) == (run.budget.width, run.steps, batch)
        and precision in ("auto", config.precision)
        and all(step in record.scores for step in (*measure_at, run.steps))
    )
