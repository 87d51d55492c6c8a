"""SSGAN*'s losses against the formulas of its official code, tntrung/msgan msdistgan.py, written down in NumPy."""

import numpy as np
import pytest
import torch
from linear_games import LinearGenerator, array, number, sigmoid
from torch import nn

from sparse_plugin.gans import recipe, ssgan
from sparse_plugin.gans.gan import objective_of
from sparse_plugin.gans.objectives import Batch, Networks, noise


class Judge(nn.Module):
    """Logit, features, and five class logits, all linear in the pixels."""

    def __init__(self, size):
        super().__init__()
        pixels = 3 * size * size
        self.logit = nn.Parameter(torch.randn(pixels) / 5)
        self.feature = nn.Parameter(torch.randn(pixels, 6) / 5)
        self.classes = nn.Parameter(torch.randn(6, 5))

    def forward(self, images, labels=None):
        x = images.flatten(1)
        return x @ self.logit, x @ self.feature, x @ self.feature @ self.classes


class LinearEncoder(nn.Module):
    def __init__(self, size, z):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * size * size, z) / 5)

    def forward(self, images):
        return images.flatten(1) @ self.weight


@pytest.fixture
def trio(monkeypatch):
    """SSGAN*'s game on linear networks; the subset of rotated images is drawn in the test."""
    torch.manual_seed(2)
    size, n, r = 4, 6, recipe("ssgan")
    networks = Networks(LinearGenerator(r.z, size), Judge(size), LinearEncoder(size, r.z))
    order = {4 * n: torch.randperm(4 * n), 5 * n: torch.randperm(5 * n)}
    monkeypatch.setattr(torch, "randperm", lambda count, device=None: order[count])
    return objective_of(r, 0, True), networks, Batch(torch.rand(n, 3, size, size), None), order


def judged(networks, images):
    x, d = images.reshape(len(images), -1), networks.discriminator
    f = x @ array(d.feature)
    return x @ array(d.logit), f, f @ array(d.classes)


def made_from(networks, z):
    n = len(z)
    return sigmoid(z @ array(networks.generator.weight)).reshape(n, 3, 4, 4)


def turned(images):
    return np.concatenate([np.rot90(images, k, (2, 3)) for k in range(4)])


def cross_entropy(scores, labels):
    return np.mean([np.log(np.exp(s).sum()) - s[label] for s, label in zip(scores, labels, strict=True)])


def drawn(play):
    torch.manual_seed(11)
    return array(noise(play.recipe, 6, torch.device("cpu")))


def of(play, role, networks, real, progress=0.0):
    torch.manual_seed(11)
    return {name: number(term) for name, term in play.terms(role, networks, real, progress).items()}


def test_ssgan_encoder(trio):
    play, networks, real, _ = trio
    terms, z, x = of(play, "encoder", networks, real), drawn(play), array(real.images)
    encoded = x.reshape(6, -1) @ array(networks.encoder.weight)
    f_real, f_again = (judged(networks, images)[1] for images in (x, made_from(networks, encoded)))
    f_fake = judged(networks, made_from(networks, z))[1]
    assert terms["reconstruction"] == pytest.approx(((f_real - f_again) ** 2).mean(), rel=1e-4)
    distance = (f_again - f_fake).mean() - np.sqrt(128 / 6) * (encoded - z).mean()
    assert terms["latent"] == pytest.approx(distance**2, rel=1e-3)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.05), (0.5, 0.05), (0.6, 0.03), (0.75, 0.0), (1.0, 0.0)])
def test_ssgan_discriminator(trio, progress, share):
    play, networks, real, order = trio
    terms, z, x = of(play, "discriminator", networks, real, progress), drawn(play), array(real.images)
    fake, again = made_from(networks, z), made_from(networks, x.reshape(6, -1) @ array(networks.encoder.weight))
    s_real, s_fake, s_again = (sigmoid(judged(networks, images)[0]) for images in (x, fake, again))
    braces = (
        (1 - share) * np.minimum(0, -1 + s_real).mean()
        + share * np.minimum(0, -1 + s_again).mean()
        + np.minimum(0, -1 - s_fake).mean()
    )
    assert terms["adversarial"] == pytest.approx(-braces, rel=1e-4)
    # The logit is linear: its gradient is the weight, the norm the root of the mean square; the released sign is minus.
    slope = np.sqrt((array(networks.discriminator.logit) ** 2).mean())
    assert terms["gradient_penalty"] == pytest.approx(-0.5 * (slope - 1) ** 2, rel=1e-4)
    chosen = order[30][:6].numpy()
    scores = judged(networks, np.concatenate([turned(x), fake]))[2]
    labels = np.repeat(np.arange(5), 6)  # the rotations, then the generated ones, unturned
    assert terms["classification"] == pytest.approx(0.5 * cross_entropy(scores[chosen], labels[chosen]), rel=1e-4)


def test_ssgan_generator(trio):
    play, networks, real, order = trio
    terms, z, x = of(play, "generator", networks, real), drawn(play), array(real.images)
    fake = made_from(networks, z)
    gap = sigmoid(judged(networks, x)[0]).mean() - sigmoid(judged(networks, fake)[0]).mean()
    assert terms["adversarial"] == pytest.approx(abs(gap), rel=1e-3)
    chosen, labels = order[24][:6].numpy(), np.repeat(np.arange(4), 6)
    entropies = [cross_entropy(judged(networks, turned(i))[2][chosen], labels[chosen]) for i in (fake, x)]
    assert terms["classification"] == pytest.approx(0.1 * abs(entropies[0] - entropies[1]), rel=1e-3)


@pytest.mark.parametrize("role", ["encoder", "discriminator", "generator"])
def test_ssgan_gradients_reach_the_player(trio, role):
    play, networks, real, _ = trio
    module = getattr(networks, role)
    for other in ("encoder", "discriminator", "generator"):
        getattr(networks, other).requires_grad_(other == role)
    torch.stack(list(play.terms(role, networks, real, 0.0).values())).sum().backward()
    missing = [name for name, p in module.named_parameters() if p.grad is None]
    assert missing == (["classes"] if role == "generator" else [])  # the stand-in's table, which nobody asks here


def test_ssgan_noise_is_uniform():
    torch.manual_seed(0)
    z = noise(recipe("ssgan"), 1000, torch.device("cpu"))
    assert z.min() > -1 and z.max() < 1 and abs(float(z.std()) - 3**-0.5) < 0.01
    assert abs(float(noise(recipe("sngan"), 1000, torch.device("cpu")).std()) - 1) < 0.01
    assert torch.equal(ssgan.rotated(z.view(-1, 2, 8, 8)).split(1000)[2], z.view(-1, 2, 8, 8).flip((2, 3)))
