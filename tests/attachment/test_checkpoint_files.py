"""The state_dicts in a checkpoint of somebody else's."""

import argparse

import pytest
import torch

from sparse_plugin.attachment.checkpoint_files import dicts, read, state_dicts, unwrapped
from sparse_plugin.errors import CheckpointError

W = torch.zeros(2)


@pytest.mark.parametrize(
    ("whole", "paths"),
    [
        ({"w": W}, [""]),
        ({"model": {"ema": {"w": W}, "raw": {"w": W}}, "step": 3}, ["model.ema", "model.raw"]),
        ({"g": {"w": W, "more": {"v": W}}}, ["g", "g.more"]),
        ({"g": {0: W}, "lists": [{"w": W}], "empty": {}}, []),
        ([{"w": W}], []),
    ],
)
def test_where_they_are(whole, paths):
    assert [path for path, _ in state_dicts(whole)] == paths


def test_a_pickle_that_contains_itself_ends():
    whole = {"w": W}
    whole["again"] = whole
    assert len(list(dicts(whole))) == 1 and next(iter(state_dicts(whole)))[0] == ""
    assert len(list(state_dicts(whole))) < 20


def test_dicts_in_lists_and_of_several_names_are_found_once():
    shared = {"w": W}
    assert list(dicts({"a": [shared, (shared,)], "b": shared}))[1:] == [shared]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", ""])
def test_what_wrappers_put_before_all_names(prefix):
    assert unwrapped({f"{prefix}a.w": 1, f"{prefix}b": 2}) == {"a.w": 1, "b": 2}


def test_a_prefix_of_some_names_is_the_generators_own():
    assert unwrapped({"module.w": 1, "b": 2}) == {"module.w": 1, "b": 2}


def test_both_formats_are_read_and_what_cannot_be_is_a_sentence(tmp_path):
    from safetensors.torch import save_file

    torch.save({"w": W}, tmp_path / "a.pth")
    save_file({"w": W}, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert torch.equal(read(str(tmp_path / name))["w"], W)
        (tmp_path / f"cut-{name}").write_bytes((tmp_path / name).read_bytes()[:20])
        with pytest.raises(CheckpointError, match="cannot be read"):
            read(str(tmp_path / f"cut-{name}"))
    for name in ("none.pth", "a\0.pth"):
        with pytest.raises(CheckpointError, match="there is no checkpoint"):
            read(str(tmp_path / name))
    with pytest.raises(CheckpointError, match="is a folder, and a checkpoint is a file; name one that is in it"):
        read(str(tmp_path))


@pytest.mark.parametrize("whole", ["module", "namespace"])
def test_what_holds_objects_says_what_to_save(whole, tmp_path):
    """As a generator that was saved as a whole, or beside its trainer's settings; torch's words advise to run it."""
    path = tmp_path / "a.pth"
    generator = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(generator if whole == "module" else {"G": generator.state_dict(), "opt": argparse.Namespace(lr=1)}, path)
    held = {"module": r"torch\.nn\.modules\.container\.Sequential", "namespace": r"argparse\.Namespace"}[whole]
    said = rf"it holds objects of Python \({held}\), which are not loaded"
    with pytest.raises(CheckpointError, match=f"a.pth cannot be read: {said}.*; save the state_dict alone: torch.save") as error:
        read(str(path))
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize(("content", "said"), [(b"hello", "it is no file that torch.save wrote"), (b"x", "holds objects of Python"), (b"", "it ends too early")])
def test_what_is_no_checkpoint_is_said_in_words(content, said, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"a.pth cannot be read: .*{said}"):
        read(str(tmp_path / "a.pth"))
