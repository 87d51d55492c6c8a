"""Two processes never train one run: leases of directories."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from gan_runs import train
from leases import ELSEWHERE, written

from sparse_plugin.errors import ConfigError
from sparse_plugin.runs import attempts, lease, process
from sparse_plugin.runs.lease import FILE, HeldLease, Lease, look
from sparse_plugin.runs.rundir import BusyError, RunDirectory
from sparse_plugin.runs.watch import WATCH

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


def owners(folder):
    return [found.owner.process for found in look(folder)]


def test_another_process_keeps_a_run_out_until_it_is_killed(tmp_path):
    other = holder(tmp_path / "a")
    try:
        began = time.monotonic()
        with pytest.raises(BusyError, match=f"a run is at work in {tmp_path}/a .process {other.pid} on .*last seen 0 s ago"):
            train("dcgan", tmp_path / "a", steps=1)
        assert time.monotonic() - began < 5  # here it is known at once
    finally:
        other.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    with RunDirectory(tmp_path / "a").locked():  # even before its parent has taken note of its death
        assert owners(tmp_path / "a") == [os.getpid()]
    other.wait()
    train("dcgan", tmp_path / "a", steps=1)
    assert not list((tmp_path / "a").glob(f"{FILE}*"))


def test_a_number_that_another_process_has_by_now_is_no_owner(tmp_path):
    written(tmp_path / "a", began="1")
    with RunDirectory(tmp_path / "a").locked():
        pass


@pytest.mark.parametrize("name", ["", ".0123456789abcdef"], ids=["of an earlier version", "of this one"])
@pytest.mark.parametrize("text", [None, "", "{", "[1]", '{"host": 1}', '{"host": "a", "process": 1e999}', " " * 2048])
def test_the_lease_of_another_host_is_free_when_it_gives_no_sign_of_life(text, name, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)  # of those that do not say theirs
    written(tmp_path / "a", name, text, 0.05, **ELSEWHERE)
    began = time.monotonic()
    train("dcgan", tmp_path / "a", steps=1)
    assert time.monotonic() - began > 0.6
    assert not list((tmp_path / "a").glob(f"{FILE}*"))


@pytest.mark.parametrize("how", ["touches it", "rewrites it"])
def test_the_lease_of_another_host_is_held_as_long_as_it_gives_signs_of_life(how, tmp_path):
    path = written(tmp_path / "a", ".1", every=2.0, **ELSEWHERE)
    over = threading.Event()

    def lives():
        for number in range(10**6):
            if over.wait(0.2):
                return
            os.utime(path) if how == "touches it" else written(tmp_path / "a", ".1", every=2.0 + number, **ELSEWHERE)

    thread = threading.Thread(target=lives)
    thread.start()
    try:
        began = time.monotonic()
        with pytest.raises(BusyError, match="process .* on elsewhere, last seen 0 s ago.*the directory is free 2. s after"):
            train("dcgan", tmp_path / "a", steps=1)
        assert time.monotonic() - began < 10
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("skew", [-7200, -300, 300, 7200])
def test_clocks_need_not_agree(skew, tmp_path, monkeypatch):
    """Neither this host's, nor the owner's, nor the disk's, in which direction they may be off."""
    path = written(tmp_path, ".1", **ELSEWHERE)
    os.utime(path, (time.time() + skew,) * 2)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    (found,) = look(tmp_path)
    assert found.silent == 0 and not found.over and not found.certain
    os.utime(path, (time.time() - skew,) * 2)  # a sign of life, by whatever clock
    (found,) = look(tmp_path)
    assert not found.over and found.certain


def test_what_one_process_has_watched_another_may_go_on_from(tmp_path):
    path = written(tmp_path, ".1", every=1.0, **ELSEWHERE)
    look(tmp_path)
    told = WATCH.told()
    told = {place: (sign, seconds + 12, changed) for place, (sign, seconds, changed) in told.items()}
    WATCH.forget(path)
    WATCH.believe(pickle.loads(pickle.dumps(told)))
    assert look(tmp_path)[0].over
    os.utime(path, (1, 1))  # since then it gave a sign of life
    assert not look(tmp_path)[0].over


def test_an_owner_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv(lease.VARIABLE, "0.02")
    directory = RunDirectory(tmp_path)
    with directory.locked():
        deadline, steps = time.monotonic() + 20, 0
        while dict(look(tmp_path)[0].doing).get("pace", 0) <= 0:
            assert time.monotonic() < deadline
            directory.at(steps := steps + 1, 10**9)
            time.sleep(0.01)
        said = dict(look(tmp_path)[0].doing)
        assert 0 < said["step"] <= steps and said["steps"] == 10**9 and said["moved"] >= said["step"]
    assert look(tmp_path) == [] and [path.name for path in tmp_path.iterdir()] == [attempts.FILE]
    first, last = attempts.read(tmp_path)
    assert first["from"] == 0 and first["process"] == os.getpid() and last["to"] == steps and first["lease"] == last["lease"]


def test_a_long_step_is_no_sign_of_death(tmp_path, monkeypatch):
    monkeypatch.setenv(lease.VARIABLE, "0.02")
    with RunDirectory(tmp_path).locked():
        end, signs = time.monotonic() + 1, set()
        while time.monotonic() < end:  # the owner's thread computes, and gives no sign itself
            signs.add(next(tmp_path.glob(f"{FILE}*")).read_bytes())
        assert len(signs) > 5


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", "1e9"])
def test_an_interval_that_is_none_is_said(given, tmp_path, monkeypatch):
    monkeypatch.setenv(lease.VARIABLE, given)
    with pytest.raises(ConfigError, match=f"{lease.VARIABLE} is '{given}'; give seconds from 0.01 to 3600"), RunDirectory(tmp_path / "a").locked():
        pass
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("there", ["nothing", "one that was silent", "one whose process is gone", "several of those"])
def test_of_many_that_want_it_one_gets_it(there, tmp_path):
    for number in range(8):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        if there in ("one that was silent", "several of those"):
            written(folder, ".1", every=0.001, **ELSEWHERE)
            look(folder)
            time.sleep(0.02)
        if there in ("one whose process is gone", "several of those"):
            written(folder, ".2", began="1")
            written(folder, began="1")
        together, got = threading.Barrier(6), []

        def want(folder=folder, together=together, got=got):
            together.wait()
            taken = Lease.take(folder)
            while isinstance(taken, HeldLease) and not taken.certain:  # as who waits for it does
                taken = Lease.take(folder)
            got.append(taken)

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


CONTEND = """
import sys, time
from pathlib import Path
import sparse_plugin.runs.lease as lease
assert "torch" not in sys.modules
lease.this_host = lambda: f"host{sys.argv[2]} of its own"
lease.LeaseOwner.alive = property(lambda self: True if self.host == lease.this_host() else None)
folder, log = Path(sys.argv[1]), Path(sys.argv[1] + ".log")
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    taken = lease.Lease.take(folder)
    if isinstance(taken, lease.Lease):
        with open(log, "a") as file:
            file.write(f"in {sys.argv[2]}\\n"); file.flush()
            time.sleep(0.01)
            file.write(f"out {sys.argv[2]}\\n"); file.flush()
        taken.release()
"""


def test_hosts_that_contend_for_one_directory_are_never_in_it_together(tmp_path, monkeypatch):
    """No lock of the operating system, no clock: as on nodes that share a disk and nothing else."""
    monkeypatch.setenv(lease.VARIABLE, "0.5")
    (tmp_path / "a").mkdir()
    started = [subprocess.Popen([sys.executable, "-c", CONTEND, str(tmp_path / "a"), str(n), "4"]) for n in range(3)]
    assert [each.wait(60) for each in started] == [0] * 3
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert len(lines) > 10 and len({*lines}) > 2 and lines[::2] == [line.replace("out", "in") for line in lines[1::2]]


def test_a_directory_that_others_make_and_remove_for_their_leases_is_made_again(tmp_path):
    inside, most, failed = [], [], []

    def go():
        for _ in range(10):
            try:
                with RunDirectory(tmp_path / "deep" / "a").locked():
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.002)
                    inside.pop()
            except BusyError:
                pass
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and set(most) == {1} and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_it_takes_nothing_that_only_posix_has(tmp_path):
    hidden = "import sys\nfor name in ('fcntl', 'resource', 'pwd', 'grp'): sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", hidden + HOLD.replace("time.sleep(60)", ""), str(tmp_path / "a")], text=True, capture_output=True)
    assert done.returncode == 0 and done.stdout == "held\n", done.stderr
    assert not (tmp_path / "a").exists()  # made for the lease alone


def in_use(*args, **kwargs):
    raise PermissionError(13, "The process cannot access the file because it is being used by another process")


def test_a_file_that_windows_lets_nobody_delete_is_somebodys(tmp_path, monkeypatch):
    """Whoever reads a lease there keeps others from deleting it."""
    written(tmp_path, ".1", began="1")
    with monkeypatch.context() as windows:
        windows.setattr(lease.Path, "unlink", lambda self, **how: in_use() if self.name.endswith(".1") else os.unlink(self))
        assert isinstance(Lease.take(tmp_path), HeldLease)
    assert [path.name for path in tmp_path.iterdir()] == [f"{FILE}.1"]
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
