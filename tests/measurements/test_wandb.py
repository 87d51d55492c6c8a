"""Measurements in W&B runs that a script has live, read back from what these wrote."""

import json
import time

import pytest
from logged import NUMBERS, Training, said

from sparse_plugin.measurements.log import FILE, read


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    wandb = pytest.importorskip("wandb")
    yield wandb
    if wandb.run is not None:
        wandb.finish()


def kept(folder):
    """The rows and the metrics in the offline file of a run that was finished; it is a log of records, in blocks."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    for _ in range(100):
        found = []
        data, at, record = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
            record += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in (1, 4):  # whole, or its last part
                found.append(wandb_internal_pb2.Record.FromString(record))
                record = b""
        if any(each.WhichOneof("record_type") == "exit" for each in found):
            break
        time.sleep(0.1)  # it is written behind the script's back
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in each.history.item}
        for each in found
        if each.WhichOneof("record_type") == "history"
    ]
    # Some releases write out what a glob stands for too, name by name.
    metrics = [each.metric for each in found if each.WhichOneof("record_type") == "metric" and each.metric.glob_name]
    return [{key: row[key] for key in row if key not in ("_runtime", "_timestamp")} for row in rows], metrics


HOSTS = {
    "its steps counted by W&B": lambda run, step: run.log({"loss": step}),
    "its own steps": lambda run, step: run.log({"loss": step}, step=10 * step),
    "its own steps, now and then": lambda run, step: run.log({"loss": step}, step=step) if step % 2 == 0 else None,
    "its own steps, committed": lambda run, step: run.log({"loss": step}, step=10 * step, commit=True),
    "parts of a row": lambda run, step: (run.log({"loss": step}, commit=False), run.log({"other": step})),
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_run_gets_them_and_the_hosts_rows_are_what_they_were(wandb, tmp_path, host):
    own = []
    for log in (["jsonl"], ["jsonl", "wandb"]):
        folder = tmp_path / str(len(log))
        folder.mkdir()
        run = wandb.init(dir=str(folder), project="test")
        training = Training(log=log, run_dir=folder)
        for step in range(4):
            training.steps(1)
            HOSTS[host](run, step)
        own.append([run.step])
        run.finish()
        rows, metrics = kept(folder)
        theirs = [{key: row[key] for key in row if "sparse_plugin" not in key} for row in rows]
        own[-1] += [row for row in theirs if row.keys() != {"_step"}]
    assert own[0] == own[1] and len(own[0]) > 2
    assert [(m.glob_name, m.step_metric) for m in metrics] == [("sparse_plugin/*", "sparse_plugin/step")]
    lines = {line["step"]: line for line in read(folder / FILE)}
    ours = [row for row in rows if "sparse_plugin/step" in row]
    # What comes between two rows of the host replaces what came before.
    assert len(ours) == {"its own steps": 3, "its own steps, now and then": 2}.get(host, 4)
    for row in ours:
        line = lines[row["sparse_plugin/step"]]
        assert {name: row[f"sparse_plugin/out/{name}"] for name in NUMBERS} == {name: line[name] for name in NUMBERS}


def test_no_run_is_begun_and_one_that_comes_later_is_used(wandb, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    training = Training(log="wandb")
    training.steps(2)
    (sentence,) = said(caplog)
    assert sentence.startswith("log asks for wandb, and no W&B run is live") and wandb.run is None
    assert not list(tmp_path.glob("wandb"))
    for folder in ("one", "two"):  # a sweep in one process
        (tmp_path / folder).mkdir()
        run = wandb.init(dir=str(tmp_path / folder), project="test")
        training.steps(1)
        run.finish()
        training.steps(1)
        rows, metrics = kept(tmp_path / folder)
        assert [row["sparse_plugin/step"] for row in rows] == [3 if folder == "one" else 5] and len(metrics) == 1
    assert len(said(caplog)) == 1


def test_a_run_that_is_nobodys_current_one(wandb, tmp_path):
    run = wandb.init(dir=str(tmp_path), project="test", reinit="create_new")
    assert wandb.run is None
    training = Training(log="wandb")
    training.steps(1)
    run.finish()
    training.steps(1)
    assert [row["sparse_plugin/step"] for row in kept(tmp_path)[0]] == [1]


def test_a_disabled_run_is_a_run(wandb, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    wandb.init(mode="disabled")
    Training(log="wandb").steps(2)
    assert not said(caplog) and not list(tmp_path.iterdir())
