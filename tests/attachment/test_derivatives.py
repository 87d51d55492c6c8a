"""Derivatives of attached generators: torch.func, forward mode and second order, against the formula written out."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import sparse_plugin
from sparse_plugin.attachment import hooks, verify
from sparse_plugin.errors import PenaltyError
from sparse_plugin.projections import project_channels, project_global, project_needles
from sparse_plugin.registry.base import Penalty

WEIGHT = 3.0
both = pytest.mark.parametrize("project", [project_needles, project_global, project_channels])


class Quartic(Penalty):
    """A user's penalty whose every derivative depends on Γ."""

    weight: float = WEIGHT

    def penalty(self, gamma):
        return self.weight * gamma.pow(4).mean()


class Net(nn.Module):
    def __init__(self, site=lambda gamma: gamma):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.d1 = nn.Conv2d(6, 3, 3, padding=1)
        self.double()
        self.site = site

    def forward(self, z):
        self.gamma = self.site(torch.tanh(self.first(z)))
        return self.d1(self.gamma)


Z = torch.randn(2, 2, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def params(net):
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def penalized(delivery="gradient", penalty=None):
    """A loss of an attached generator, and the same with the penalty written out."""
    penalty, net, plain = penalty or Quartic(), Net(), Net()
    attachment = sparse_plugin.attach(net, penalty, sites=["d1"], delivery=delivery)

    def loss(p, z=Z):
        term = functional_call(net, p, (z,)).square().mean()
        return term + attachment.penalty() if delivery == "loss" else term

    def expected(p, z=Z):
        return functional_call(plain, p, (z,)).square().mean() + penalty.penalty(plain.gamma)

    return net, params(plain), loss, expected


def same(left, right):
    left, right = (torch.utils._pytree.tree_leaves(side) for side in (left, right))
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b)


@both
def test_projections_pass_gradcheck_in_every_mode(project):
    gamma = torch.randn(2, 5, 2, 2, dtype=torch.double, requires_grad=True)
    modes = {"check_batched_grad": True, "check_forward_ad": True, "check_batched_forward_grad": True}
    assert gradcheck(lambda g: project(g, 3), (gamma,), **modes)
    modes = {"check_batched_grad": True, "check_fwd_over_rev": True, "check_rev_over_rev": True}
    assert gradgradcheck(lambda g: project(g, 3) ** 3, (gamma,), **modes)


@both
@pytest.mark.parametrize(
    "transform", ["jvp", "jacfwd", "jacrev", "vjp", "hessian", "rev", "fwd", "third", "dual", "vmapped"]
)
def test_projections_under_transforms(project, transform):
    gamma = torch.randn(2, 5, 2, 2, dtype=torch.double)
    kept = project(gamma, 2) != 0

    def cubed(f):
        return lambda g: f(g).pow(3).sum()

    def taken(f):
        ones = torch.ones_like(gamma)
        if transform == "dual":
            with forward_ad.dual_level():
                return forward_ad.unpack_dual(f(forward_ad.make_dual(gamma, ones))).tangent
        return {
            "jvp": lambda: jvp(f, (gamma,), (ones,)),
            "jacfwd": lambda: jacfwd(f)(gamma),
            "jacrev": lambda: jacrev(f)(gamma),
            "vjp": lambda: vjp(f, gamma)[1](ones),
            "hessian": lambda: hessian(cubed(f))(gamma),
            "rev": lambda: jacrev(jacrev(cubed(f)))(gamma),
            "fwd": lambda: jacfwd(jacfwd(cubed(f)))(gamma),
            "third": lambda: grad(lambda g: hessian(cubed(f))(g).square().sum())(gamma),
            "vmapped": lambda: vmap(hessian(cubed(f)))(torch.stack([gamma, gamma])),
        }[transform]()

    same(taken(lambda g: project(g, 2)), taken(lambda g: torch.where(kept, g, 0.0)))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.filterwarnings("ignore")  # inductor's own
def test_transforms_of_projections_inside_a_compiled_graph(dynamic):
    gamma = torch.randn(2, 5, 2, 2)

    def all_three(g):
        return (
            jvp(lambda g: project_needles(g, 2), (g,), (torch.ones_like(g),)),
            jvp(lambda g: project_channels(g, 2), (g,), (torch.ones_like(g),)),
            grad(lambda g: project_global(g, 9).square().sum())(g),
            grad(lambda g: project_channels(g, 3).square().sum())(g),
        )

    compiled = torch.compile(all_three, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    same(compiled(gamma), all_three(gamma))


@pytest.mark.parametrize("regularizer, settings", [("l0_inf", {"k": 3}), ("l0", {"k": 0.3}), ("l0_channel", {"k": 0.3}), ("l0_batch", {"k": 0.3}), ("ml_csc", {"k": [2, 3]})])
def test_forward_and_reverse_mode_of_constrained_generators_agree(regularizer, settings):
    net = Net()
    sparse_plugin.attach(net, regularizer, **settings, example_input=Z)
    p = {name: q.detach().clone() for name, q in net.named_parameters()}
    same(jacfwd(net)(Z), jacrev(net)(Z))

    def loss(p):
        return functional_call(net, p, (Z,)).square().mean()

    slopes = grad(loss)(p)
    direction = {name: torch.randn_like(q) for name, q in p.items()}
    _, forward = jvp(loss, (p,), (direction,))
    same(forward, sum((slopes[name] * direction[name]).sum() for name in p))
    loss(dict(net.named_parameters())).backward()
    same(slopes, {name: q.grad for name, q in net.named_parameters()})


def test_a_first_forward_inside_vmap_leaves_the_values_to_the_next():
    net = Net()
    sparse_plugin.attach(net, "l0_inf", k=2, sites=["d1"])
    vmap(net)(torch.stack([Z, Z]))
    assert list(hooks.find(net, verify.TEMPORARY))
    net(Z)
    net(Z)
    assert not list(hooks.find(net, verify.TEMPORARY))


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
@pytest.mark.parametrize("transform", ["grad", "vjp", "hvp", "grad_of_grad", "per_sample", "hessian", "jacrev"])
def test_penalties_under_transforms(delivery, transform):
    _, p, loss, expected = penalized(delivery)
    direction = {name: torch.randn_like(q) for name, q in p.items()}
    bias = "first.bias"

    def of_bias(f):
        return lambda b: f({**p, bias: b})

    def norm(f):
        return lambda p: sum(g.square().sum() for g in grad(f)(p).values())

    def taken(f):
        return {
            "grad": lambda: grad(f)(p),
            "vjp": lambda: vjp(f, p)[1](torch.ones((), dtype=torch.double)),
            "hvp": lambda: jvp(grad(f), (p,), (direction,))[1],
            "grad_of_grad": lambda: grad(norm(f))(p),
            "per_sample": lambda: vmap(grad(f), in_dims=(None, 0))(p, torch.stack([Z, Z * 2, Z * 3])),
            "hessian": lambda: hessian(of_bias(f))(p[bias]),
            "jacrev": lambda: jacrev(f)(p),
        }[transform]()

    same(taken(loss), taken(expected))


def test_a_mapped_generator_inside_grad_takes_each_sample_s_penalty():
    _, p, loss, expected = penalized()
    several = torch.stack([Z, Z * 2, Z * 3])

    def mean(f):
        return lambda p: vmap(lambda z: f(p, z))(several).mean()

    same(grad(mean(loss))(p), grad(mean(expected))(p))


def test_a_jacobian_has_no_loss_for_an_injected_penalty():
    net, _, _, _ = penalized()
    for take in (lambda: jacrev(net)(Z), lambda: torch.autograd.functional.jacobian(net, Z, vectorize=True)):
        with pytest.raises(PenaltyError, match="belongs to no loss; use torch.func.jacfwd"):
            take()
    same(jacfwd(net)(Z), jacrev(Net())(Z))
    net, _, _, _ = penalized("loss")
    same(jacrev(net)(Z), jacrev(Net())(Z))


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
@pytest.mark.filterwarnings("ignore:Using backward")  # torch's, about the cycle that create_graph makes
def test_second_order_training_takes_the_penalty_once(delivery):
    """What AdaHessian does, and MAML: the gradient of the whole loss is differentiated again."""
    net, _, loss, _ = penalized(delivery)
    plain, penalty = Net(), Quartic()
    taken = []
    for g, term in (
        (net, lambda: loss(dict(net.named_parameters()))),
        (plain, lambda: plain(Z).square().mean() + penalty.penalty(plain.gamma)),
    ):
        term().backward(create_graph=True)
        slopes = [p.grad for p in g.parameters()]
        again = torch.autograd.grad(sum(s.square().sum() for s in slopes), list(g.parameters()))
        inner = torch.autograd.grad(term(), list(g.parameters()), create_graph=True)
        taken.append(
            [
                *slopes,
                *again,
                *inner,
                *torch.autograd.grad(sum(s.sum() for s in inner), list(g.parameters()), allow_unused=True)[:2],
            ]
        )
    same([t for t in taken[0] if t is not None], [t for t in taken[1] if t is not None])


def test_a_path_length_s_gradient_is_not_the_loss_s(caplog, monkeypatch):
    monkeypatch.setattr("sparse_plugin.attachment.penalty._said", set())
    net, _, _, _ = penalized()
    plain, penalty = Net(), Quartic()
    slopes = []
    for g in (net, plain):
        z = Z.clone().requires_grad_() * 1.0
        image = g(z)
        (length,) = torch.autograd.grad((image * torch.ones_like(image)).sum(), z, create_graph=True)
        slopes.append(torch.autograd.grad(length.square().sum(), list(g.parameters()), allow_unused=True))
    same([s for s in slopes[0] if s is not None], [s for s in slopes[1] if s is not None])
    assert penalty and "left out of that pass" in caplog.text


def test_forward_mode_carries_no_penalty_of_an_image():
    for delivery in ("gradient", "loss"):
        net, p, _, _ = penalized(delivery)
        plain = Net()
        direction = {name: torch.randn_like(q) for name, q in p.items()}
        for g in (net, plain):
            g.tangent = jvp(lambda p, g=g: functional_call(g, p, (Z,)), (p,), (direction,))[1]
        same(net.tangent, plain.tangent)
    _, p, loss, _ = penalized("loss")
    with pytest.raises(PenaltyError, match="has not run with gradients"):
        jvp(loss, (p,), (p,))
