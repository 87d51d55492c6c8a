"""`l0_batch`: exact over the batch in training, a threshold in evaluation, which travels, follows copies and averages."""

import copy
import io
import pickle

import pytest
import torch
from generators import Residual, noise

from sparse_plugin import Attachment, attach, registry
from sparse_plugin.errors import ConfigError


def reference(gamma, count):
    """Sorted by magnitude, the lowest index first among equals."""
    order = sorted(range(gamma.numel()), key=lambda i: (-gamma.flatten()[i].abs().item(), i))
    kept = torch.zeros(gamma.numel(), dtype=gamma.dtype)
    for i in order[:count]:
        kept[i] = gamma.flatten()[i]
    return kept.view(gamma.shape)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2), (2, 3, 2, 2, 2), (1, 5, 3, 1)])
@pytest.mark.parametrize("k", [1, 2, 0.5, 1.0])
@pytest.mark.parametrize("levels", [2, 1000])
def test_the_largest_of_the_whole_batch(shape, k, levels):
    gamma = torch.randint(-levels, levels + 1, shape, generator=torch.Generator().manual_seed(0)).float()
    made = registry.create("l0_batch", {"k": k})
    size = gamma[0].numel()
    count = (k if isinstance(k, int) else int(k * size)) * shape[0]
    expected = reference(gamma, count)
    assert torch.equal(made.project(gamma), expected) and made.holds(expected)
    if len(shape) == 4:
        last = made.project(gamma.to(memory_format=torch.channels_last))
        assert torch.equal(last, expected) and last.is_contiguous(memory_format=torch.channels_last)


def test_samples_compete_and_the_gradient_passes_where_kept():
    gamma = torch.tensor([[1.0, 2.0, 3.0], [9.0, 8.0, 7.0]], requires_grad=True)
    out = registry.create("l0_batch", {"k": 1}).project(gamma)
    assert out.tolist() == [[0, 0, 0], [9, 8, 0]]
    out.sum().backward()
    assert gamma.grad.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert registry.create("l0_batch", {"k": 1}).project(torch.zeros(0, 3)).shape == (0, 3)


def made(seed=0, **settings):
    torch.manual_seed(seed)
    generator = Residual()
    attach(generator, "l0_batch", **{"k": 0.25, "momentum": 0.5, **settings})
    return generator


def gamma(generator, batch=None):
    seen = []
    handle = generator.out.register_forward_hook(lambda m, args, out: seen.append(args[0].detach()))
    generator(noise(8) if batch is None else batch)
    handle.remove()
    return seen[0]


def test_training_is_exact_and_evaluation_does_not_couple_samples():
    generator = made()
    for seed in range(20):
        kept = gamma(generator, noise(8, seed))
        assert 0 < (kept != 0).sum() <= 0.25 * kept.numel()
    generator.eval()
    whole = gamma(generator)
    alone = torch.cat([gamma(generator, one) for one in noise(8).split(1)])
    assert torch.allclose(whole, alone, atol=1e-5) and 0.15 < (whole != 0).float().mean() < 0.35
    memory = generator.out.sparse_plugin.memory
    assert whole[whole != 0].abs().min() >= memory[0] / memory[1]


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_gradient_checkpoint_remembers_a_forward_once(reentrant):
    from torch.utils.checkpoint import checkpoint

    plain, recomputed = made(), made()
    for seed in range(3):
        plain(noise(8, seed)).sum().backward()
        checkpoint(recomputed, noise(8, seed).requires_grad_(), use_reentrant=reentrant).sum().backward()
    assert torch.equal(plain.out.sparse_plugin.memory, recomputed.out.sparse_plugin.memory) and plain.out.sparse_plugin.memory[1] > 0
    for one, other in zip(plain.parameters(), recomputed.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_the_threshold_is_the_running_mean_of_what_was_least():
    generator, expected = made(momentum=0.25), None
    for seed in range(3):
        kept = gamma(generator, noise(8, seed)).abs()
        least = kept[kept > 0].min().item()
        expected = least if expected is None else expected + 0.25 * (least - expected)
    memory = generator.out.sparse_plugin.memory
    assert memory.tolist() == pytest.approx([expected, 1.0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_batch_that_is_not_finite_or_all_zero_tells_nothing(value):
    memory, batch = torch.zeros(2), torch.rand(4, 3, 2, 2) + 1
    site = registry.create("l0_batch", {"k": 0.5}).remembering(memory, training=True)
    site.project(batch)
    before = memory.clone()
    if value:
        batch[0, 0, 0, 0] = value
    site.project(batch * 2 if value else batch * 0)
    assert torch.equal(memory, before) and memory[1] == 1


@pytest.mark.parametrize("example", [noise(8), None])
def test_it_travels(example):
    generator = made()
    gamma(generator)
    file = io.BytesIO()
    torch.save(generator.state_dict(), file)
    file.seek(0)
    again = Residual()
    attach(again, "l0_batch", k=0.25, momentum=0.5, example_input=example)
    again.load_state_dict(torch.load(file))
    for twin in (again, copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert torch.equal(gamma(twin.eval()), gamma(generator.eval()))


def test_an_average_of_buffers_is_right_from_the_first_step():
    generator = made()
    ema = copy.deepcopy(generator)
    for seed in range(3):
        gamma(generator, noise(8, seed))
        for ours, theirs in zip(ema.buffers(), generator.buffers(), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, 0.1)
    (t, w), (t2, w2) = ema.out.sparse_plugin.memory.tolist(), generator.out.sparse_plugin.memory.tolist()
    assert w < 1 and t / w == pytest.approx(t2 / w2, rel=0.2)


def test_without_training_the_batch_decides_and_it_is_said(caplog):
    generator = made().eval()
    kept = gamma(generator)
    assert 0 < (kept != 0).sum() <= 0.25 * kept.numel() and "knows no threshold" in caplog.text


def test_measuring_leaves_the_threshold_as_it_is():
    generator = made()
    gamma(generator)
    before = generator.out.sparse_plugin.memory.clone()
    Attachment.of(generator).measure(noise(4, 5))
    assert torch.equal(before, generator.out.sparse_plugin.memory)


def test_beside_another_and_in_half_precision():
    generator = Residual()
    attach(generator, ["l0_inf", "l0_batch"], l0_inf={"k": 4}, l0_batch={"k": 0.25})
    kept = gamma(generator)
    assert (kept != 0).sum(1).max() <= 4 and (kept != 0).sum() <= 0.25 * kept.numel()
    assert generator.half().out.sparse_plugin.memory.dtype == torch.float32


def test_compiled_breaks_at_the_site_and_is_the_same():
    generator, other = made(), made()
    compiled = torch.compile(other, backend="eager")
    for mode in (True, False):
        generator.train(mode), other.train(mode)
        for seed in range(2):
            assert torch.equal(generator(noise(8, seed)), compiled(noise(8, seed)))
    assert torch.equal(generator.out.sparse_plugin.memory, other.out.sparse_plugin.memory)


def test_exported_it_has_the_threshold_at_any_batch():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 3, padding=1))
    attach(net, "l0_batch", k=0.25)
    net(torch.randn(8, 2, 6, 6))
    net.eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(net, (torch.randn(4, 2, 6, 6),), dynamic_shapes=({0: batch},), strict=False).module()
    z = torch.randn(5, 2, 6, 6)
    assert torch.allclose(program(z), net(z), atol=1e-6)
    fresh = made().eval()
    assert torch.export.export(fresh, (noise(8),), strict=False).module()(noise(8)).isnan().all()


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("l0_batch", {}, "field 'k' is missing: give k, the coefficients that a sample keeps on average"),
        ("l0_batch", {"k": 0.25, "momentum": 0.0}, "momentum"),
        ("l0_batch", {"k": 1.5}, "k is the float 1.5"),
        ("ml_csc", {"k": 0.25, "constraint": "l0_batch"}, "keeps numbers from forward to forward"),
    ],
)
def test_what_is_refused(name, settings, said):
    with pytest.raises(ConfigError, match=said):
        registry.create(name, settings)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last_3d])
def test_volumes_keep_their_memory_format(fmt):
    gamma = torch.randn(2, 3, 2, 4, 3).contiguous(memory_format=fmt)
    sparse = registry.create("l0_batch", {"k": 5}).project(gamma)
    assert sparse.stride() == gamma.stride()
    kept = gamma.flatten().abs().topk(10).values.min()
    assert torch.equal(sparse, torch.where(gamma.abs() >= kept, gamma, 0))
