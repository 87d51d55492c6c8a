"""Measurements in TensorBoard writers that a script has open, read back from what these wrote."""

import copy
import os
import pickle
import weakref

import pytest
import torch
from logged import NUMBERS, Training, said

from sparse_plugin.measurements.log import FILE, read


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
