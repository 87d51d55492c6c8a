"""Pages whose numbers come from recorded runs: blocks between two comments of a Markdown file, written anew, and figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments import comparison, page, records, restored_page
from sparse_plugin.experiments.comparison import RunGroup
from sparse_plugin.experiments.records import Record
from sparse_plugin.experiments.summary import summary
from sparse_plugin.support.files import reason, write
from sparse_plugin.support.optional import need

BLOCK = re.compile(r"(<!-- made by `make results`: (\w+) -->\n).*?(<!-- end -->)", re.S)
NONE = "No run is recorded yet."


def make(file: str | Path, targets: Iterable[str | Path] = (), figures: bool = True) -> str:
    """Write what recorded runs came to into the blocks of pages, and the figures beside the file. Returns the Markdown.

    file: see `records`. targets: Markdown files with blocks called "tables", "summary" or "table4". Raises ConfigError for a page
    that cannot be read or has no such block, CheckpointError for a file that holds something else.
    """
    need("making results", "experiments", "scipy", "matplotlib")
    file = Path(file)
    if not file.is_file():
        state = "is a folder" if file.is_dir() else "is not there"
        raise ConfigError(f"{file} {state}; name a file that `experiment --record` wrote")
    recorded = records.read(file)
    found = comparison.groups(recorded)
    groups = _named(group for group in found if group.compared)
    drawn = {key: path for name in groups for key, path in _figures(name, groups[name], file.parent).items()} if figures else {}
    restorations = records.restorations(file)
    restored = restored_page.groups(restorations)
    table4 = restored_page.markdown(restored) or NONE
    for target in map(Path, targets):
        tables = _tables(groups, _relative(drawn, target))
        _fill(target, {"tables": tables, "summary": summary(groups.values(), restored) or NONE, "table4": table4})
    parts = [_tables(groups, _relative(drawn, file)), table4]
    alone = len(restorations) - sum(len(group.records) for group in restored)
    said = [*_in_no_table(recorded, found), *([f"Restorations with nothing to compare: {alone}"] if alone else [])]
    return "\n\n".join([*(part for part in parts if part != NONE), *said]) or NONE


def _in_no_table(recorded: Iterable[Record], found: Iterable[RunGroup]) -> list[str]:
    """Of recorded runs that stand in no table, why."""
    lost = [record for record in recorded if comparison.primary_of(record) is None]
    said = [f"{page.title(g)}: nothing to compare, {', '.join(g.methods)} alone: {len(g.records)} runs" for g in found if not g.compared]
    if lost:
        by = " or ".join(comparison.PRIMARY)
        names = ", ".join(f"{record.recipe['title']} {record.method} seed {record.seed}" for record in lost)
        said.append(f"Not compared, for want of {by} after their last step (`--metric` measures them): {names}")
    return said


def _named(groups: Iterable[RunGroup]) -> dict[str, RunGroup]:
    """The groups by the names of their figures: `slug`, and a number behind the same one of another group."""
    found: dict[str, RunGroup] = {}
    taken: Counter[str] = Counter()
    for group in groups:
        taken[slug(group)] += 1
        number = taken[slug(group)]
        found[slug(group) + (f"-{number}" if number > 1 else "")] = group
    return found


def slug(group: RunGroup) -> str:
    """A group's name in names of files: "dcgan-0.25-10000"."""
    config = group.config
    share = config.data.fraction
    parts = [config.arch, f"{config.width:g}", str(config.steps), *([] if share == 1 else [f"{share:g}"])]
    return "-".join([*parts, *([] if config.precision == "float32" else [config.precision])])


def _figures(name: str, group: RunGroup, folder: Path) -> dict[str, Path]:
    from sparse_plugin.figures import compared, needle_density, save

    by_method = {page.title(group).partition(",")[0]: {method: group.of(method) for method in group.methods}}
    made = {"compared": compared.draw(group), "density": needle_density.drawn(by_method)}
    return {
        f"{name}-{what}": save(figure, folder / f"{name}-{what}.png") for what, figure in made.items()
    }


def _relative(drawn: Mapping[str, Path], target: Path) -> dict[str, str]:
    import os

    return {name: Path(os.path.relpath(path, target.resolve().parent)).as_posix() for name, path in drawn.items()}


def _tables(groups: Mapping[str, RunGroup], drawn: Mapping[str, str]) -> str:
    parts = []
    for name, group in groups.items():
        parts += [f"### {page.title(group)}", page.markdown(group)]
        pairs = f"{group.metric} over steps, and the change of every pair" if group.followed else "The change of every pair"
        for what, says in (
            ("compared", pairs),
            ("density", "Needle density of every method, at the last step"),
        ):
            path = drawn.get(f"{name}-{what}")
            parts += [f"![{says}]({path})"] if path else []
    return "\n\n".join(parts) or NONE


def _fill(target: Path, blocks: Mapping[str, str]) -> None:
    try:
        text = target.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{target} cannot be read: {reason(error)}; name a Markdown file") from None
    known = [name for _, name, _ in BLOCK.findall(text) if name in blocks]
    if not known:
        raise ConfigError(
            f"{target} has no block to fill; put `<!-- made by `make results`: tables -->` (or summary, or table4) and `<!-- end -->` "
            "on lines of their own"
        )
    made = BLOCK.sub(lambda m: f"{m[1]}\n{blocks[m[2]]}\n\n{m[3]}" if m[2] in blocks else m[0], text)
    if made != text:
        write(target, made)
