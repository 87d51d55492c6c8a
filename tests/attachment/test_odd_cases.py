"""Empty batches, weights that are not finite, looks, and schedules of what cannot change: no traceback, and nothing that is passed over."""

import pytest
import torch
from torch import nn

import sparse_plugin
from sparse_plugin.errors import AttachmentError, ConfigError, SiteError
from sparse_plugin.registry import create


def generator():
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(4, 8, 4), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1))


def noise(batch=2, **more):
    return torch.randn(batch, 4, 1, 1, **more)


def attached(name="l0_inf", **settings):
    net = generator()
    return net, sparse_plugin.attach(net, name, **(settings or {"k": 0.5}), example_input=noise())


SETTINGS = {
    **{key: {"k": 0.5} for key in ("l0_inf", "l0", "l0_channel", "l0_batch", "ml_csc", "revival")},
    **{key: {"weight": 1.0} for key in ("l1", "coherence")},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("batch", [0, 1])
def test_batches_of_none_and_of_one(name, batch):
    net, handle = attached(name, **SETTINGS[name])
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(noise(batch)).sum().backward()
        optimizer.step()
    handle.measure(noise(batch))
    assert net.eval()(noise(batch)).shape == (batch, 3, 8, 8)
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["l0_inf", "ml_csc"])
def test_the_theory_of_what_is_not_finite(name, bad):
    net, handle = attached(name)
    with torch.no_grad():
        net[2].weight[0, 0, 0, 0] = bad
    with pytest.raises(SiteError, match="weights that are no finite numbers"):
        handle.theory(noise())
    net, handle = attached(name)
    with torch.no_grad():
        net[0].bias[0] = bad
    with pytest.raises(AttachmentError, match="Γ at the input of 2 has values that are no finite numbers"):
        handle.theory(noise())


def test_the_theory_of_no_sample():
    _, handle = attached()
    with pytest.raises(AttachmentError, match="no Γ to count"):
        handle.theory(noise(0))


def test_looks_use_no_atom():
    net, handle = attached("revival", k=1, steps=2)
    (hook,) = (hook for hook in net[2]._forward_pre_hooks.values() if hasattr(hook, "regularizer"))
    for look in (handle.measure, handle.theory):
        look(noise())
        assert hook.state.noted.take(net[2].sparse_plugin.memory) is None
    net(noise())
    assert hook.state.noted.take(net[2].sparse_plugin.memory) is not None


@pytest.mark.parametrize("field", ["levels", "kernel_size"])
@pytest.mark.parametrize("given", [{"start": 3, "end": 5, "steps": 3}, {"points": [[0, 3], [5, 7]]}])
def test_what_is_inserted_cannot_change(field, given):
    with pytest.raises(ConfigError, match=f"ml_csc: {field} is a schedule, and what is inserted cannot change"):
        create("ml_csc", {"k": 0.5, field: given})


def test_a_sentence_of_several_fields_names_no_empty_one():
    with pytest.raises(ConfigError) as caught:
        create("ml_csc", {"k": 0.5, "kernel_size": 4})
    assert str(caught.value) == "ml_csc: kernel_size is 4; give an odd number, so that Γ keeps its size"


def test_a_window_that_grows():
    net, _ = attached("revival", k=0.5, steps={"start": 2, "end": 4, "steps": 4})
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    seen = []
    for _ in range(6):
        net(noise()).sum().backward()
        optimizer.step()
        seen.append(int(net[2].sparse_plugin.memory[0]))
    assert seen == [1, 0, 1, 2, 3, 0]
