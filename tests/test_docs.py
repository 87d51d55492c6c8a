"""What the README and the guide show is run: Python, its printed output, and the help text."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sparse_plugin.cli import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# A block of Python, and the indented output under it, if any.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n((?:    [^\n]*\n)+))?", README, re.S)


@pytest.mark.parametrize(("code", "output"), BLOCKS, ids=[code.strip().splitlines()[-1][:40] for code, _ in BLOCKS])
def test_python_in_the_readme(code, output):
    pytest.importorskip("dcgan_pytorch")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == re.sub("(?m)^    ", "", output)


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
    for text, folder in ((README, ROOT), *((p.read_text(), p.parent) for p in (ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (folder / target).exists(), target


def test_every_public_name_is_documented():
    import sparse_plugin

    text = README + (ROOT / "docs/guide.md").read_text()
    assert [name for name in sparse_plugin.__all__ if name not in text] == []


def test_the_registry_table_is_complete():
    from sparse_plugin import registry

    for name in ("l1", "l0", "l0_inf", "ml_csc"):
        row = re.search(rf"\| `{name}` \| (.*?) \|", README)[1]
        assert re.findall(r"`(\w+)", row) == list(registry.get(name).model_fields)
