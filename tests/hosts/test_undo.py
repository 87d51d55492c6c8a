"""Switching on that fails, and switching off, leave the process as it was."""

import importlib
import os
import sys

import pytest
from torch import nn
from torch.optim import optimizer

import sparse_plugin
from sparse_plugin.attachment import events
from sparse_plugin.errors import AttachmentError, ConfigError
from sparse_plugin.hosts import current, enable
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.hosts.undo import Undo
from sparse_plugin.support import advice


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Conv2d(4, 3, 3)


def traces():
    """Everything in the process that switching on may change."""
    return {
        "environment": dict(os.environ),
        "finders": list(sys.meta_path),
        "inits": (Mine.__init__, vars(nn.Module).get("__init_subclass__"), vars(Mine).get("__init_subclass__")),
        "listeners": [list(event._listeners) for event in events.ALL],
        "steps": len(optimizer._global_optimizer_pre_hooks),
        "reader": advice.reader(),
    }


@pytest.fixture
def host():
    names = []

    def register(**methods):
        kind = type("Broken", (sparse_plugin.Host,), methods)
        names.append("broken")
        return sparse_plugin.register_host(kind("broken", generators=[f"{__name__}:Mine"], losses=["os:fsencode"]))

    yield register
    for name in names:
        HOSTS.unregister(name)


def fails(self, session):
    raise RuntimeError("a host's own mistake")


def interrupted(self, session):
    session.undo.append(lambda: os.environ.pop("BROKEN_HOST", None))
    os.environ["BROKEN_HOST"] = "1"
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("methods", "error"),
    [({"prepare": fails}, RuntimeError), ({"patch": fails}, RuntimeError), ({"patch": interrupted}, KeyboardInterrupt)],
)
@pytest.mark.parametrize("named", ["broken", None])
def test_a_host_that_fails_leaves_nothing(host, methods, error, named, monkeypatch):
    host(**methods)
    monkeypatch.setenv("SPARSE_PLUGIN_CONFIG", '{"regularizer": "l1"}')
    monkeypatch.setenv("PYTHONPATH", "theirs")
    before = traces()
    with pytest.raises(error):
        sparse_plugin.enable(named, "l0_inf", k=2)
    assert traces() == before
    HOSTS.unregister("broken")
    sparse_plugin.enable("mimicry", "l0_inf", k=2)
    sparse_plugin.disable()
    assert traces() == before


def test_a_file_that_fails_leaves_nothing(tmp_path):
    before = traces()
    for text in ("1 / 0", "raise SystemExit(0)", "import no_such_module", "def f(:"):
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(ConfigError, match="mine.py. fails"):
            sparse_plugin.enable(None, "l0", k=2, imports=[str(tmp_path / "mine.py")])
        assert traces() == before


def test_switching_off_takes_all_of_it_back(host, monkeypatch):
    host()
    monkeypatch.delenv("PYTHONPATH", raising=False)
    before = traces()
    session = sparse_plugin.enable(None, "l0_inf", k=2, generator=f"{__name__}:Mine")
    assert traces() != before and os.environ["SPARSE_PLUGIN_BOOT"]
    assert sparse_plugin.Attachment.of(Mine()) is not None
    session.undo.append(lambda: 1 / 0)  # somebody's own, which fails: the others are taken back all the same
    sparse_plugin.disable()
    assert traces() == before and sparse_plugin.Attachment.of(Mine()) is None


def test_a_path_that_grew_meanwhile_keeps_what_is_not_ours(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "theirs")
    sparse_plugin.enable("mimicry", "l0_inf", k=2)
    os.environ["PYTHONPATH"] += os.pathsep + "later"
    sparse_plugin.disable()
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["theirs", "later"])


def test_an_undo_that_fails_is_said(capsys):
    sparse_plugin.enable("mimicry", "l0_inf", k=2).undo.append(lambda: 1 / 0)
    sparse_plugin.disable()
    assert "could not be taken back: ZeroDivisionError" in capsys.readouterr().err


def test_what_fails_is_taken_back_alone_and_the_latest_first():
    done, undo = [], Undo()

    def do(name):
        done.append(name)
        undo.append(lambda: done.remove(done[-1]) if done[-1] == name else done.append(f"{name} out of turn"))

    do("first")
    with undo.attempt():
        do("second")
        with pytest.raises(ZeroDivisionError), undo.attempt():
            do("third")
            with undo.attempt():
                do("fourth")
            1 / 0  # noqa: B018
        assert done == ["first", "second"]
        do("fifth")
    with pytest.raises(KeyboardInterrupt), undo.attempt():
        do("sixth")
        raise KeyboardInterrupt
    assert done == ["first", "second", "fifth"]
    undo.close()
    assert done == []
    undo.close()
    assert done == []


def test_a_patch_may_enter_what_is_left_again(host):
    """`session.undo` is an ExitStack: context managers and callbacks of a patch's own end with the session."""
    left = []

    class Entered:
        def __enter__(self):
            left.append("in")

        def __exit__(self, *error):
            left.append("out")

    def patch(self, session):
        session.undo.enter_context(Entered())
        session.undo.callback(left.append, "called")

    host(patch=patch)
    sparse_plugin.enable("broken", "l0_inf", k=2)
    assert left == ["in"]
    sparse_plugin.disable()
    assert left == ["in", "called", "out"]


def test_an_environment_that_cannot_be_set_leaves_nothing(monkeypatch):
    before = traces()
    monkeypatch.setattr(enable, "set_environment", lambda variables: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sparse_plugin.enable(None, "l0", k=2)
    assert traces() == before and current.session() is None


def test_a_cell_that_runs_twice(tmp_path):
    first = sparse_plugin.enable("mimicry", "l0_inf", k=2)
    assert sparse_plugin.enable("mimicry", "l0_inf", k=2) is first
    config = sparse_plugin.SparsityConfig.from_mapping({"regularizer": "l0_inf", "k": 2, "host": "mimicry"})
    assert sparse_plugin.enable(config=config) is first
    for other in ({"k": 3}, {"k": 2, "measure_every": 7}, {"k": 2.0 / 4}):
        with pytest.raises(AttachmentError, match=r"on already, with l0_inf\(k=2, .*disable\(\) first"):
            sparse_plugin.enable("mimicry", "l0_inf", **other)
    with pytest.raises(AttachmentError, match="asks for l1"):
        sparse_plugin.enable(None, "l1", weight=1.0)


def test_a_module_that_is_loaded_again_is_patched_again_and_once(host, tmp_path, monkeypatch):
    (tmp_path / "their_loss.py").write_text("def loss(x):\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    added = []
    session = sparse_plugin.enable("mimicry", "l1", weight=1.0)

    def adding(wrapped, instance, args, kwargs):
        added.append(1)
        return wrapped(*args, **kwargs)

    session.when_imported("their_loss", lambda module: session.wrap(module, "loss", adding))
    import their_loss

    original_loader = their_loss.__loader__
    for times in (1, 2, 3):
        their_loss.loss(1)
        assert len(added) == times
        importlib.reload(their_loss)
    assert type(their_loss.__loader__) is type(original_loader)
    sparse_plugin.disable()
    assert their_loss.loss(1) == 1 and len(added) == 3
    del sys.modules["their_loss"]
