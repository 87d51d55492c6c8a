"""Measurements in TensorBoard writers and W&B runs that a script has open, read back from what these wrote."""

import copy
import gc
import json
import logging
import os
import pickle
import time
import weakref

import pytest
import torch
from generators import Residual, noise

from sparse_plugin import SparsityConfig, attach
from sparse_plugin.errors import ConfigError
from sparse_plugin.measurements.log import FILE, Recorder, read, scalars
from sparse_plugin.support import living as support_living
from sparse_plugin.support.living import Living
from sparse_plugin.support.sinks.sink import SINKS, Sink

NUMBERS = {"sparsity", "sparsity_before", "never_used", "unused_so_far"}


def said(caplog):
    """What the plugin said."""
    return [record.getMessage() for record in caplog.records if record.name == "sparse_plugin"]


class Training:
    """A script's training, attached; `steps` takes some more."""

    def __init__(self, name="l0_inf", every=1, log=("tensorboard",), **settings):
        self.generator = Residual()
        self.attachment = attach(self.generator, name, log=log, measure_every=every, **(settings or {"k": 2}))
        self.optimizer = torch.optim.SGD(self.generator.parameters(), 0.01)

    def steps(self, count):
        for _ in range(count):
            self.optimizer.zero_grad()
            self.generator(noise()).square().mean().backward()
            self.optimizer.step()


def board(folder):
    """{tag: [(step, value)]} of a folder's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture(params=["torch.utils.tensorboard", "tensorboardX"])
def writer_class(request):
    return pytest.importorskip(request.param).SummaryWriter


@pytest.fixture
def torch_writer():
    return pytest.importorskip("torch.utils.tensorboard").SummaryWriter


# ---- TensorBoard ----


def test_a_writer_gets_what_the_lines_hold(tmp_path, writer_class):
    with writer_class(str(tmp_path / "events")) as writer:
        training = Training("l1", every=2, log=["jsonl", "tensorboard"], weight=0.5, run_dir=tmp_path)
        training.steps(5)
        writer.add_scalar("loss", 3.0, 70)
    found, lines = board(tmp_path / "events"), list(read(tmp_path / FILE))
    assert found.pop("loss") == [(70, 3.0)]
    assert found.keys() == {f"sparse_plugin/out/{name}" for name in NUMBERS | {"penalty"}}
    for tag, values in found.items():
        assert values == [(line["step"], pytest.approx(line[tag.rpartition("/")[2]])) for line in lines]
    assert [line["step"] for line in lines] == [1, 2, 4]


def test_levels_of_one_site_are_told_apart(tmp_path, torch_writer):
    with torch_writer(str(tmp_path)):
        Training("ml_csc", k=3).steps(1)
    assert {tag.rpartition("/")[0] for tag in board(tmp_path)} == {"sparse_plugin/out", "sparse_plugin/out/level2"}


def test_further_numbers_of_a_record_are_scalars_too():
    record = {"step": 3, "site": "a.b", "level": 2, "k": 0.5, "penalty": None, "atom_usage": [1.0], "bound": True, "share": 7}
    assert scalars([record]) == {"a.b": {"k": 0.5, "share": 7}}
    assert scalars([{**record, "site": ""}, {**record, "site": "", "level": 1}]).keys() == {"level2", ""}


def test_a_scheduled_setting_is_a_curve(tmp_path, torch_writer):
    with torch_writer(str(tmp_path)):
        training = Training(k={"start": 1.0, "end": 0.25, "steps": 4})
        training.steps(3)
        copy.deepcopy(training.generator)
        pickle.dumps(training.generator)  # which holds nothing of a writer
    assert board(tmp_path)["sparse_plugin/out/k"] == [(1, 1.0), (2, 0.8125), (3, 0.625)]


def test_none_is_started_and_one_that_comes_later_is_used(tmp_path, monkeypatch, caplog, writer_class):
    monkeypatch.chdir(tmp_path)
    training = Training()
    training.steps(3)
    (sentence,) = said(caplog)
    assert sentence.startswith("log asks for tensorboard, and no SummaryWriter") and not list(tmp_path.iterdir())
    writer = writer_class("late")
    training.steps(2)
    writer.close()
    training.steps(2)  # adding to a closed writer would open another file
    assert [step for step, _ in board("late")["sparse_plugin/out/sparsity"]] == [4, 5]
    assert len(list((tmp_path / "late").iterdir())) == 1
    with writer_class("next"):
        training.steps(1)
    assert [step for step, _ in board("next")["sparse_plugin/out/sparsity"]] == [8]
    assert len(said(caplog)) == 1


def test_of_several_writers_the_highest_that_was_opened_first(tmp_path, torch_writer):
    """As hosts have them: one for each curve below the run's own, or one for training and one for validation."""
    names = ("run/data/errD", "run/train", "run/test", "run/train/again")
    writers = [torch_writer(str(tmp_path / name)) for name in names]
    training = Training()
    training.steps(1)
    writers[1].close()
    training.steps(1)
    for writer in writers:
        writer.close()
    steps = [[step for step, _ in board(tmp_path / name).get("sparse_plugin/out/sparsity", [])] for name in names]
    assert steps == [[], [1], [2], []]


def test_two_generators_have_names_of_their_own(tmp_path, torch_writer):
    with torch_writer(str(tmp_path)):
        first, second = Training(), Training()
        for training in (first, second):
            training.steps(1)
        del first, training
        second.steps(1)
    found = board(tmp_path)
    assert [step for step, _ in found["sparse_plugin/out/sparsity"]] == [1]
    assert [step for step, _ in found["sparse_plugin_2/out/sparsity"]] == [1, 2]


def test_a_derived_writer_that_fails_is_told_once_and_ends_nothing(tmp_path, caplog, torch_writer):
    class Full(torch_writer):
        def add_scalar(self, *args, **kwargs):
            raise OSError(28, "No space left on device")

    with Full(str(tmp_path / "events")):
        training = Training(log=["jsonl", "tensorboard"], run_dir=tmp_path)
        training.steps(3)
    (sentence,) = said(caplog)
    assert "tensorboard cannot be written: OSError: No space left on device; the run goes on" in sentence.replace("[Errno 28] ", "")
    assert len(list(read(tmp_path / FILE))) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_leaves_its_parents_writer_alone(tmp_path, torch_writer):
    """What drains the writer's queue stays behind: a full one would wait for ever."""
    with torch_writer(str(tmp_path), max_queue=1):
        training = Training()
        training.steps(1)
        child = os.fork()
        if child == 0:
            training.attachment.recorder.write(*({"step": 2, "site": "out", "level": 1, "sparsity": 1.0} for _ in range(9)))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert [step for step, _ in board(tmp_path)["sparse_plugin/out/sparsity"]] == [1]


def test_only_the_first_rank_says_that_none_is_live(monkeypatch, caplog):
    monkeypatch.setenv("RANK", "1")
    Training().steps(2)
    assert not said(caplog)
    monkeypatch.setenv("RANK", "0")
    first, second = Training(), Training()
    first.steps(1)
    second.steps(1)
    assert len(said(caplog)) == 1


def test_a_writer_is_not_kept_alive(tmp_path, torch_writer):
    writer = torch_writer(str(tmp_path))
    training = Training()
    training.steps(1)
    gone = weakref.ref(writer)
    writer.close()
    del writer
    assert gone() is None and training.attachment.recorder.latest


def test_training_is_the_same_to_the_bit(tmp_path, torch_writer):
    results = []
    for log in (["jsonl"], ["jsonl", "tensorboard"]):
        torch.manual_seed(0)
        with torch_writer(str(tmp_path / str(len(log)))):
            training = Training(log=log, run_dir=tmp_path)
            training.steps(3)
        results.append((torch.cat([p.flatten() for p in training.generator.parameters()]), torch.rand(3)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert board(tmp_path / "1") == {} and board(tmp_path / "2")


def test_looking_again_costs_nothing_while_nothing_came(monkeypatch):
    class Thing:
        pass

    class Below(Thing):
        pass

    calls = []
    living = Living(lambda: calls.append(1) or [Thing])
    assert living() == []
    one = Below()
    assert living() == [one]
    monkeypatch.setattr(support_living, "_PATIENCE", 1e9)
    living._again = 0.0
    living()
    with monkeypatch.context() as without:
        without.setattr(gc, "get_referrers", lambda *kinds: pytest.fail("it is searched again"))
        for _ in range(20):
            assert living() == [one]
    assert len(calls) == 23
    two = Thing()
    assert {id(each) for each in living()} == {id(one), id(two)}


# ---- Weights & Biases ----


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


# ---- what may be asked for ----


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ([], "log is \\[\\], which names no place"),
        (["tensorbord"], "there is no sink 'tensorbord'; there are .*Did you mean 'tensorboard'"),
        ("wanb", "Did you mean 'wandb'"),
        (["tensorboard", "tensorboard"], "names tensorboard twice"),
        (3, "sparse.log is 3; give a list of sinks"),
        ([3], "sparse.log is \\[3\\]; give a list of sinks"),
        ({"wandb": True}, "give a list of sinks"),
    ],
)
def test_what_is_no_list_of_sinks_is_refused(log, sentence):
    with pytest.raises(ConfigError, match=sentence):
        attach(Residual(), "l0_inf", k=2, log=log)
    with pytest.raises(ConfigError, match=sentence):
        SparsityConfig.from_mapping({"regularizer": "l0_inf", "k": 2, "log": log})


def test_a_package_that_is_not_installed_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(SINKS.get("wandb"), "packages", ("wandb_of_nobody",))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wandb_of_nobody").mkdir()  # as W&B leaves in the working directory
    with pytest.raises(ConfigError, match="log asks for wandb, which needs wandb_of_nobody, not installed here; run `pip"):
        attach(Residual(), "l0_inf", k=2, log="wandb")
    (tmp_path / "wandb_of_nobody" / "__init__.py").touch()
    attach(Residual(), "l0_inf", k=2, log="wandb")


def test_lines_need_a_place():
    attachment = attach(Residual(), "l0_inf", k=2, example_input=noise())
    with pytest.raises(ConfigError, match="run_dir is None"):
        attachment.log_to(None, 1)
    with pytest.raises(ConfigError, match="no run_dir"):
        Recorder(None, 1)
    with pytest.raises(ConfigError, match="no sink 'tensorbord'"):
        attachment.log_to("x", 1, log=["tensorbord"])
    assert attachment.log_to(None, 1, log="tensorboard").path is None


def test_lines_begun_later_leave_the_other_sinks(tmp_path):
    attachment = attach(Residual(), "l0_inf", k=2, example_input=noise(), log="tensorboard")
    recorder = attachment.log_to(tmp_path, 1)
    assert recorder.path == tmp_path / FILE and [outlet.name for outlet in recorder.outlets] == ["jsonl", "tensorboard"]


def test_a_sink_of_somebody_elses(caplog):
    """One class, registered under a name, is all that a new kind takes."""
    got = []

    class Screen(Sink):
        def write(self, step, records, scalars):
            got.append((step, records[0]["site"], sorted(scalars["out"])))
            return "the screen"

    SINKS.register("screen", Screen, __file__)
    try:
        with caplog.at_level(logging.WARNING):
            Training(log=["screen"], every=2).steps(3)
        assert got == [(step, "out", sorted(NUMBERS)) for step in (1, 2)] and not said(caplog)
    finally:
        SINKS.unregister("screen")
