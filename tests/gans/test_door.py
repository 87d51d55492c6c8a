"""A GAN from outside of the package: in one file, or in an installed package, it is trained, sampled, measured and tabled."""

import json
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sparse_plugin import Attachment
from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError
from sparse_plugin.gans import Gan, Recipe, architectures, recipe, register_gan
from sparse_plugin.gans.gan import GANS, gan
from sparse_plugin.gans.objectives import Objective
from sparse_plugin.gans.trained import load_trained
from sparse_plugin.runs import checkpoints
from sparse_plugin.support.user_files import import_named

# A least-squares GAN (Mao et al. 2017) with a hyperparameter of its own.
LSGAN = '''
from dataclasses import dataclass

from torch import nn

from sparse_plugin.gans import Gan, Recipe
from sparse_plugin.gans.objectives import Objective, noise


@dataclass(frozen=True)
class LeastSquares(Recipe):
    target: float = 1.0


class LeastSquaresObjective(Objective):
    def terms(self, role, networks, real, progress):
        fake = networks.discriminator(networks.generator(noise(self.recipe, len(real.images), real.images.device), None))
        if role == "generator":
            return {"adversarial": (fake - self.recipe.target).square().mean()}
        true = networks.discriminator(real.images)
        return {"adversarial": (true - self.recipe.target).square().mean() + fake.square().mean()}


class Critic(nn.Sequential):
    def forward(self, images, labels=None):
        return super().forward(images)[:, 0]


class Decoder(nn.Sequential):
    def forward(self, z, labels=None):
        return super().forward(z)


def networks(recipe, width, classes):
    wide = max(8, round(recipe.channels * width))
    up = nn.ConvTranspose2d(wide, 3, 4, 2, 1)
    generator = Decoder(nn.Linear(recipe.z, wide * 256), nn.Unflatten(1, (wide, 16, 16)), nn.ReLU(), up, nn.Tanh())
    return generator, Critic(nn.Conv2d(3, wide, 4, 4), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(wide * 64, 1))


GAN = Gan((LeastSquares("lsgan", "LSGAN", "Mao et al. 2017", channels=64, steps=10, z=16, batch=8),), networks, LeastSquaresObjective)
'''


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    """What a test registers or installs is forgotten after it."""
    local, modules = dict(GANS._local), set(sys.modules)
    yield
    GANS._local.clear()
    GANS._local.update(local)
    GANS._installed = None
    for name in set(sys.modules) - modules:
        if "lsgan" in name:
            del sys.modules[name]


@pytest.fixture
def as_file(tmp_path):
    path = tmp_path / "my_lsgan.py"
    path.write_text(LSGAN + "\nfrom sparse_plugin.gans import register_gan\nregister_gan(GAN)\n")
    return ["--import", str(path)]


@pytest.fixture
def as_package(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "their_lsgan-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their_lsgan\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sparse_plugin.gans]\nlsgan = their_lsgan:GAN\n")
    (site / "their_lsgan.py").write_text(LSGAN)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(GANS, "_installed", None)
    return []


@pytest.fixture
def data(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    return str(tmp_path / "images.npz")


@pytest.mark.parametrize("door", ["as_file", "as_package"])
def test_a_gan_of_somebody_else_is_trained_resumed_and_sampled(door, request, tmp_path, data):
    imports = request.getfixturevalue(door)
    run = tmp_path / "run"
    asked = ["train", "lsgan", "--data", data, "--run", str(run), "--sparse", "l0_inf", "--device", "cpu", *imports]
    done = CliRunner().invoke(cli, [*asked, "--steps", "3", "--checkpoint-every", "2"])
    assert done.exit_code == 0 and "3 steps of LSGAN" in done.output, done.output
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["target"] == 1.0 and config["sparse"]["k"] == 0.25  # the regularizer's default
    again = CliRunner().invoke(cli, [*asked, "--steps", "3"])
    assert again.exit_code == 0 and "nothing was done" in again.output
    found = load_trained(run)
    assert found.recipe == recipe("lsgan") and type(found.recipe).__name__ == "LeastSquares"
    images = torch.cat(list(found.sample(5)))
    assert images.shape == (5, 3, 32, 32) and images.float().std() > 0
    (gamma,) = Attachment.of(found.generator).measure(*found.inputs(2))
    assert gamma.sparsity <= 25
    assert set(checkpoints.load(run / "checkpoints", 3)[1]) == {"generator", "discriminator", "optimizers"}


def test_what_is_registered_is_named_after_the_papers(as_package):
    assert architectures()[-2:] == ("lsgan", "vae") and architectures()[0] == "dcgan" and len(architectures()) == 11
    assert "diffcrbiggan, lsgan or vae" in " ".join(CliRunner().invoke(cli, ["train", "--help"]).output.split())
    assert gan("lsgan").recipes[0].title == "LSGAN"
    with pytest.raises(ConfigError, match="lsgan is there for 32 pixels, and 64 were asked for; dcgan, sngan, sagan"):
        recipe("lsgan", 64)


def test_it_is_a_row_of_a_table(as_file, tmp_path, data):
    out = ["--out", str(tmp_path / "out"), "--data", data, "--archs", "lsgan", "--methods", "vanilla,l0"]
    said = CliRunner().invoke(cli, ["experiment", "table1", *out, "--seeds", "1", "--dry-run", *as_file])
    assert said.exit_code == 0 and "LSGAN, l0-k=0.25, seed 0: 1500 steps, width 0.125" in said.output, said.output


def test_a_run_of_a_gan_that_is_not_here_says_which(as_file, tmp_path, data):
    run = ["train", "lsgan", "--data", data, "--run", str(tmp_path / "run"), "--steps", "1", "--device", "cpu"]
    assert CliRunner().invoke(cli, [*run, *as_file]).exit_code == 0
    GANS.unregister("lsgan")
    for asked in (run, ["evaluate", str(tmp_path / "run"), "--data", data]):
        done = CliRunner().invoke(cli, asked)
        assert done.exit_code == 2 and "there is no architecture 'lsgan'" in done.output


def test_the_file_says_what_it_imports_once(as_file):
    import_named(as_file[1])
    import_named(as_file[1])
    assert "lsgan" in architectures()


def _recipe(**changes):
    return Recipe(**{"arch": "mine", "title": "Mine", "source": "me", "channels": 8, "steps": 1, **changes})


@pytest.mark.parametrize(
    ("recipes", "said"),
    [
        ((), "give one or more Recipes"),
        (("dcgan",), "give one or more Recipes"),
        ((_recipe(), _recipe(arch="other", size=64)), "of one arch"),
        ((_recipe(), _recipe(z=3)), "for 32, 32 pixels"),
    ],
)
def test_what_is_no_gan_is_refused(recipes, said):
    with pytest.raises(ConfigError, match=said):
        Gan(recipes, lambda *_: ())


def test_names_that_are_taken_or_are_none_are_refused():
    with pytest.raises(ConfigError, match="there are two gans 'dcgan'"):
        register_gan(Gan((_recipe(arch="dcgan"),), lambda *_: ()))
    assert gan("dcgan").recipes[0].title == "DCGAN"
    with pytest.raises(ConfigError, match="is no name for a gan"):
        register_gan(Gan((_recipe(arch="My GAN"),), lambda *_: ()))
    with pytest.raises(ConfigError, match="give a Gan"):
        register_gan(object())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((), "return a generator, a discriminator where there is one"),
        ((torch.nn.Conv2d(1, 1, 1), 3), "return a generator, a discriminator where there is one"),
        ((torch.nn.Conv2d(1, 1, 1),), "the objective of mine updates the discriminator, and its networks have none with parameters"),
        ((torch.nn.Identity(), torch.nn.Conv2d(1, 1, 1)), "the objective of mine updates the generator, and its networks have none"),
    ],
    ids=["none", "no module", "one", "no parameters"],
)
def test_networks_that_are_none_are_refused(made, said, tmp_path, data):
    register_gan(Gan((_recipe(),), lambda *_: made))
    done = CliRunner().invoke(cli, ["train", "mine", "--data", data, "--run", str(tmp_path / "run"), "--batch", "8", "--device", "cpu"])
    assert done.exit_code == 2 and said in done.output
    assert not (tmp_path / "run").exists()


def test_the_built_in_ones_come_through_the_same_door():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    group = text.partition('[project.entry-points."sparse_plugin.gans"]')[2].partition("[")[0]
    for arch in architectures():
        assert f'{arch} = "sparse_plugin.gans.{arch}:GAN"' in group
        assert all(found.source for found in gan(arch).recipes)
        assert gan(arch).objective is None or issubclass(gan(arch).objective, Objective)
    assert textwrap.dedent(LSGAN).count("register") == 0
