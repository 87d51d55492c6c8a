"""State dicts that 0.1 wrote: they load, and the generator projects and makes the images that it made there."""

from pathlib import Path

import pytest
import torch
from fixtures_0_1.make import REGULARIZERS, generator

from sparse_plugin import Attachment, attach
from sparse_plugin.attachment.strip import strip_file
from sparse_plugin.errors import CheckpointError

FILE = Path(__file__).parents[1] / "fixtures_0_1" / "attached.pt"
SAVED = torch.load(FILE, weights_only=True)


@pytest.mark.parametrize("waits", [False, True], ids=["named", "found at the first call"])
@pytest.mark.parametrize("name", REGULARIZERS)
def test_it_is_the_generator_that_was_saved(name, waits):
    saved = SAVED[name]
    net = generator()
    how = {"sites": "3"}
    if waits:
        how = {"example_input": saved["z"]} if name == "ml_csc" else {}
    attach(net, name, **how, **REGULARIZERS[name])
    net.eval().load_state_dict(saved["state"])
    with torch.no_grad():
        torch.testing.assert_close(net(saved["z"]), saved["image"], rtol=0, atol=1e-12)
    assert list(net.state_dict()) == list(saved["state"])
    torch.testing.assert_close(net.state_dict(), saved["state"], rtol=0, atol=0)
    torch.testing.assert_close(Attachment.of(net).kernel().atoms, saved["kernel"], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["l0", "l0_inf", "ml_csc"])
def test_it_is_another_one_without_its_constraint(name):
    net = generator().eval()
    net.load_state_dict({k: v for k, v in SAVED[name]["state"].items() if "sparse_plugin" not in k})
    with torch.no_grad():
        assert (net(SAVED[name]["z"]) - SAVED[name]["image"]).abs().max() > 1e-4


@pytest.mark.parametrize("name", REGULARIZERS)
def test_other_settings_are_refused(name):
    theirs = {"weight": 0.25} if name == "l1" else {"k": 0.75}
    net = generator()
    attach(net, name, sites="3", **{**REGULARIZERS[name], **theirs})
    with pytest.raises(CheckpointError, match=f"was trained with {name}"):
        net.load_state_dict(SAVED[name]["state"])


@pytest.mark.parametrize("name", ["l1", "l0", "l0_inf"])
def test_its_settings_can_be_stripped(name, tmp_path):
    torch.save(SAVED[name], tmp_path / "saved.pt")
    assert strip_file(tmp_path / "saved.pt", tmp_path / "clean.pt").startswith(f"{name}(")
    generator().load_state_dict(torch.load(tmp_path / "clean.pt", weights_only=True)["state"])
