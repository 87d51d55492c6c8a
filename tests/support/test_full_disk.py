"""Full disks and places that cannot be written to: nothing is left half, no run is lost for a line of its log."""

import errno
import json
import logging
import os
import resource
import subprocess
import sys

import pytest
import torch
from generators import Residual

from sparse_plugin import SparsityConfig, attach
from sparse_plugin.attachment.child import encode
from sparse_plugin.attachment.strip import strip_file
from sparse_plugin.errors import CheckpointError, ConfigError, OutputError
from sparse_plugin.support import files


@pytest.fixture
def full(monkeypatch):
    """From a call on, every file refuses to come to the disk."""

    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def no_lines(monkeypatch):
    """Nothing can be appended to a file."""

    def append(path, record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "append", append)


def checkpoint(path):
    torch.save(
        {**Residual().state_dict(), "out.sparse_plugin._extra_state": encode({"regularizer": "l0", "k": 2})}, path
    )
    return path


def test_a_file_is_whole_or_as_it_was(tmp_path, full):
    path = tmp_path / "config.json"
    files.write(path, "one")
    full()
    with pytest.raises(
        OutputError, match=r"config\.json could not be written: No space left on device; make room"
    ) as raised:
        files.write(path, "two")
    assert raised.value.exit_code == 1 and path.read_text() == "one" and os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no/such/x", "No such file or directory"),
        ("file/x", "Not a directory"),
        ("folder", "no plain file"),
        ("/dev/full", "no plain file"),
        ("/proc/x", "No such file or directory|Permission denied"),
        ("x\0y", "embedded null"),
        ("n" * 300, "name too long"),
    ],
)
def test_places_that_cannot_be_written_to(tmp_path, monkeypatch, path, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=rf"could not be written: .*({reason}).*; name a place") as raised:
        files.write(path, "text")
    assert raised.value.exit_code == 2 and sorted(os.listdir(tmp_path)) == ["file", "folder"]
    if path not in ("folder", "no/such/x"):
        with pytest.raises(OutputError):
            files.make_folder(path)


def test_a_link_leads_to_the_file_that_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "there")
    files.write(tmp_path / "link", b"\x00")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_bytes() == b"\x00"


def test_names_that_are_no_text(tmp_path):
    files.write(tmp_path / "x.json", json.dumps({"name": "\udc80"}, ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text()) == {"name": "\udc80"}


@pytest.mark.parametrize("name", ["c.pth", "c.safetensors"])
def test_strip(tmp_path, full, name):
    source = tmp_path / name
    if name == "c.pth":
        checkpoint(source)
    else:
        from safetensors import safe_open
        from safetensors.torch import save_file

        save_file(Residual().state_dict(), source, metadata={"format": "pt", "step": "5"})
        strip_file(source, tmp_path / "kept.safetensors")
        with safe_open(tmp_path / "kept.safetensors", "pt") as kept:
            assert kept.metadata() == {"format": "pt", "step": "5"}
    full()
    for target in (f"out-{name}", f"no/out-{name}"):
        with pytest.raises(OutputError, match="could not be written"):
            strip_file(source, tmp_path / target)
    assert not [path for path in os.listdir(tmp_path) if "out" in path or "unfinished" in path]


def test_strip_where_the_file_does_not_fit(tmp_path):
    """A limit on the size of files stands for the full disk, which torch's writer meets."""
    checkpoint(tmp_path / "c.pth")
    command = [sys.executable, "-m", "sparse_plugin", "strip", "c.pth", "-o", "out.pth"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )
    assert done.returncode == 1 and "out.pth could not be written: " in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["c.pth"]


def train(generator, steps):
    optimizer = torch.optim.SGD(generator.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        generator(torch.randn(4, 6)).square().mean().backward()
        optimizer.step()


def test_the_log_of_measurements(tmp_path, no_lines, caplog):
    generator = Residual()
    handle = attach(generator, "l0_inf", k=2, sites="out", run_dir=tmp_path / "log", measure_every=1)
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        train(generator, 3)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "sparsity.jsonl cannot be written: No space left on device; the run goes on" in caplog.text
    assert 0 < handle.measure()[0].sparsity <= 25  # in memory it is known


@pytest.mark.parametrize("place", ["/proc/no", "/dev/full/log", "file/log"])
def test_a_log_that_cannot_be_where_it_should(place, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    generator = Residual()
    attach(generator, "l0_inf", k=2, sites="out", run_dir=place, measure_every=1)
    train(generator, 2)
    assert caplog.text.count("cannot be written") == 1


def test_a_log_that_can_be_written_again(tmp_path, monkeypatch):
    log, path = files.Log(), tmp_path / "log.jsonl"
    log.append(path, {"step": 1})
    with open(path, "ab") as cut:  # by a disk that was full, or a process that was killed
        cut.write(b'{"step": ')
    with monkeypatch.context() as here:
        here.setattr(files, "append", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        log.append(path, {"step": 2})
    log.append(path, {"step": 3})
    assert [record["step"] for record in files.lines(path)] == [1, 3]


def test_lines_that_are_none(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'5\n{"a": 1}\n\xff\xfe\n[1]\n' + b"[" * 100_000 + b'\n{"a": 2}\n{"a"')
    assert [record["a"] for record in files.lines(path)] == [1, 2]
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        list(files.lines(tmp_path))


def test_the_reference_trainer(tmp_path, no_lines, monkeypatch, caplog):
    """No line of a log and no picture can be written, and the run comes to its end, with its checkpoint."""
    from PIL import Image

    from sparse_plugin.gans.train import train_run as run
    from sparse_plugin.gans.trained import load_trained as load

    def save(image, file, *rest):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", save)
    sparse = SparsityConfig.from_mapping({"regularizer": "l0_inf", "k": 0.5})
    said = run("dcgan", tmp_path / "run", sparse=sparse, width=1 / 16, batch=4, steps=2, log_every=1)
    assert "is finished: 2 steps" in said and load(tmp_path / "run").step == 2
    said = [record.getMessage() for record in caplog.records]
    assert sum("log.jsonl cannot be written" in line for line in said) == 1
    assert sum("pictures in" in line for line in said) == 1
    assert not list((tmp_path / "run/samples").glob("*"))


def test_checkpoints_of_the_reference_trainer(tmp_path, full):
    from sparse_plugin.runs import checkpoints

    checkpoints.save(tmp_path, 1, {"a": {"w": torch.zeros(2)}}, {}, keep=3)
    full()
    with pytest.raises(OutputError, match=r"step-0000002 could not be written: No space left on device; make room"):
        checkpoints.save(tmp_path, 2, {"a": {"w": torch.zeros(2)}}, {}, keep=3)
    assert checkpoints.steps(tmp_path) == [1] and os.listdir(tmp_path) == ["step-0000001"]


@pytest.mark.parametrize("name", ["meta", "tpu9", "cuda:99", "cpu:", "", 5, True, "x" * 500, "\0"])
def test_devices(name):
    from sparse_plugin.support.device import device_of

    if name == "":
        assert device_of(name).type in ("cpu", "cuda")
        return
    with pytest.raises(ConfigError, match="the device is .*; give cpu, cuda or cuda:1, one that is there"):
        device_of(name)


@pytest.mark.parametrize("command", ["train", "evaluate", "restore"])
def test_the_device_meta(command, tmp_path, monkeypatch):
    from click.testing import CliRunner
    from PIL import Image

    from sparse_plugin.commands.cli import cli

    monkeypatch.chdir(tmp_path)
    checkpoint("c.pth")
    Image.new("RGB", (64, 64)).save("a.png")
    asked = {
        "train": ["train", "dcgan", "--run", "r"],
        "evaluate": ["evaluate", "c.pth", "--generator", "generators:Residual", "--input", "2x6"],
        "restore": ["restore", "denoise", "a.png", "-o", "o.png", "--scales", "2"],
    }[command]
    done = CliRunner().invoke(cli, [*asked, "--device", "meta"])
    assert done.exit_code == 2 and "the device is 'meta'; give cpu" in done.output, (done.output, done.exception)
    assert not (tmp_path / "o.png").exists() and not (tmp_path / "r/config.json").exists()
