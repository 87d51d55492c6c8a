"""`revival`: the constraint to the bit while all atoms live; dead ones are favoured for a while, the same in every process and resumed run."""

import copy
import io
import json
import pickle

import pytest
import torch
from generators import AttentionLast, Residual, noise

from sparse_plugin import Attachment, attach, registry
from sparse_plugin.errors import ConfigError, SiteError

DEAD, SILENT = 3, 5


def net(dead=True, silent=False):
    torch.manual_seed(0)
    generator = Residual()
    with torch.no_grad():
        generator.bn3.bias.fill_(4.0)  # no zeros that others could win over
        if dead:
            generator.bn3.weight[DEAD] = generator.bn3.bias[DEAD] = 1e-3
        if silent:
            generator.bn3.weight[SILENT], generator.bn3.bias[SILENT] = 0, -1
    return generator


def train(generator, steps, optimizer=None, first=0, lr=1e-4):
    optimizer = optimizer or torch.optim.Adam(generator.parameters(), lr)
    for seed in range(first, first + steps):
        optimizer.zero_grad()
        generator(noise(8, seed + 100))  # a step of D
        image = generator(noise(8, seed))
        (image[0] if isinstance(image, tuple) else image).square().mean().backward()
        optimizer.step()
    return optimizer


def gammas(generator, batch=None):
    """Γ before and after its projection."""
    seen = []
    handles = [
        generator.out.register_forward_pre_hook(lambda m, args: seen.append(args[0].detach().clone()), prepend=True),
        generator.out.register_forward_hook(lambda m, args, out: seen.append(args[0].detach().clone())),
    ]
    generator(noise(8) if batch is None else batch)
    for handle in handles:
        handle.remove()
    return seen


def favour(generator):
    return generator.out.sparse_plugin.memory[1:].view(3, -1)[2].tolist()


def weights(generator):
    return {name: value for name, value in generator.state_dict().items() if "sparse_plugin" not in name}


@pytest.mark.parametrize("constraint", ["l0_inf", "l0", "l0_channel"])
def test_while_all_atoms_live_it_is_the_constraint_to_the_bit(constraint, caplog):
    nets = [net(dead=False) for _ in range(2)]
    attach(nets[0], "revival", k=0.5, steps=2, constraint=constraint)
    attach(nets[1], constraint, k=0.5)
    for each in nets:
        train(each, 7, lr=1e-2)
    assert not any(favour(nets[0])) and "favoured" not in caplog.text
    theirs = weights(nets[1])
    assert all(torch.equal(value, theirs[name]) for name, value in weights(nets[0]).items())


@pytest.mark.parametrize("constraint", ["l0_inf", "l0"])
def test_a_dead_atom_is_favoured_for_a_window_and_let_go(constraint, caplog):
    generator = net()
    attach(generator, "revival", k=2 if constraint == "l0_inf" else 0.25, steps=3, constraint=constraint)
    optimizer = torch.optim.SGD(generator.parameters(), 0.0)
    seen = []
    for step in range(9):
        optimizer.zero_grad()
        dense, sparse = gammas(generator, noise(8, step))
        generator(noise(8, step)).square().mean().backward()
        optimizer.step()
        kept = sparse != 0
        assert torch.equal(sparse[kept], dense[kept])  # to the bit
        assert kept.sum(1).max() <= 2 if constraint == "l0_inf" else kept.flatten(1).sum(1).max() <= 0.25 * kept[0].numel()
        alive = bool(kept[:, DEAD].any())
        assert alive == bool(generator.bn3.bias.grad[DEAD] != 0)
        seen.append(alive)
    assert seen == [False] * 3 + [True] * 3 + [False] * 3
    lines = [r.getMessage() for r in caplog.records if "favoured" in r.getMessage()]
    assert len(lines) == 2 and lines[0].endswith(
        "at the input of out: 1 of 8 atoms were not chosen once in 3 steps and are favoured for the next 3: 3"
    )


def test_what_a_resumed_run_says_is_of_its_windows(caplog):
    """Which began in another process, and end here where they would have."""
    generator = net()
    attach(generator, "revival", k=4, steps=5)
    train(generator, 3)
    resumed = net()
    attach(resumed, "revival", k=4, steps=5, example_input=noise(8))
    resumed.load_state_dict(generator.state_dict())
    caplog.clear()
    optimizer = train(resumed, 1, first=3)
    assert "favoured" not in caplog.text
    train(resumed, 1, optimizer, first=4)
    assert f"not chosen once in 5 steps and are favoured for the next 5: {DEAD}" in caplog.text
    train(resumed, 4, optimizer, first=5)
    assert caplog.text.count("favoured") == 1


def test_one_that_holds_its_own_lives_on():
    generator = net()
    attach(generator, "revival", k=2, steps=3)
    train(generator, 4)
    assert favour(generator)[DEAD] >= 2
    with torch.no_grad():
        generator.bn3.weight[DEAD], generator.bn3.bias[DEAD] = 1, 4
    train(generator, 8)
    assert not any(favour(generator)) and (gammas(generator)[1][:, DEAD] != 0).any()


def test_how_much_is_the_definition():
    """Against loops over everything that was seen in a window."""
    torch.manual_seed(1)
    channels, steps = 12, 4
    made = registry.create("revival", {"k": 2, "steps": steps})
    memory = torch.zeros(1 + 3 * channels)
    scale = torch.logspace(-6, 1, channels)
    scale[4] = 0
    before = [0.0] * channels
    for window in range(4):
        dense, sparse = [], []
        for step in range(steps):
            noted = torch.zeros(2 * channels)
            for _ in range(2):
                gamma = torch.randn(3, channels, 5, 5) * scale[None, :, None, None]
                out = made.remembering(memory, True).project(gamma)
                assert torch.equal(out[out != 0], gamma[out != 0]) and (out != 0).sum(1).max() <= 2
                noted = torch.maximum(noted, made.notes(gamma, out))
                dense.append(gamma)
                sparse.append(out)
            assert memory[1 + 2 * channels :].tolist() == before
            said = made.stepped(memory, noted, window * steps + step + 1)
            assert bool(said) <= (step == steps - 1)
        peaks = [max(float(g[:, c].abs().max()) for g in dense) for c in range(channels)]
        used = [any(bool((g[:, c] != 0).any()) for g in sparse) for c in range(channels)]
        live = [c for c in range(channels) if used[c] and before[c] <= 0]
        usual = sum(peaks[c] for c in live) / len(live)
        for c, by in enumerate(memory[1 + 2 * channels :].tolist()):
            if before[c] > 0 or used[c]:
                assert by == 0
            elif c == 4:
                assert by == -1 and "Γ is zero there, or not finite, before it is projected: 4" in said
            else:
                assert by == 2.0**15 or (by >= 2 and by == 2 ** round(torch.tensor(by).log2().item()) and usual <= by * peaks[c] <= 2 * usual)
                assert peaks[c] * by >= usual or by == 2.0**15
        before = memory[1 + 2 * channels :].tolist()
        assert not memory[: 1 + 2 * channels].any()
    assert sum(by > 0 for by in before) + sum(used) < channels  # some have just been let go


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_tells_nothing(bad):
    """As a forward whose step a GradScaler then skips."""
    torch.manual_seed(0)
    made, memory = registry.create("revival", {"k": 1, "steps": 2}), torch.zeros(1 + 3 * 4)
    gamma = torch.randn(2, 4, 3, 3)
    gamma[:, 1] /= 1e3
    broken = gamma.clone()
    broken[0, :2, 0, 0] = bad
    out = made.remembering(memory, True).project(gamma)
    for noted in (made.notes(broken, made.project(broken)), made.notes(gamma, out)):
        made.stepped(memory, noted, 1)
    assert memory.isfinite().all() and memory[9:].tolist() == pytest.approx([0, float(memory[10]), 0, 0]) and memory[10] >= 256
    half = made.remembering(memory, True).project(torch.full((1, 4, 1, 1), 6e4).half())
    assert half[:, 1].item() == torch.tensor(6e4).half()


def test_what_is_zero_by_itself_is_said_and_left(caplog):
    generator = net(dead=True, silent=True)
    attach(generator, "revival", k=2, steps=2)
    train(generator, 2)
    assert favour(generator)[SILENT] == -1 and favour(generator)[DEAD] > 1
    assert "1 of 8 atoms cannot be revived, since Γ is zero there, or not finite, before it is projected: 5" in caplog.text
    assert not gammas(generator)[1][:, SILENT].any()
    assert (gammas(generator)[1][:, DEAD] != 0).any()


def test_evaluation_copies_and_pickles():
    generator = net()
    attach(generator, "revival", k=2, steps=2)
    train(generator, 3)
    assert favour(generator)[DEAD] > 0
    plain = net()
    attach(plain, "l0_inf", k=2)
    plain.load_state_dict({**plain.state_dict(), **weights(generator)})
    ema, twin = copy.deepcopy(generator).eval(), pickle.loads(pickle.dumps(generator))
    assert torch.equal(ema(noise()), plain.eval()(noise()))
    assert torch.equal(twin(noise()), generator(noise()))
    train(twin, 1)
    assert not any(favour(twin)) and favour(generator)[DEAD] > 0 and favour(ema)[DEAD] > 0


@pytest.mark.parametrize("at", [1, 3, 4, 5])
def test_a_resumed_run_is_the_same_to_the_bit(at, caplog):
    whole = net(silent=True)
    attach(whole, "revival", k=2, steps=3, example_input=noise())
    train(whole, 10, lr=1e-2)
    assert "are favoured" in caplog.text
    first = net(silent=True)
    attach(first, "revival", k=2, steps=3, example_input=noise())
    optimizer = train(first, at, lr=1e-2)
    file = io.BytesIO()
    torch.save({"G": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = net(dead=False)
    attach(second, "revival", k=2, steps=3)
    second.load_state_dict(saved["G"])
    optimizer = torch.optim.Adam(second.parameters(), 1e-2)
    optimizer.load_state_dict(saved["optimizer"])
    train(second, 10 - at, optimizer, at)
    theirs = whole.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in second.state_dict().items())


def test_a_checkpoint_loads_before_the_site_is_known():
    generator = AttentionLast()
    attach(generator, "revival", k=2, steps=5, example_input=noise())
    train(generator, 3)
    (key,) = (name for name in generator.state_dict() if name.endswith("sparse_plugin.memory"))
    other = AttentionLast()
    attach(other, "revival", k=2, steps=5)
    assert not Attachment.of(other).sites
    other.load_state_dict(generator.state_dict())
    other(noise())
    assert torch.equal(other.state_dict()[key], generator.state_dict()[key]) and generator.state_dict()[key][0] == 3


def test_the_log_and_others_beside_it(tmp_path):
    generator = net(silent=True)
    names = ["coherence", "revival", "l1"]
    attach(generator, names, revival={"k": 2, "steps": 2}, run_dir=tmp_path, measure_every=1)
    train(generator, 4)
    lines = [json.loads(line) for line in (tmp_path / "sparsity.jsonl").read_text().splitlines()]
    mine = [line for line in lines if line["regularizer"] == "revival"]
    assert [(line["revived"], line["silent"]) for line in mine] == [(0, 0), (0, 0), (1, 1), (1, 1)]
    assert [line["never_used"] for line in mine] == [2, 2, 1, 1]
    assert {line["regularizer"] for line in lines} == set(names)
    found = Attachment.of(generator).measure(noise())
    assert found[1].measured["silent"] == 1


def test_a_schedule_and_auto():
    generator = net()
    attach(generator, "revival", k={"start": 1.0, "end": 0.25, "steps": 3}, steps=3)
    train(generator, 3)
    assert not any(favour(generator))  # while all of Γ is kept all atoms live
    train(generator, 3)
    assert favour(generator)[DEAD] > 0 and (gammas(generator)[1] != 0).sum(1).max() == 2
    other = net()
    attach(other, "revival", k={"auto": 0.3, "measure": 2, "steps": 2})
    train(other, 5)
    assert (gammas(other)[1] != 0).sum(1).max() == 2  # 0.3 of 8 · 0.95


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precisions_formats_and_gradients(dtype):
    made = registry.create("revival", {"k": 2, "steps": 1})
    memory = torch.zeros(1 + 3 * 6)
    memory[1 + 12 + 2] = 64
    at = made.remembering(memory, True)
    gamma = torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    gamma[:, 2] /= 30
    for each in (gamma, gamma.to(memory_format=torch.channels_last)):
        out = at.project(each)
        assert out.dtype == dtype and out.stride() == each.stride()
        assert torch.equal(out[out != 0], gamma[out != 0]) and (out[:, 2] != 0).any()
        assert not torch.equal(out, made.project(each)) and torch.equal(made.remembering(memory, False).project(each), made.project(each))
    if dtype == torch.float64:
        assert torch.autograd.gradcheck(at.project, (gamma.requires_grad_(),))
        (grad,) = torch.autograd.grad(at.project(gamma).sum(), gamma)
        assert torch.equal(grad, (at.project(gamma) != 0).double())


def test_compiled_and_exported():
    torch._dynamo.reset()
    nets = [net() for _ in range(2)]
    for each in nets:
        attach(each, "revival", k=2, steps=2, example_input=noise())
        optimizer = torch.optim.Adam(each.parameters(), 1e-3)
        run = torch.compile(each, backend="eager") if each is nets[0] else each
        for seed in range(3):
            optimizer.zero_grad()
            run(noise(8, seed)).square().mean().backward()
            optimizer.step()
    assert favour(nets[0])[DEAD] == favour(nets[1])[DEAD] > 1
    assert torch.allclose(nets[0].out.weight, nets[1].out.weight, atol=1e-6)
    program = torch.export.export(nets[1].eval(), (noise(),), strict=False).module()
    assert torch.equal(program(noise()), nets[1](noise()))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"k": 2, "steps": 0}, "field 'steps' is 0"),
        ({"k": 2, "constraint": "l1"}, "constraint is 'l1', which chooses no k coefficients"),
        ({"k": 2, "constraint": "coherence"}, "constraint is 'coherence', which chooses no k coefficients"),
        ({"k": 2, "constraint": "ml_csc"}, "constraint is 'ml_csc', which is more than a projection"),
        ({"k": 2, "constraint": "l0_batch"}, "constraint is 'l0_batch', which is more than a projection"),
        ({"k": 2, "constraint": "revival"}, "constraint is 'revival', which is more than a projection"),
        ({"k": 2, "constraint": "l0_ing"}, "Did you mean 'l0_inf'"),
        ({"k": -1}, "k is -1, a negative count"),
        ({"k": {"start": 1.0, "end": 2.0, "steps": 3}}, "k is"),
        ({"steps": 5}, "field 'k' is missing"),
    ],
)
def test_bad_settings(settings, why):
    with pytest.raises(ConfigError, match=why):
        attach(Residual(), "revival", **settings)


def test_where_there_are_no_atoms():
    with pytest.raises(SiteError, match="follows the atoms of a convolution, and the output of c1 is not the input of one"):
        attach(Residual(), "revival", k=2, sites=["c1:output"])
    with pytest.raises(ConfigError, match="which keeps numbers from forward to forward"):
        attach(Residual(), "ml_csc", k=2, constraint="revival")
    assert registry.by_default("revival").steps == 1000
