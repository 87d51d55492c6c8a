"""What the README and the guide show is run: Python, its printed output, and the help text."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from sparse_plugin.commands.cli import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
# A block of Python, and the indented output under it, if any.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n((?:    [^\n]*\n)+))?", README, re.S)


@pytest.mark.parametrize(("code", "output"), BLOCKS, ids=[code.strip().splitlines()[-1][:40] for code, _ in BLOCKS])
def test_python_in_the_readme(code, output):
    pytest.importorskip("dcgan_pytorch")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == re.sub("(?m)^    ", "", output)


@pytest.mark.parametrize("word", ["register_host", "register_adapter", "register("])
def test_a_cell_that_runs_twice(word, monkeypatch, capsys):
    """As in a notebook, where a cell is run again."""
    pytest.importorskip("dcgan_pytorch")
    from sparse_plugin.hosts.host import HOSTS
    from sparse_plugin.network.adapters import ADAPTERS
    from sparse_plugin.registry import REGULARIZERS

    for table in (REGULARIZERS, ADAPTERS, HOSTS):
        monkeypatch.setattr(table, "_local", {})
    (cell,) = [code for code, _ in BLOCKS if word in code]
    printed = []
    for _ in range(2):
        exec(cell, {"__name__": "__main__"})
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "Attachment(" in printed[0]


def test_the_readmes_regularizer_published_behind_an_entry_point(tmp_path, monkeypatch):
    import torch

    import sparse_plugin
    from sparse_plugin.registry import REGULARIZERS

    (code,) = [code for code, _ in BLOCKS if '@sparse_plugin.register("soft")' in code]
    info = tmp_path / "my_regularizers-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-regularizers\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sparse_plugin.regularizers]\nsoft = my_regularizers:Soft\n")
    (tmp_path / "my_regularizers.py").write_text(code.partition("\n\nG = ")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(REGULARIZERS, "_installed", None)
    monkeypatch.setattr(REGULARIZERS, "_local", {})
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 3))
    made = sparse_plugin.attach(net, "soft", threshold=0.5, example_input=torch.randn(2, 4, 9, 9)).regularizer
    assert type(made).__module__ == "my_regularizers"
    assert REGULARIZERS.all()["soft"].origin == "my-regularizers 1"


def shown_commands():
    """Every command line of ours that a page shows, in a block or inside a sentence, without the script's own words."""
    for name, text in PAGES.items():
        for line in re.findall(r"(?m)^ {4,}(?:\$ )?(sparse-plugin [^\n]*)", text) + re.findall(r"`(sparse-plugin [^`]*)`", text):
            yield name, " ".join(line.split(" -- ")[0].split("#")[0].split())


@pytest.mark.parametrize(("page", "line"), dict.fromkeys(shown_commands()), ids=lambda value: value[:60])
def test_commands_that_are_shown_exist_with_their_options(page, line):
    words = [word for word in re.split(r"[\s\[\]=]+", line.replace("...", " ")) if word][1:]
    command = cli
    while words and hasattr(command, "commands") and re.fullmatch("[a-z][a-z0-9]*", words[0]):
        name = words.pop(0)
        assert name in command.commands, f"{page}: {line}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if re.fullmatch(r"--?[a-z][\w-]*", word)} <= known | {"--help", "-h"}, f"{page}: {line}"


def test_yaml_that_is_shown_is_read():
    from sparse_plugin.config import SparsityConfig, load_yaml

    for text in PAGES.values():
        for block in re.findall(r"```yaml\n(.*?)```", text, re.S):
            sections = load_yaml(textwrap.dedent(block))
            SparsityConfig.from_mapping(sections.get("sparse") or sections["SPARSE"]).build()
    inline = re.findall(r"`(sites: [^`]+)`", PAGES["guide.md"])
    assert inline and all(SparsityConfig(regularizer="l0", settings={"k": 1}, **load_yaml(text)).sites for text in inline)


def test_adding_one_of_each_takes_under_15_lines():
    section = README[README.index("## Add your own") : README.index("## Commands")]
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(blocks) == 3
    assert all(len([line for line in block.splitlines() if line.strip()]) < 15 for block in blocks)


def test_the_help_text():
    shown = CliRunner().invoke(cli, ["--help"], prog_name="sparse-plugin").output
    assert f"```text\n{shown}```" in README


def test_yaml_in_the_readme(tmp_path):
    from sparse_plugin.config import SparsityConfig

    (tmp_path / "a.yaml").write_text(re.search(r"```yaml\n(.*?)```", README, re.S)[1])
    assert str(SparsityConfig.from_file(tmp_path / "a.yaml").build()).startswith("ml_csc(k=[16, 0.25], levels=2")


def test_links_and_pictures_exist():
    for name, text in PAGES.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (folder / target).exists(), target


def test_every_public_name_is_documented():
    import sparse_plugin

    text = README + PAGES["guide.md"]
    assert [name for name in sparse_plugin.__all__ if name not in text] == []


def test_the_registry_table_is_complete():
    from sparse_plugin import registry

    for name in (plugin.name for plugin in registry.REGULARIZERS.all().values() if plugin.origin.startswith("sparse-plugin")):
        row = re.search(rf"\| `{name}` \| (.*?) \|", README)[1]
        assert re.findall(r"`(\w+)", row) == list(registry.get(name).model_fields)
