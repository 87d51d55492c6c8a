"""Tables as files: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparse_plugin.support.files import make_folder
from sparse_plugin.support.files import write as write_whole


def markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(path: Path, text: str, rows: Sequence[Mapping[str, Any]], everything: Any) -> list[Path]:
    """Write text as path.md, rows as path.csv (tuples with spaces between), everything as path.json. Returns the paths."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: " ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in row.items()} for row in rows)
    texts = {
        "md": text,
        "csv": stream.getvalue(),
        "json": json.dumps(everything, indent=1, ensure_ascii=False) + "\n",
    }
    make_folder(path.parent)
    for kind, content in texts.items():
        write_whole(path.with_suffix(f".{kind}"), content)
    return [path.with_suffix(f".{kind}") for kind in texts]
