"""The losses against their formulas, written down independently in NumPy, on small tensors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_games import LinearGenerator, array, number, sigmoid
from torch import nn

from sparse_plugin.gans import losses, recipe
from sparse_plugin.gans.gan import objective_of
from sparse_plugin.gans.objectives import Batch, Networks, Objective, Update, noise

R, F = torch.tensor([-1.5, 0.2, 3.0]), torch.tensor([0.5, -2.0, 0.1])


def test_adversarial_losses():
    r, f = array(R), array(F)
    expected = {
        "bce": (-np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean(), -np.log(sigmoid(f)).mean()),
        "hinge": (np.mean([max(0, 1 - x) for x in r]) + np.mean([max(0, 1 + x) for x in f]), -f.mean()),
        "wasserstein": (f.mean() - r.mean(), -f.mean()),
    }
    for kind, (d, g) in expected.items():
        assert number(losses.discriminator_loss(kind, R, F)) == pytest.approx(d)
        assert number(losses.generator_loss(kind, F)) == pytest.approx(g)


def test_gradient_penalty_and_its_own_gradient():
    """For D(x) = <w, x> the norm is ‖w‖ everywhere, and d/dw (‖w‖ - 1)² = 2 (1 - 1/‖w‖) w."""
    w = torch.randn(3, 4, 4).requires_grad_()
    real, fake = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    norms = losses.gradient_norms(lambda x: (w * x).sum((1, 2, 3)), real, fake)
    length = float(w.detach().norm())
    assert array(norms) == pytest.approx(np.full(5, length), rel=1e-5)
    penalty = losses.gradient_penalty(norms)
    assert number(penalty) == pytest.approx((length - 1) ** 2, rel=1e-4)
    penalty.backward()
    assert torch.allclose(w.grad, 2 * (1 - 1 / length) * w.detach(), atol=1e-4)
    mean = losses.gradient_norms(lambda x: (w * x).sum((1, 2, 3)), real, fake, mean=True)
    assert array(mean) == pytest.approx(np.full(5, length / 48**0.5), rel=1e-5)


def test_gradients_are_taken_between_real_and_fake():
    seen = []

    def discriminator(x):
        seen.append(x.detach())
        return x.square().sum((1, 2, 3))

    real, fake = torch.zeros(64, 3, 2, 2), torch.ones(64, 3, 2, 2)
    norms = losses.gradient_norms(discriminator, real, fake)
    alpha = seen[0][:, 0, 0, 0]  # one a sample
    assert torch.equal(seen[0], alpha[:, None, None, None].expand_as(real)) and alpha.min() >= 0 and alpha.max() <= 1
    assert alpha.std() > 0.2
    assert torch.allclose(norms, 2 * alpha * 12**0.5, atol=1e-5)


def test_mode_seeking():
    images = torch.randn(2, 4, 3, 5, 5).tanh()
    z = torch.randn(2, 4, 7)
    pixels = np.mean([abs(a - b) for a, b in zip(array(images[1]).ravel(), array(images[0]).ravel(), strict=True)])
    moved = np.mean([abs(a - b) for a, b in zip(array(z[1]).ravel(), array(z[0]).ravel(), strict=True)])
    found = losses.mode_seeking((images[0], images[1]), (z[0], z[1]))
    assert float(found) == pytest.approx(1 / (pixels / moved + 1e-5), rel=1e-5)
    collapsed = losses.mode_seeking((images[0], images[0]), (z[0], z[1]))
    assert float(collapsed) == pytest.approx(1e5, rel=1e-5)


# --- games, on networks small enough to be followed by hand


class LinearDiscriminator(nn.Module):
    def __init__(self, size, classes=0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * size * size) / 3)
        self.classes = nn.Parameter(torch.randn(max(1, classes)))
        self.calls = []

    def forward(self, images, labels=None):
        self.calls.append((images.detach().clone(), labels))
        logits = images.flatten(1) @ self.weight
        return logits if labels is None else logits + self.classes[labels]


def duel(arch, size=8, n=4, classes=3, keep=True, **changes):
    torch.manual_seed(1)
    r = replace(recipe(arch), **changes)
    classes = classes if r.conditional else 0
    networks = Networks(LinearGenerator(r.z, size, classes), LinearDiscriminator(size, classes))
    real = Batch(torch.rand(n, 3, size, size), torch.arange(n) % 3 if classes else None)
    return Objective(r, classes, keep), networks, real


def logits(networks, images, labels):
    d = networks.discriminator
    out = array(images).reshape(len(images), -1) @ array(d.weight)
    return out if labels is None else out + array(d.classes)[labels.numpy()]


def test_msgan_sums_two_games_and_mode_seeking():
    play, networks, real = duel("msgan")
    torch.manual_seed(7)
    terms = play.terms("discriminator", networks, real, 0.0)
    torch.manual_seed(7)
    z = torch.randn(8, 100)
    labels = real.labels.repeat(2)
    with torch.no_grad():
        fake = networks.generator(z, labels)
    r = logits(networks, real.images, real.labels)
    f1, f2 = (logits(networks, part, real.labels) for part in fake.split(4))

    def bce_d(r, f):
        return -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean()

    assert set(terms) == {"adversarial"}
    assert number(terms["adversarial"]) == pytest.approx(bce_d(r, f1) + bce_d(r, f2), rel=1e-5)
    terms = play.terms("generator", networks, real, 0.0)  # on the same fakes
    assert number(terms["adversarial"]) == pytest.approx(
        -np.log(sigmoid(f1)).mean() - np.log(sigmoid(f2)).mean(), rel=1e-5
    )
    ratio = np.abs(array(fake[4:]) - array(fake[:4])).mean() / np.abs(array(z[4:]) - array(z[:4])).mean()
    assert number(terms["mode_seeking"]) == pytest.approx(1 / (ratio + 1e-5), rel=1e-5)


def test_real_and_generated_images_are_judged_apart_where_d_normalises():
    play, networks, real = duel("dcgan")
    play.terms("discriminator", networks, real, 0.0)
    assert [len(images) for images, _ in networks.discriminator.calls] == [4, 4]
    play, networks, real = duel("biggan")
    play.terms("discriminator", networks, real, 0.0)
    assert [len(images) for images, _ in networks.discriminator.calls] == [8]


def test_kept_fakes_carry_the_generators_graph_once():
    play, networks, real = duel("dcgan")
    assert play.updates == (Update("discriminator", 0, 0), Update("generator", 0, 0))
    play.terms("discriminator", networks, real, 0.0)["adversarial"].backward()
    assert networks.generator.weight.grad is None
    kept = play._kept.images
    sum(play.terms("generator", networks, real, 0.0).values()).backward()
    assert networks.generator.weight.grad is not None and play._kept is None
    torch.manual_seed(3)
    again, other, real = duel("dcgan", keep=False)
    torch.manual_seed(3)
    again.terms("discriminator", other, real, 0.0)
    assert again._kept is None and kept.requires_grad


def test_updates_of_a_step():
    assert Objective(recipe("sngan"), 0, True).updates == (
        *(Update("discriminator", i, i) for i in range(5)),
        Update("generator", 4, 5),
    )
    assert [p.role for p in objective_of(recipe("ssgan"), 0, True).updates] == ["encoder", "discriminator", "generator"]
    assert {p.batch for p in objective_of(recipe("ssgan"), 0, True).updates} == {0, 1, 2}


def test_labels_of_fakes():
    play, networks, real = duel("cgan")
    play.terms("discriminator", networks, real, 0.0)
    assert torch.equal(networks.discriminator.calls[1][1], real.labels)  # those of the data
    play, networks, real = duel("sagan", n=300)
    play.terms("discriminator", networks, real, 0.0)
    drawn = networks.discriminator.calls[1][1]
    assert not torch.equal(drawn, real.labels) and set(drawn.tolist()) == {0, 1, 2}  # uniform ones


def test_wgan_gp_takes_the_norm_over_all_pixels_with_weight_10():
    play, networks, real = duel("wgan_gp")
    terms = play.terms("discriminator", networks, real, 0.0)
    length = np.linalg.norm(array(networks.discriminator.weight))
    assert number(terms["gradient_penalty"]) == pytest.approx(10 * (length - 1) ** 2, rel=1e-4)


@pytest.mark.parametrize("again", [("flip", "translation"), ()])
def test_consistency_of_two_views(monkeypatch, again):
    """10 E (D(T'(T(x))) - D(T(x)))², or against D(x) where there is no T' (the recipes for limited data)."""
    seen = {"cutout": lambda x: x * 0.5, "flip": lambda x: x.flip(3), "translation": lambda x: x + 0.25}
    monkeypatch.setattr("sparse_plugin.gans.augment.POLICIES", seen)
    play, networks, real = duel("diffcrbiggan", consistency_augment=again)
    terms = play.terms("discriminator", networks, real, 0.0)
    first = logits(networks, real.images * 0.5, real.labels)
    second = logits(networks, (real.images * 0.5).flip(3) + 0.25 if again else real.images, real.labels)
    assert number(terms["consistency"]) == pytest.approx(10 * np.mean((second - first) ** 2), rel=1e-5)
    images, _ = networks.discriminator.calls[0]
    assert len(images) == 12 and torch.equal(images[:4], real.images * 0.5)
    assert set(play.terms("generator", networks, real, 0.0)) == {"adversarial"}
    assert len(networks.discriminator.calls[1][0]) == 4


def drawn(play):
    torch.manual_seed(11)
    return array(noise(play.recipe, 6, torch.device("cpu")))
