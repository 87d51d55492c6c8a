"""An injected penalty's gradient under loss scaling, whichever class scales."""

import functools

import pytest
import torch
from torch import nn
from torch.amp import GradScaler
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

from sparse_plugin import attach
from sparse_plugin.attachment import loss_scaling

Z = torch.randn(4, 6, 1, 1, generator=torch.Generator().manual_seed(0))


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(6, 8, 4), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


class Overrides(GradScaler):
    def scale(self, outputs):
        if self._scale is None:
            self._lazy_init_scale_growth_tracker(outputs.device)
        return outputs * self._scale


class Counts(GradScaler):
    calls = 0

    def scale(self, outputs):
        self.calls += 1
        return super().scale(outputs)


class Decorated(GradScaler):
    @functools.wraps(GradScaler.scale)
    def scale(self, outputs):
        return Overrides.scale(self, outputs)


class Beside:
    def scale(self, outputs):
        return Overrides.scale(self, outputs)


class Mixed(Beside, GradScaler):
    pass


class Twice(Counts):
    def scale(self, outputs):
        return super().scale(outputs)


KINDS = [GradScaler, Overrides, Counts, Decorated, Mixed, Twice, torch.cuda.amp.GradScaler, torch.cpu.amp.GradScaler]


def build(kind):
    if kind is ShardedGradScaler:
        return kind("cpu", init_scale=1024.0, process_group=None)
    if kind.__module__.startswith(("torch.cuda", "torch.cpu")):
        made = GradScaler("cpu", init_scale=1024.0)  # its class, without the device that it asks for
        made.__class__ = kind
        return made
    return kind("cpu", init_scale=1024.0)


def penalty_alone(generator, scaler):
    """The gradient of the penalty, unscaled; nothing else has one."""
    generator.zero_grad()
    scaler.scale(0 * generator(Z).sum()).backward()
    gradient = torch.cat([p.grad.flatten() for p in generator.parameters()])
    return gradient / scaler.get_scale()


def expected():
    generator = make()
    generator[1](generator[0](Z)).abs().mean().backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in generator.parameters()])


@pytest.mark.parametrize("first", ["attach", "scaler"])
@pytest.mark.parametrize("kind", [*KINDS, ShardedGradScaler], ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_class_in_every_order(kind, first):
    generator = make()
    scaler = build(kind) if first == "scaler" else None
    attachment = attach(generator, "l1", weight=1.0, sites=["2"])
    scaler = scaler or build(kind)
    assert torch.allclose(penalty_alone(generator, scaler), expected(), atol=1e-7)
    attachment.detach()
    assert not penalty_alone(generator, scaler).any()


def test_a_class_that_is_defined_later():
    generator = make()
    with attach(generator, "l1", weight=1.0, sites=["2"]):

        class Later(Overrides):
            def scale(self, outputs):
                return outputs * super().scale(torch.ones(())).detach()

        assert torch.allclose(penalty_alone(generator, Later("cpu", init_scale=64.0)), expected(), atol=1e-7)


def test_nothing_is_left_behind():
    for hook in list(loss_scaling._followed):  # of generators that other tests left attached
        loss_scaling.unfollow(hook)
    own = {kind: vars(kind).get("scale") for kind in [*KINDS, ShardedGradScaler]}
    with attach(make(), "l1", weight=1.0, sites=["2"]), attach(make(), "l1", weight=1.0, sites=["2"]):
        assert vars(GradScaler)["scale"] is not own[GradScaler]
    assert {kind: vars(kind).get("scale") for kind in own} == own
    assert "__init_subclass__" not in vars(GradScaler)


def test_a_backward_pass_that_fails_leaves_no_factor():
    """Out of memory in a scaled pass, then an unscaled one: its penalty is not 1024 times too large."""

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise MemoryError

    generator = make()
    attach(generator, "l1", weight=1.0, sites=["2"])
    with pytest.raises(MemoryError):
        GradScaler("cpu", init_scale=1024.0).scale(Fails.apply(generator(Z)).sum()).backward()
    generator.zero_grad()
    (0 * generator(Z).sum()).backward()
    gradient = torch.cat([p.grad.flatten() for p in generator.parameters()])
    assert torch.allclose(gradient, expected(), atol=1e-7)
