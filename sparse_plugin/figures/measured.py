"""Runs by architecture and method, with what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.evaluate.outcome import Outcome, read
from sparse_plugin.runs.appearance import rank

# What runs of one architecture must have in common to stand side by side.
COMPARED = ("size", "width", "batch", "steps", "accumulation", "precision")

Groups = dict[str, dict[str, list[Outcome]]]


def measured(runs: Sequence[Path]) -> Groups:
    """Title of the architecture -> label of the method -> outcomes, one a seed.

    Raises ConfigError for a run that was not measured, and for runs of one architecture that do not compare.
    """
    groups: Groups = {}
    budgets: dict[str, tuple[Path, dict[str, Any]]] = {}
    seeds: dict[tuple[str, str, int], Path] = {}
    for run in runs:
        found = read(run)
        if found is None:
            raise ConfigError(
                f"{run} was not measured; `sparse-plugin evaluate {run} --data PATH --save` does, or `experiment`"
            )
        share = found.config.data.fraction
        name = found.config.title + ("" if share == 1 else f", {100 * share:g} %")
        budget = {key: getattr(found.config, key) for key in COMPARED}
        budget |= {"the step that was measured": found.step, "recipe": found.config.recipe, "protocol": found.protocol}
        budget |= {"data": found.config.data.sha256 if share == 1 else found.config.data.images}
        first, other = budgets.setdefault(name, (run, budget))
        differ = [key for key in budget if budget[key] != other[key]]
        if differ:
            raise ConfigError(
                f"{first} and {run} do not compare: they differ in {', '.join(differ)}; draw them apart, or train them alike"
            )
        twin = seeds.setdefault((name, found.label, found.config.seed), run)
        if twin != run:
            raise ConfigError(
                f"{twin} and {run} are of one method, {found.label}, and one seed, {found.config.seed}, which would count twice; "
                "leave one out"
            )
        groups.setdefault(name, {}).setdefault(found.label, []).append(found)
    return {name: {label: methods[label] for label in sorted(methods, key=rank)} for name, methods in groups.items()}
