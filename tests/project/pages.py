"""The blocks of README, CONTRIBUTING and docs: what is run, what is read as a setting, what is output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
OUTSIDE = ["README.md", "CONTRIBUTING.md"]
# What becomes of a block, by the word behind its fence.
PYTHON, SHELL, SETTINGS, OUTPUT = {"python"}, {"sh", "console"}, {"yaml", "toml"}, {"text"}
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A block of code. title: the file that it is. follows: whether nothing stands between it and the block before."""

    page: str
    line: int
    language: str
    title: str
    text: str
    follows: bool = False

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The command lines of a shell block, continued ones joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            return [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]

    def shown(self) -> str:
        """What the one command of a console block printed."""
        return "".join(f"{line}\n" for line in self.text.splitlines() if not line.startswith("$ "))


def pages() -> list[Path]:
    """Every Markdown page that people read, README first."""
    outside = [ROOT / name for name in OUTSIDE if (ROOT / name).exists()]
    return [*outside, *sorted((ROOT / "docs").rglob("*.md"))]


def notebooks() -> list[Path]:
    """Every notebook among them."""
    return sorted((ROOT / "docs").rglob("*.ipynb"))


def name(path: Path) -> str:
    """A page's name in tests."""
    return path.relative_to(ROOT).as_posix()


def blocks(text: str, page: str = "page") -> list[Block]:
    """Every block of code of a page, indented ones too, which have no language."""
    found: list[Block] = []
    adjacent = False
    for token in MARKDOWN.parse(text):
        if token.type in ("fence", "code_block"):
            language, _, rest = token.info.strip().partition(" ")
            title = rest.strip().removeprefix("title=").strip('"')
            found.append(Block(page, token.map[0] + 1, language, title, token.content, adjacent))
            adjacent = True
        else:
            adjacent = False
    return found


def of(path: Path) -> list[Block]:
    """The blocks of a page; of a notebook, those of its text."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [
            block
            for cell in cells
            if cell["cell_type"] == "markdown"
            for block in blocks("".join(cell["source"]), name(path))
        ]
    return blocks(path.read_text(encoding="utf-8"), name(path))


def cannot_be_judged(block: Block) -> str:
    """Why a block is neither run, nor read, nor marked as output; "" where it is."""
    if not block.language:
        return f"{block}: a block without a language, or an indented one; fence it, and mark output as text"
    if block.language not in PYTHON | SHELL | SETTINGS | OUTPUT:
        return f"{block}: nobody runs {block.language}; mark what is shown only as text"
    if block.title and Path(block.title).name != block.title:
        return f"{block}: {block.title} is no name of a file beside the page's others"
    return ""
