"""Every command with files that are missing, of another kind, damaged, or strangely named: a sentence, and no traceback."""

import os
import pickle

import pytest
import torch
from click.testing import CliRunner

from sparse_plugin.commands.cli import cli

KINDS = ("missing", "folder", "empty", "binary", "text", "nothing", "unicode", "surrogate", "device", "long", "tree")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A path of every kind."""
    here = tmp_path_factory.mktemp("bad")
    (here / "folder").mkdir()
    (here / "tree/checkpoints/step-0000001").mkdir(parents=True)
    (here / "tree/config.json").write_text("[" * 100_000)
    (here / "empty").write_bytes(b"")
    (here / "binary").write_bytes(bytes(range(256)) * 64)
    (here / "text").write_text("sparse: [\n")
    (here / "ünï ¥\n.txt").write_bytes(b"\xff\xfe")
    os.makedirs(os.fsencode(here) + b"/\xff\x80")
    named = {"nothing": "", "unicode": "ünï ¥\n.txt", "device": "/dev/full", "long": "x" * 5000}
    named["surrogate"] = os.fsdecode(b"\xff\x80")
    return {kind: os.path.join(here, named.get(kind, kind)) if kind != "nothing" else "" for kind in KINDS}


def commands(path, out):
    yield ["strip", path, "-o", f"{out}/stripped.pth"]
    yield ["evaluate", path, "--samples", "2"]
    yield ["evaluate", f"{path}.safetensors"]
    yield ["evaluate", path, "--generator", "generators:Residual", "--input", "2x6"]
    yield ["figure", "A", path, "-o", f"{out}/a.png"]
    yield ["figure", "4a", path, "-o", f"{out}/a.png"]
    yield ["figure", "psnr", path, "-o", f"{out}/a.png"]
    yield ["figure", "training", path, "-o", f"{out}/a.png"]
    yield ["check", path]
    yield ["check", ".", "--import", f"{path}.py"]
    yield ["sites", f"{path}:G"]
    yield ["list", "--import", f"{path}.py"]
    yield ["run", "--config", path, "--", "python", "-c", "1"]
    yield ["run", "--config", f"{path}.toml", "--", "python", "-c", "1"]
    yield ["run", "--sparse", "l0", "--set", f"sparse.k={path}", "--", "python", "-c", "1"]
    yield ["train", "dcgan", "--data", path, "--run", f"{out}/run"]
    yield ["train", "dcgan", "--config", path, "--run", f"{out}/run"]
    yield ["restore", "denoise", path, "-o", f"{out}/o.png"]
    yield ["restore", "inpaint", path, "--mask", path, "-o", f"{out}/o.png"]
    yield ["restore", "denoise", path, "-o", f"{out}/o.png", "--config", path]


@pytest.mark.parametrize("kind", KINDS)
def test_every_command(kind, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in commands(places[kind], tmp_path):
        done = CliRunner().invoke(cli, command)
        came = (command[:3], kind, done.output[-400:], done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), came
        assert done.exit_code in (1, 2, 3), came
        assert "Traceback" not in done.output and done.output.strip(), came
    assert not (tmp_path / "stripped.pth").exists() and not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("kind", ["folder", "missing/deep", "binary", "device", "device/x", "surrogate/x"])
@pytest.mark.parametrize("command", ["strip", "figure", "train", "restore"])
def test_every_output(kind, command, places, tmp_path, monkeypatch):
    """An output folder that is not there, is a file, or is a device."""
    monkeypatch.chdir(tmp_path)
    name, _, below = kind.partition("/")
    out = os.path.join(places[name], below) if below else places[name]
    if kind == "missing/deep":
        out = "/proc/no/such"
    torch.save({"w": torch.zeros(2)}, "w.pth")
    asked = {
        "strip": ["strip", "w.pth", "-o", out],
        "figure": ["figure", "A", "folder", "-o", f"{out}/x.png"],
        "train": ["train", "dcgan", "--run", out, "--steps", "1", "--width", "0.0625"],
        "restore": ["restore", "denoise", "w.pth", "-o", f"{out}/x.png"],
    }[command]
    if command == "strip" and kind == "surrogate/x":
        return  # it can be written
    if command == "train" and kind in ("folder", "surrogate/x"):
        return
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code in (1, 2) and "Traceback" not in done.output, (done.output, done.exception)
    assert isinstance(done.exception, SystemExit), (done.output, done.exception)
    assert os.path.exists("/dev/full") and not os.path.isfile("/dev/full")


class Loop:
    """Checkpoints that somebody made to be read."""

    @staticmethod
    def itself(path):
        held: dict = {"state": {"w": torch.zeros(2)}}
        held["again"] = held
        held["list"] = [held, held]
        torch.save(held, path)

    @staticmethod
    def doubling(path):
        node = {"w": torch.zeros(1)}
        for _ in range(60):
            node = {"a": node, "b": node}
        torch.save(node, path)

    @staticmethod
    def cut(path):
        torch.save({"w": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-700])

    @staticmethod
    def plain(path):
        path.write_bytes(pickle.dumps({"w": [1, 2]}, protocol=2))

    @staticmethod
    def deep(path):
        path.write_bytes(b"\x80\x02" + b"(" * 200_000 + b"l" * 200_000 + b".")

    @staticmethod
    def number(path):
        torch.save(5, path)

    @staticmethod
    def keys(path):
        torch.save({5: torch.zeros(1), (1, 2): torch.zeros(1), "x.sparse_plugin._extra_state": "text"}, path)

    @staticmethod
    def scalar(path):
        torch.save({"c5.sparse_plugin._extra_state": torch.tensor(1e30)}, path)

    @staticmethod
    def header(path):
        path.with_suffix(".safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize("kind", [name for name in vars(Loop) if not name.startswith("_")])
def test_checkpoints(kind, tmp_path):
    path = tmp_path / "c.pth"
    getattr(Loop, kind)(path)
    if not path.exists():
        path = path.with_suffix(".safetensors")
    out = tmp_path / "out.pth"
    stripped = CliRunner().invoke(cli, ["strip", str(path), "-o", str(out)])
    assert (stripped.exit_code == 0) == out.exists(), (stripped.output, stripped.exception)
    measured = CliRunner().invoke(cli, ["evaluate", str(path), "--generator", "generators:Residual", "--input", "2x6"])
    for done in (stripped, measured):
        assert done.exception is None or isinstance(done.exception, SystemExit), (done.output, repr(done.exception))
        assert "Traceback" not in done.output
    assert measured.exit_code == 2 and stripped.exit_code in (0, 2)
    assert stripped.exit_code == (0 if kind in ("itself", "doubling", "number") else 2)
