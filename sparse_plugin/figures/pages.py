"""Pages whose numbers come from recorded runs: blocks between two comments of a Markdown file, written anew, and figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments import comparison, page, records, restored_page
from sparse_plugin.experiments.comparison import RunGroup
from sparse_plugin.experiments.summary import summary
from sparse_plugin.support.files import write
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
        raise ConfigError(f"{file} is not there; name a file that `experiment --record` wrote")
    groups = [group for group in comparison.groups(records.read(file)) if group.compared]
    drawn = {name: path for group in groups for name, path in _figures(group, file.parent).items()} if figures else {}
    restored = restored_page.groups(records.restorations(file))
    table4 = restored_page.markdown(restored) or NONE
    for target in map(Path, targets):
        tables = _tables(groups, _relative(drawn, target))
        _fill(target, {"tables": tables, "summary": summary(groups, restored) or NONE, "table4": table4})
    parts = [_tables(groups, _relative(drawn, file)), table4]
    return "\n\n".join(part for part in parts if part != NONE) or NONE


def slug(group: RunGroup) -> str:
    """A group's name in names of files: "dcgan-0.25-10000"."""
    config = group.config
    share = config.data.fraction
    parts = [config.arch, f"{config.width:g}", str(config.steps), *([] if share == 1 else [f"{share:g}"])]
    return "-".join([*parts, *([] if config.precision == "float32" else [config.precision])])


def _figures(group: RunGroup, folder: Path) -> dict[str, Path]:
    from sparse_plugin.figures import compared, needle_density, save

    by_method = {page.title(group).partition(",")[0]: {method: group.of(method) for method in group.methods}}
    made = {"compared": compared.draw(group), "density": needle_density.drawn(by_method)}
    return {
        f"{slug(group)}-{what}": save(figure, folder / f"{slug(group)}-{what}.png") for what, figure in made.items()
    }


def _relative(drawn: Mapping[str, Path], target: Path) -> dict[str, str]:
    import os

    return {name: Path(os.path.relpath(path, target.resolve().parent)).as_posix() for name, path in drawn.items()}


def _tables(groups: Sequence[RunGroup], drawn: Mapping[str, str]) -> str:
    parts = []
    for group in groups:
        parts += [f"### {page.title(group)}", page.markdown(group)]
        pairs = f"{group.metric} over steps, and the change of every pair" if group.followed else "The change of every pair"
        for what, says in (
            ("compared", pairs),
            ("density", "Needle density of every method, at the last step"),
        ):
            path = drawn.get(f"{slug(group)}-{what}")
            parts += [f"![{says}]({path})"] if path else []
    return "\n\n".join(parts) or NONE


def _fill(target: Path, blocks: Mapping[str, str]) -> None:
    try:
        text = target.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{target} cannot be read: {error}; name a Markdown file") from None
    known = [name for _, name, _ in BLOCK.findall(text) if name in blocks]
    if not known:
        raise ConfigError(
            f"{target} has no block to fill; put `<!-- made by `make results`: tables -->` (or summary, or table4) and `<!-- end -->` "
            "on lines of their own"
        )
    made = BLOCK.sub(lambda m: f"{m[1]}\n{blocks[m[2]]}\n\n{m[3]}" if m[2] in blocks else m[0], text)
    if made != text:
        write(target, made)
