"""What README and docs say of the package: how little it takes to add one, the help text, links, public names, tables."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sparse_plugin.commands.cli import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))}
# A GAN is networks and losses, too: tests/gans/test_door.py has what that page shows.
HOW_TO = [path for path in sorted((ROOT / "docs" / "how-to").glob("*.md")) if path.name != "gan.md"]
BLOCKS = [
    code for page in HOW_TO for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
]


@pytest.mark.parametrize("word", ["register_host", "register_adapter", '"soft"'])
def test_a_cell_that_runs_twice(word, monkeypatch, capsys):
    """As in a notebook, where a cell is run again."""
    pytest.importorskip("dcgan_pytorch")
    from sparse_plugin.hosts.host import HOSTS
    from sparse_plugin.network.adapters import ADAPTERS
    from sparse_plugin.registry import REGULARIZERS

    for table in (REGULARIZERS, ADAPTERS, HOSTS):
        monkeypatch.setattr(table, "_local", {})
    (cell,) = [code for code in BLOCKS if word in code]
    printed = []
    for _ in range(2):
        exec(cell, {"__name__": "__main__"})
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "Attachment(" in printed[0]


def test_the_shown_regularizer_published_behind_an_entry_point(tmp_path, monkeypatch):
    import torch

    import sparse_plugin
    from sparse_plugin.registry import REGULARIZERS

    (code,) = [code for code in BLOCKS if '@sparse_plugin.register("soft")' in code]
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


def test_the_page_of_regularizers(monkeypatch, capsys):
    """What it shows is what comes of it, and what a constraint remembers follows training, travels and is left alone by evaluation."""
    import torch

    import sparse_plugin
    from sparse_plugin.registry import REGULARIZERS

    monkeypatch.setattr(REGULARIZERS, "_local", {})
    text = (ROOT / "docs" / "how-to" / "regularizer.md").read_text(encoding="utf-8")
    reader = {"__name__": "__main__"}
    for code, shown in re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.S):
        exec(code, reader)
        assert capsys.readouterr().out == shown

    def attached():
        net = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 3, 3))
        sparse_plugin.attach(net, "clipped", example_input=torch.randn(2, 4, 9, 9))
        return net

    net, other = attached(), attached()
    for scale in (1, 3, 2):
        net(scale * torch.ones(2, 4, 9, 9))
    (name,) = [name for name in net.state_dict() if name.endswith("sparse_plugin.memory")]
    largest = net[0](3 * torch.ones(2, 4, 9, 9)).abs().max()
    assert net.state_dict()[name].tolist() == [largest.item()]
    other.load_state_dict(net.state_dict())
    seen = []
    other[1].register_forward_hook(lambda module, args, output: seen.append(args[0].abs().max()))
    other.eval()(100 * torch.ones(2, 4, 9, 9))
    assert seen == [largest] and other.state_dict()[name].tolist() == [largest.item()]


def test_adding_one_of_each_takes_under_15_lines():
    assert len(BLOCKS) == 14
    assert all(len([line for line in block.splitlines() if line.strip()]) < 15 for block in BLOCKS)


def test_the_help_text():
    shown = CliRunner().invoke(cli, ["--help"], prog_name="sparse-plugin").output
    assert f"```text\n{shown}```" in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_links_and_pictures_exist():
    for path, text in PAGES.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def missing(text):
    """The files of this repository that a page names as code and that are not there; NAME and * stand for any."""
    named = re.findall(r"(?<![\w/.])((?:tests|benchmarks|docs|registry|patches|sparse_plugin|\.ci)/[\w./*-]*\.\w+)", text)
    modules = re.findall(r"`((?:\w+/)+\w+\.py)`", text)  # as CONTRIBUTING names those of a room
    places = {*((ROOT, name) for name in named), *((ROOT / "sparse_plugin", name) for name in modules)}
    return sorted({name for place, name in places if not any(list(each.glob(name.replace("NAME", "*"))) for each in (place, ROOT))})


@pytest.mark.parametrize("path", [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES], ids=lambda path: path.name)
def test_files_that_are_named_exist(path):
    assert missing(path.read_text(encoding="utf-8")) == []


def test_a_file_that_has_moved_is_found_missing():
    text = "`tests/test_orders.py`, tests/restore_curves.json; `tests/stand_ins/drive_NAME.py`, `hosts/journal.py`, `hosts/gone.py`"
    assert missing(text) == ["hosts/gone.py", "tests/restore_curves.json", "tests/test_orders.py"]


def test_every_public_name_is_documented():
    import sparse_plugin

    text = "\n".join(PAGES.values())
    assert [name for name in sparse_plugin.__all__ if name not in text] == []


def test_the_registry_table_is_complete():
    from sparse_plugin import registry

    for name in (plugin.name for plugin in registry.REGULARIZERS.all().values() if plugin.origin.startswith("sparse-plugin")):
        row = re.search(rf"\| `{name}` \| (.*?) \|", README)[1]
        assert re.findall(r"`(\w+)", row) == list(registry.get(name).model_fields)
