"""Who lost its run to another stops before it writes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gan_runs import log, same, train, weights
from leases import ELSEWHERE, written

from sparse_plugin.runs import lease, process
from sparse_plugin.runs.lease import FILE
from sparse_plugin.runs.rundir import BusyError, RunDirectory

TRAIN = """
import sys
from pathlib import Path
from gan_runs import log, same, train, weights
from sparse_plugin.runs.rundir import BusyError
print("begun", flush=True)
try:
    train("dcgan", Path(sys.argv[1]), steps=int(sys.argv[2]), checkpoint_every=5, log_every=1)
except BusyError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
def test_who_was_suspended_and_taken_over_stops_before_it_writes(tmp_path, monkeypatch):
    monkeypatch.setenv(lease.VARIABLE, "0.1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    folder, steps = tmp_path / "a", 60
    first = subprocess.Popen([sys.executable, "-c", TRAIN, str(folder), str(steps)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while RunDirectory(folder).step < 5:
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)
    while not process.stopped(first.pid):
        time.sleep(0.01)
    at = RunDirectory(folder).step
    assert at < steps
    train("dcgan", folder, steps=steps, checkpoint_every=5, log_every=1)
    kept = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and FILE not in path.name}
    first.send_signal(signal.SIGCONT)
    assert "is in the hands of another process" in first.communicate(timeout=60)[1] and first.returncode == 1
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and FILE not in path.name} == kept
    train("dcgan", tmp_path / "b", steps=steps, checkpoint_every=5, log_every=1)
    assert not same(weights(folder, steps), weights(tmp_path / "b", steps))
    logged = [line["step"] for line in log(folder)]
    assert logged == list(range(1, steps + 1))


@pytest.mark.parametrize("how", ["taken over", "deleted"])
def test_who_lost_its_lease_writes_no_checkpoint_any_more(how, tmp_path, monkeypatch):
    from sparse_plugin.gans.trainer import Trainer

    step = Trainer.train_step

    def stolen(self, before):
        if before == 2:
            next((tmp_path / "a").glob(f"{FILE}*")).unlink()
            if how == "taken over":
                written(tmp_path / "a", ".other", **ELSEWHERE)
        step(self, before)

    monkeypatch.setattr(Trainer, "train_step", stolen)
    with pytest.raises(BusyError, match="is in the hands of another process, which found no sign of life of this one"):
        train("dcgan", tmp_path / "a", steps=4, checkpoint_every=2)
    assert RunDirectory(tmp_path / "a").step == 2
    assert len(list((tmp_path / "a").glob(f"{FILE}*"))) == (how == "taken over")  # the other's is left alone
