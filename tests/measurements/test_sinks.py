"""Where measurements go: what may be asked for, and what is a scalar."""

import gc
import logging

import pytest
from generators import Residual, noise
from logged import NUMBERS, Training, said

from sparse_plugin import SparsityConfig, attach
from sparse_plugin.errors import ConfigError
from sparse_plugin.measurements.log import FILE, Recorder, scalars
from sparse_plugin.support import living as support_living
from sparse_plugin.support.living import Living
from sparse_plugin.support.sinks.sink import SINKS, Sink


def test_further_numbers_of_a_record_are_scalars_too():
    record = {"step": 3, "site": "a.b", "level": 2, "k": 0.5, "penalty": None, "atom_usage": [1.0], "bound": True, "share": 7}
    assert scalars([record]) == {"a.b": {"k": 0.5, "share": 7}}
    assert scalars([{**record, "site": ""}, {**record, "site": "", "level": 1}]).keys() == {"level2", ""}


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
