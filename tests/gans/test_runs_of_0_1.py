"""A run's directory that 0.1 wrote: it is read, sampled from, and the same command goes on in it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fixtures_0_1.make import command, images, some

from sparse_plugin import Attachment
from sparse_plugin.commands.cli import cli
from sparse_plugin.gans import trained
from sparse_plugin.runs import checkpoints

FOLDER = Path(__file__).parents[1] / "fixtures_0_1"
SAVED = torch.load(FOLDER / "run.pt", weights_only=True)


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(FOLDER / "run", tmp_path / "run"))


def test_its_generator_is_attached_and_makes_the_same_image(run):
    found = trained.load_trained(run)
    assert found.step == 1 and str(Attachment.of(found.generator).regularizer) == "l0_inf(k=2)"
    with torch.no_grad():
        torch.testing.assert_close(found.generator(SAVED["z"], None), SAVED["image"], rtol=1e-4, atol=1e-5)


def test_the_same_command_goes_on_to_the_same_weights(run, tmp_path):
    data = tmp_path / "images.npz"
    np.savez(data, images=images())
    done = CliRunner().invoke(cli, command(run, data)[2:])
    assert done.exit_code == 0, done.output
    _, tensors = checkpoints.load(run / "checkpoints", 2)
    torch.testing.assert_close(some(tensors["generator"]), SAVED["after"], rtol=1e-3, atol=1e-5)
