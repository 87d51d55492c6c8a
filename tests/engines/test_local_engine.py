"""Processes on this machine: whatever happens to one, the same runs come out, none of them twice."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from sparse_plugin.engines import placing
from sparse_plugin.engines.local import LocalEngine
from sparse_plugin.engines.placing import Refused
from sparse_plugin.engines.work import Place
from sparse_plugin.experiments import engine
from sparse_plugin.runs import attempts, lease, process
from sparse_plugin.runs.lease import look
from sparse_plugin.support.user_files import import_named

RUNS = str(Path(__file__).parents[1] / "engine_runs.py")
import_named(RUNS)
from sparse_plugin_user_engine_runs import STEPS, CountingGrid, steps_of  # noqa: E402


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv(lease.VARIABLE, "0.1")


def local(out, jobs=2, hanging=60.0):
    return LocalEngine(Place(os.getcwd(), (RUNS,), 1, {}), Path(out), jobs, hanging=hanging)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What five runs come to, by their numbers."""
    grid = CountingGrid(tmp_path_factory.mktemp("undisturbed"), [""] * 5)
    for run in grid.runs:
        run.perform("", print)
    return [run.collect()["value"] for run in grid.runs]


def check(grid, undisturbed):
    """All are finished, with the same results, and no two processes took the same steps, but those since the last that were kept."""
    for run in grid.runs:
        assert run.collect()["value"] == undisturbed[run.number]
        taken = steps_of(run)
        assert sorted(set(taken)) == list(range(1, STEPS + 1))
        for before, now in pairwise(taken):
            assert now == before + 1 or (before == 7 and now == 6)  # gone on from step 5, once
        assert not list(run.directory.glob(f"{lease.FILE}*"))


@pytest.mark.slow
def test_a_process_that_is_killed_one_that_hangs_and_full_disks_change_nothing(tmp_path, undisturbed, capfd):
    faults = ["killed", "", "hangs", "full", "broken"]
    grid = CountingGrid(tmp_path, faults)
    with local(tmp_path, hanging=2.0) as placed:
        said, code = engine.perform(grid, placed)
    assert (said.splitlines()[0], code) == ("5 values", 0)
    check(grid, undisturbed)
    assert len(steps_of(grid.runs[1])) == STEPS and all(len(steps_of(grid.runs[n])) == STEPS + 2 for n in (0, 2, 3, 4))
    assert (tmp_path / "table.md").read_text().splitlines() == undisturbed
    shown = capfd.readouterr().err
    assert shown.startswith("5 runs, 2 at once") and "number 4: done" in shown
    assert len({attempts.read(run.directory)[0]["process"] for run in grid.runs}) > 1  # several processes were at work


@pytest.mark.slow
def test_what_fails_for_good_is_told_in_a_sentence_and_the_others_go_on(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr(placing, "TRIES", 2)
    grid = CountingGrid(tmp_path, ["diverges", "killed always", "bug", "hangs always", ""])
    with local(tmp_path, hanging=0.5) as placed:
        made = {each.run.number: each for each in placed(grid.runs, 0)}
    assert made[0].failed == "the loss is no number"
    assert "number 1 was tried 2 times, and the last time: its process died of signal 9; what it printed is in" in made[1].failed
    assert made[2].failed == "ZeroDivisionError: division by zero (engine_runs.py, line 94)".replace("94", made[2].failed[-3:-1])
    assert "number 3 was tried 2 times, and the last time: it took no step for" in made[3].failed
    assert made[4].outcome["value"] == undisturbed[4]
    assert all(attempts.failure(grid.runs[n].directory) == made[n].failed for n in range(4))  # for who looks at directories alone
    said, code = engine.collect(grid)
    assert said.splitlines()[-1] == "1 of 5 runs are finished" and code == 0
    # The same command again: what was told of a run that finishes now is forgotten.
    again = CountingGrid(tmp_path, [""] * 5)
    with local(tmp_path) as placed:
        assert engine.perform(again, placed)[1] == 0
    assert [run.collect()["value"] for run in again.runs] == undisturbed
    assert len(steps_of(again.runs[4])) == STEPS  # which was finished, and was not trained again


def test_what_is_refused_ends_the_command_with_its_exit_code(tmp_path):
    grid = CountingGrid(tmp_path, ["refused always", "hangs always"])
    began = time.monotonic()
    with pytest.raises(Refused, match="nothing of this kind") as caught, local(tmp_path) as placed:
        list(placed(grid.runs, 0))
    assert caught.value.exit_code == 2 and time.monotonic() - began < 60
    assert not look(grid.runs[1].directory)  # the other process has left its directory in order


def test_a_run_that_cannot_be_sent_is_said(tmp_path):
    class Here(type(CountingGrid(tmp_path, [""]).runs[0])):
        pass

    with pytest.raises(Exception, match="number 0 cannot be sent to another process .*--engine local --jobs 1"), local(tmp_path) as placed:
        list(placed([Here(tmp_path, 0)], 0))


def test_runs_of_others_are_left_to_them_and_taken_up_when_they_die(tmp_path, undisturbed):
    """Three runs: one that lives elsewhere, one whose host died, one whose process died here."""
    grid = CountingGrid(tmp_path, [""] * 3)
    mine = {"process": os.getpid(), "began": process.began(os.getpid()), "token": "t", "every": 0.1}
    for run, changes in zip(grid.runs, ({"host": "elsewhere a"}, {"host": "elsewhere b"}, {"host": process.this_host(), "began": "1"}), strict=True):
        run.directory.mkdir()
        (run.directory / ".lease.t").write_text(json.dumps({**mine, **changes}))
    alive = grid.runs[0].directory / ".lease.t"
    ended = []
    with local(tmp_path, jobs=1) as placed:
        for made in _beating(placed(grid.runs, 0), alive):
            ended.append((made.run.number, made.busy))
    assert ended == [(2, False), (1, False), (0, True)]
    alive.unlink()
    with local(tmp_path) as placed:
        assert engine.perform(grid, placed)[1] == 0
    check(grid, undisturbed[:3])


def _beating(attempts, path):
    """Attempts, while somebody gives signs of life."""
    import threading

    over = threading.Event()

    def beat():
        while not over.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield from attempts
    finally:
        over.set()
        thread.join()


DRIVE = """
import sys
from pathlib import Path
from sparse_plugin.support.user_files import import_named
import_named(sys.argv[1])
from sparse_plugin_user_engine_runs import CountingGrid
from sparse_plugin.engines.local import LocalEngine
from sparse_plugin.engines.work import Place
from sparse_plugin.experiments import engine
if __name__ == "__main__":
    out = Path(sys.argv[2])
    with LocalEngine(Place(str(out.parent), (sys.argv[1],), 1, {}), out, 2) as placed:
        said, code = engine.perform(CountingGrid(out, [""] * 3, 0.1), placed)
    sys.exit(code)
"""


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_processes_along_and_the_same_command_goes_on(tmp_path, undisturbed):
    out = tmp_path / "out"
    command = [sys.executable, "-c", DRIVE, RUNS, str(out)]
    first = subprocess.Popen(command)
    grid = CountingGrid(out, [""] * 3)
    deadline = time.monotonic() + 100
    while not any((run.directory / "kept.json").is_file() for run in grid.runs):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    subprocess.run(command, check=True, timeout=100)
    for run in grid.runs:
        assert run.collect()["value"] == undisturbed[run.number]
        lines = attempts.read(run.directory)
        begun = [line for line in lines if "from" in line]
        assert len(begun) <= 2 and begun[-1]["from"] in (0, 5, 10, 15)


def test_an_engine_that_yields_nothing_begins_no_process(tmp_path):
    placed = local(tmp_path)
    assert list(placed([], 0)) == [] and not list(tmp_path.iterdir())
