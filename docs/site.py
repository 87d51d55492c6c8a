"""The site's own hooks: pages that stand outside docs/, links between the two, notebooks, help texts as they are printed."""

import json
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

from click import Context, Group
from markdown_it import MarkdownIt
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

log = get_plugin_logger("site")
ROOT = Path(__file__).parent.parent
# Files of the repository's top level, and what they are called on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE.txt",
}
PARTS = {"list_item_open": "li", "table_open": "table", "fence": "pre", "code_block": "pre"}
LINK = re.compile(r"(\]\()(?!https?:|data:|#)([^)\s#]+)")


def on_files(files, config):
    """Adds the files that stand outside docs/, and has a page in place of every notebook."""
    for name, shown in OUTSIDE.items():
        files.append(File.generated(config, shown, abs_src_path=str(ROOT / name)))
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(file)
        shown = file.src_uri.replace(".ipynb", ".md")
        files.append(File.generated(config, shown, content=notebook(Path(file.abs_src_path))))
    return files


def notebook(path):
    """A notebook as it was run, in Markdown."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text")})
            if "image/png" in data:
                parts.append(f"![what the cell draws](data:image/png;base64,{''.join(data['image/png']).strip()})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts)


def on_page_markdown(markdown, page, config, files):
    """Links as the site has them, and what a page asks for by a comment."""
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)  # links inside blocks are code
    made = "".join(part if part.startswith("```") else relinked(part, page.file.src_uri) for part in parts)
    return made.replace("<!-- help of every command -->", "\n\n".join(help_texts()))


def on_page_content(html, page, config, files):
    """Warns, which fails a strict build, where the site does not have the lists, tables and blocks that GitHub has."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.markdown)
    there = Counter(PARTS[token.type] for token in tokens if token.type in PARTS)
    shown = Counter(re.findall(r"<(li|table|pre)\b", re.sub(r'<div class="doc .*', "", html, flags=re.S)))
    if ":::" not in page.markdown and there != shown:
        log.warning(f"{page.file.src_uri} is another page on GitHub: {dict(there)} there, {dict(shown)} on the site")
    return html


def relinked(text, page):
    """Links of a page from one side of docs/ to the other, and to notebooks."""
    up = "../" * page.count("/")

    def linked(match):
        target = match[2]
        if page in OUTSIDE.values():
            target = OUTSIDE.get(target, target.removeprefix("docs/"))
        elif target.startswith(f"{up}../"):
            name = target.removeprefix(f"{up}../")
            target = up + OUTSIDE[name] if name in OUTSIDE else target
        return match[1] + target.replace(".ipynb", ".md")

    return LINK.sub(linked, text)


def help_texts():
    """A heading and the help text of every command, groups before their members."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, _ = project["scripts"]["sparse-plugin"].partition(":")

    def walk(command, context, depth):
        for name in sorted(command.list_commands(context)):
            child = command.get_command(context, name)
            inner = Context(child, info_name=name, parent=context, terminal_width=80, **child.context_settings)
            heading = f"{'#' * depth} {inner.command_path.removeprefix('sparse-plugin ')}"
            yield f"{heading}\n\n```text\n{child.get_help(inner)}\n```"
            if isinstance(child, Group):
                yield from walk(child, inner, depth + 1)

    root = import_module(module).cli
    return list(walk(root, Context(root, info_name="sparse-plugin", **root.context_settings), 2))
