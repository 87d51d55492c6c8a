"""The variational autoencoder: a generator that is trained alone, and what comes back of images."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from gan_runs import CASES, DATA, Killed, dies, same, sparse, train, weights

from sparse_plugin import Attachment
from sparse_plugin.commands.cli import cli
from sparse_plugin.evaluate import outcome
from sparse_plugin.evaluate.reconstruction import PSNR
from sparse_plugin.gans import recipe
from sparse_plugin.gans.gan import build, gan, objective_of
from sparse_plugin.gans.objectives import Batch, Networks
from sparse_plugin.gans.trained import load_trained
from sparse_plugin.runs.methods import label_of, methods

LATENT = {"regularizer": "l0_inf", "k": 0.25, "sites": ["first"]}


def made():
    torch.manual_seed(0)
    return build(recipe("vae"), 1 / 16).generator


def test_the_loss_is_the_evidence_lower_bound():
    """Against torch.distributions, with the variance of the pixels that is the best for the batch."""
    vae = made()
    objective = objective_of(recipe("vae"), 0, keep=True)
    images = torch.rand(6, 3, 32, 32) * 2 - 1
    torch.manual_seed(1)
    terms = objective.terms("generator", Networks(vae), Batch(images, None), 0.0)
    torch.manual_seed(1)
    z = torch.randn(6, 256)
    mean, variance = vae.encode(images)
    code = torch.distributions.Normal(mean, (0.5 * variance).exp())
    back = vae.decode(code.loc + code.scale * z)
    pixels = torch.distributions.Normal(back, (back - images).square().mean().sqrt())
    assert terms["reconstruction"].item() == pytest.approx(-pixels.log_prob(images).mean().item(), rel=1e-5)
    prior = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert terms["divergence"].item() == pytest.approx(prior.item() / images[0].numel(), rel=1e-5)
    # Any other variance of the pixels is no better.
    for factor in (0.9, 1.1):
        other = torch.distributions.Normal(back, factor * pixels.stddev)
        assert -other.log_prob(images).mean() > terms["reconstruction"]


def test_it_learns(tmp_path):
    colours = torch.randint(0, 256, (24, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = colours.expand(-1, -1, 32, 32).contiguous()
    train("vae", tmp_path / "a", data=SimpleNamespace(images=images, labels=None), steps=60, batch=8, log_every=60)
    last = json.loads((tmp_path / "a/log.jsonl").read_text().splitlines()[-1])
    spread = (images / 127.5 - 1).var(0).mean().item()  # what the mean image leaves
    assert last["generator/reconstruction"] < 0.5 * (math.log(spread / 2) + math.log(2 * math.pi) + 1)


@pytest.mark.parametrize("config", [CASES["dcgan"], CASES["cgan"], CASES["wgan_gp"], sparse(**LATENT)], ids=["l0_inf", "l1", "ml_csc", "latent"])
def test_resumed_it_comes_to_the_same_bits(config, tmp_path, monkeypatch):
    train("vae", tmp_path / "a", config)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        dies(patched, 3)
        train("vae", tmp_path / "b", config)
    train("vae", tmp_path / "b", config)
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not any(name.startswith("discriminator") for name in weights(tmp_path / "a"))


@pytest.mark.parametrize(("config", "at"), [(CASES["dcgan"], "synthesis"), (sparse(**LATENT), "first")], ids=["Γ", "latent"])
def test_reconstructions_and_samples_pass_the_same_site(config, at, tmp_path):
    train("vae", tmp_path / "a", config)
    found = load_trained(tmp_path / "a")
    seen = []
    module = found.generator.get_submodule(at)
    module.register_forward_pre_hook(lambda _, args: seen.append((args[0] != 0).float().mean().item()))
    gan("vae").reconstruct(found.generator, torch.rand(3, 3, 32, 32))
    found.generator(torch.randn(3, 256))
    assert seen == [pytest.approx(0.25, abs=0.1), pytest.approx(0.25, abs=0.1)] and max(seen) <= 0.25
    assert [site.path for site in Attachment.of(found.generator).sites] == [at]


def test_what_comes_back_is_measured(tmp_path, data_file):
    run = tmp_path / "a"
    arguments = ["--data", data_file, "--device", "cpu"]
    made = CliRunner().invoke(cli, ["train", "vae", "--run", str(run), *arguments, "--width", "0.0625", "--steps", "2", "--batch", "8"])
    assert made.exit_code == 0, made.output
    done = CliRunner().invoke(cli, ["evaluate", str(run), *arguments, "--samples", "24", "--metric", "KID-lite0", "--kid-subset", "8", "--json"])
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)["scores"]
    assert set(scores) == {"KID-lite0", PSNR, "KID-lite0 reconstruction"}
    found, images = load_trained(run), DATA.images
    back = gan("vae").reconstruct(found.generator, images.float() / 127.5 - 1)
    error = ((back + 1) / 2 - images / 255).square().flatten(1).mean(1)
    assert scores[PSNR]["value"] == pytest.approx((-10 * error.log10()).mean().item(), abs=0.02)
    assert outcome.read(run) is None  # evaluate does not write into a run unasked


@pytest.fixture
def data_file(tmp_path):
    import numpy as np

    path = tmp_path / "images.npz"
    np.savez(path, images=DATA.images.permute(0, 2, 3, 1).numpy())
    return str(path)


def test_a_method_at_a_site_of_its_own():
    latent, usual = methods(["l0_inf@first:k=0.25", "l0_inf"], "vae")
    assert latent.sparse.sites == ["first"] and latent.label == "l0_inf@first-k=0.25" == label_of(latent.sparse.flat())
    assert usual.sparse.sites == [] and "@" not in usual.label


def test_its_table(tmp_path, data_file):
    out = ["--out", str(tmp_path / "out"), "--data", data_file]
    said = CliRunner().invoke(cli, ["experiment", "autoencoder", *out, "--seeds", "1", "--dry-run"])
    assert said.exit_code == 0, said.output
    for label in ("vanilla", "l0_inf-k=0.25", "l1-weight=10.0", "ml_csc-k=1.0", "l0_inf@first-k=0.25"):
        assert f"VAE, {label}, seed 0: 5000 steps, width 0.25" in said.output
