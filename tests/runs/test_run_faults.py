"""What may happen to a run: a full disk, a place that cannot be written to, damage, an end in the middle. Each is a sentence,
and the same command goes on.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from gan_runs import same, train, weights

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import CheckpointError
from sparse_plugin.runs.rundir import RunDirectory

OPTIONS = ["--width", "0.0625", "--batch", "4", "--steps", "3", "--checkpoint-every", "1", "--device", "cpu"]

# The system refuses to let any file grow beyond so many bytes, as a full disk does.
LIMITED = """
import resource, signal, sys
from sparse_plugin.commands.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight images, as an npz."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8))
    return path


def limited(size, *args):
    command = [sys.executable, "-c", LIMITED, str(size), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def sentence(done):
    """What was said at last: one line, no traceback."""
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sparse-plugin: ")
    return last


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_disk_that_is_full_at_once_leaves_nothing(tmp_path, data):
    done = limited(0, "train", "dcgan", "--run", tmp_path / "a" / "b", "--data", data, *OPTIONS)
    assert done.returncode == 1 and "could not be written: File too large; make room" in sentence(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_disk_that_fills_up_costs_the_checkpoint_that_does_not_fit(tmp_path, data):
    done = limited(100_000, "train", "dcgan", "--run", tmp_path / "a", "--data", data, *OPTIONS)
    assert done.returncode == 1
    said = sentence(done)
    assert "checkpoints/step-0000001 could not be written" in said and said.endswith("The same command goes on from the beginning")
    assert RunDirectory(tmp_path / "a").step == 0 and not list((tmp_path / "a").rglob(".*"))
    for place in ("a", "whole"):
        options = ["--run", str(tmp_path / place), "--data", str(data), *OPTIONS]
        assert CliRunner().invoke(cli, ["train", "dcgan", *options]).exit_code == 0
    assert not same(weights(tmp_path / "a", 3), weights(tmp_path / "whole", 3))


def test_a_later_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path, monkeypatch):
    import errno

    from sparse_plugin.errors import OutputError
    from sparse_plugin.runs import checkpoints

    sync = checkpoints._sync

    def full(path):
        if "step-0000003" in str(path) and "optimizers" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    monkeypatch.setattr(checkpoints, "_sync", full)
    with pytest.raises(OutputError, match="No space left on device; make room.*goes on from the checkpoint of step 2") as caught:
        train("dcgan", tmp_path / "a", checkpoint_every=1)
    assert caught.value.exit_code == 1 and RunDirectory(tmp_path / "a").step == 2
    monkeypatch.undo()
    train("dcgan", tmp_path / "a", checkpoint_every=1)
    train("dcgan", tmp_path / "b", checkpoint_every=1)
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("where", ["/proc/a", "file/a", "nul\0l"])
def test_places_that_cannot_be_written_to(where, tmp_path, data, monkeypatch):
    if where.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("there is no /proc here")
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = CliRunner().invoke(cli, ["train", "dcgan", "--run", where, "--data", str(data), *OPTIONS])
    assert done.exit_code == 2 and "cannot be a run's directory" in done.output and "; name another" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("file", ["checkpoint.json", "generator.safetensors", "discriminator.safetensors", "optimizers.safetensors"])
def test_a_checkpoint_of_no_bytes_is_not_called_finished(file, tmp_path):
    train("dcgan", tmp_path / "a", steps=2, checkpoint_every=1)
    (tmp_path / "a/checkpoints/step-0000002" / file).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"step-0000002 is damaged: {file}: .*delete that folder to go on from step 1"):
        train("dcgan", tmp_path / "a", steps=2, checkpoint_every=1)


@pytest.mark.parametrize("file", ["checkpoint.json", "generator.safetensors"])
def test_a_checkpoint_that_nobody_may_read_is_not_called_damaged(file, tmp_path, monkeypatch):
    """Where it is said to be deleted: the disk or a mode is at fault."""
    train("dcgan", tmp_path / "a", steps=1, checkpoint_every=1)
    place = tmp_path / "a/checkpoints/step-0000001" / file

    def refused(real):
        def opened(path, *args, **kwargs):
            if Path(path) == place:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        return opened

    monkeypatch.setattr("builtins.open", refused(open))
    monkeypatch.setattr(Path, "read_text", refused(Path.read_text))
    with pytest.raises(CheckpointError, match=f"step-0000001 cannot be read: {file}: Permission denied; have it readable"):
        train("dcgan", tmp_path / "a", steps=1, checkpoint_every=1)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_who_may_read_a_checkpoint_is_said_by_the_mask_of_modes(mask, tmp_path):
    before = os.umask(mask)
    try:
        train("dcgan", tmp_path / "a", steps=1, checkpoint_every=1)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert modes == {0o666 & ~mask}
