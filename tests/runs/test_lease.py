"""Two processes never train one run: leases of directories."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from gan_runs import train

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError
from sparse_plugin.runs import lease, process
from sparse_plugin.runs.lease import FILE, STALE, HeldLease, Lease, look
from sparse_plugin.runs.rundir import BusyError, RunDirectory

HOLD = """
import sys, time
from pathlib import Path
from sparse_plugin.runs.rundir import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder):
    """Another process that has the directory."""
    started = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "held\n"
    return started


def aged(folder, seconds):
    path = folder / FILE
    os.utime(path, (time.time() - seconds,) * 2)


def written(folder, **changes):
    """A lease as another process would have written it."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = lease.LeaseOwner(process.this_host(), os.getpid(), process.began(os.getpid()), "token")
    (folder / FILE).write_text(json.dumps(asdict(replace(mine, **changes))))


def test_another_process_keeps_a_run_out_until_it_is_killed(tmp_path):
    other = holder(tmp_path / "a")
    try:
        with pytest.raises(BusyError, match=f"a run is at work in {tmp_path}/a .process {other.pid} on .*last seen 0 s ago"):
            train("dcgan", tmp_path / "a", steps=1)
        aged(tmp_path / "a", 10 * STALE)  # it lives, if stopped, and would go on
        with pytest.raises(BusyError):
            train("dcgan", tmp_path / "a", steps=1)
    finally:
        other.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    with RunDirectory(tmp_path / "a").locked():  # even before its parent has taken note of its death
        assert json.loads((tmp_path / "a" / FILE).read_text())["process"] == os.getpid()
    other.wait()
    train("dcgan", tmp_path / "a", steps=1)
    assert not (tmp_path / "a" / FILE).exists()


def test_a_number_that_another_process_has_by_now_is_no_owner(tmp_path):
    written(tmp_path / "a", began="1")
    with RunDirectory(tmp_path / "a").locked():
        pass


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"host": 1}'])
def test_the_lease_of_another_host_is_free_when_it_is_stale(content, tmp_path):
    folder = tmp_path / "a"
    written(folder, host="elsewhere 1 2")
    if content is not None:  # one that is being written, or whose host lost power while it was
        (folder / FILE).write_text(content)
    aged(folder, STALE - 30)
    with pytest.raises(BusyError, match=f"the directory is free {STALE:.0f} s after it was last seen") as caught:
        train("dcgan", folder, steps=1)
    assert "on elsewhere, last seen 90 s ago" in str(caught.value) or content is not None
    aged(folder, STALE + 1)
    train("dcgan", folder, steps=1)


def test_clocks_need_not_agree(tmp_path, monkeypatch):
    written(tmp_path, host="elsewhere 1 2")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert abs(look(tmp_path).silent) < 5


def test_an_owner_renews_its_lease(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.02)
    with RunDirectory(tmp_path).locked():
        aged(tmp_path, 1000)
        deadline = time.monotonic() + 20
        while look(tmp_path).silent > 500:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert look(tmp_path) is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folders", [("new",), ("stale",), ("dead",)], ids=lambda f: f[0])
def test_of_many_that_want_it_one_gets_it(folders, tmp_path):
    for number in range(10):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        if folders == ("stale",):
            written(folder, host="elsewhere 1 2")
            aged(folder, STALE + 5)
        elif folders == ("dead",):
            written(folder, began="1")
        together, got = threading.Barrier(6), []

        def want(folder=folder, together=together, got=got):
            together.wait()
            got.append(Lease.take(folder))

        threads = [threading.Thread(target=want) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        mine = [one for one in got if isinstance(one, Lease)]
        assert len(got) == 6 and len(mine) == 1 and not mine[0].lost
        assert all(isinstance(one, HeldLease) for one in got if one not in mine)
        mine[0].release()
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("how", ["taken over", "deleted"])
def test_who_lost_its_lease_writes_no_checkpoint_any_more(how, tmp_path, monkeypatch):
    from sparse_plugin.gans.trainer import Trainer

    step = Trainer.train_step

    def stolen(self, before):
        if before == 2:
            written(tmp_path / "a", host="elsewhere 1 2") if how == "taken over" else (tmp_path / "a" / FILE).unlink()
        step(self, before)

    monkeypatch.setattr(Trainer, "train_step", stolen)
    with pytest.raises(BusyError, match="is in the hands of another process, which found no sign of life of this one"):
        train("dcgan", tmp_path / "a", steps=4, checkpoint_every=2)
    assert RunDirectory(tmp_path / "a").step == 2
    assert (tmp_path / "a" / FILE).exists() == (how == "taken over")  # the other's is left alone


def test_it_takes_nothing_that_only_posix_has(tmp_path):
    hidden = "import sys\nfor name in ('fcntl', 'resource', 'pwd', 'grp'): sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", hidden + HOLD.replace("time.sleep(60)", ""), str(tmp_path / "a")], text=True, capture_output=True)
    assert done.returncode == 0 and done.stdout == "held\n", done.stderr
    assert not (tmp_path / "a").exists()  # made for the lease alone


def in_use(*args, **kwargs):
    raise PermissionError(13, "The process cannot access the file because it is being used by another process")


def test_a_file_that_windows_lets_nobody_replace_is_somebodys(tmp_path, monkeypatch):
    """Whoever reads a lease there keeps others from replacing it, and from making another while it is deleted."""
    written(tmp_path, began="1")
    with monkeypatch.context() as windows:
        windows.setattr(lease.os, "replace", in_use)
        assert isinstance(Lease.take(tmp_path), HeldLease)
        opens = os.open
        windows.setattr(lease.os, "open", lambda path, *args, **how: (in_use if Path(path).name == FILE else opens)(path, *args, **how))
        assert isinstance(Lease.take(tmp_path), HeldLease)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    (tmp_path / FILE).unlink()
    with monkeypatch.context() as windows, pytest.raises(PermissionError):
        windows.setattr(lease.os, "open", in_use)  # a folder that cannot be written to is said
        Lease.take(tmp_path)
    Lease.take(tmp_path).release()


def test_other_systems_know_their_processes(monkeypatch):
    assert process.began(os.getpid()) and not process.began(2**30)
    ours = process._posix(os.getpid())
    if not ours:
        pytest.skip("there is no ps here")
    assert ours == process._posix(os.getpid()) and not process._posix(2**30)


def test_a_directory_of_the_first_version_is_gone_on_with(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.lock").touch()  # which it left behind
    train("dcgan", tmp_path / "a", steps=1)


REFUSED = [
    (["--batch", "100000"], "needs as many images"),
    (["--batch", "1"], "fewer than 2 images"),
    (["--batch", "6", "--accumulation", "4"], "does not divide into 4 parts"),
    (["--sparse", "l0_inf", "--set", "sparse.sites=[nowhere]"], "nowhere"),
    (["--sparse", "l0_inf", "--set", "sparse.adapter=mimicry"], "mimicry"),
    (["--sparse", "l0_inf", "--set", "sparse.k=[1,2]"], "lists 2 values"),
    (["--sparse", "l0_inf", "--set", "sparse.run_dir=x"], "sparse.run_dir is 'x' and has no meaning in `train`: measurements are"),
    (["--sparse", "l0_inf", "--set", "sparse.host=mimicry"], "sparse.host is 'mimicry' and has no meaning in `train`"),
    (["--sparse", "l0_inf", "--set", "sparse.generator=a:B"], "sparse.generator is 'a:B' and has no meaning"),
    (["--sparse", "l1", "--set", "sparse.accumulation=2"], "sparse.accumulation is 2 and has no meaning in `train`: give --accumulation"),
    (["--set", "sparse.delivery=loss"], "sparse.delivery is 'loss' and no regularizer is named"),
    (["--device", "meta"], "the device is 'meta'"),
    (["--precision", "half"], "there is no precision 'half'"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), REFUSED, ids=[" ".join(options) for options, _ in REFUSED])
def test_a_refused_run_leaves_no_trace(options, said, tmp_path):
    target = tmp_path / "deep" / "run"
    done = CliRunner().invoke(cli, ["train", "dcgan", "--run", str(target), "--width", "0.0625", "--device", "cpu", *options])
    assert done.exit_code == 2 and said in done.output, done.output
    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_is_in_nobodys_way(tmp_path):
    with pytest.raises(ConfigError, match="needs as many images"):
        train("dcgan", tmp_path / "a", batch=100_000)
    assert "is finished" in train("dcgan", tmp_path / "a", steps=1)
    kept = {path: path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="batch is 4 there and 100000 here"):
        train("dcgan", tmp_path / "a", steps=1, batch=100_000)
    assert {path: path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()} == kept
