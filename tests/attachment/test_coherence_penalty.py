"""The penalty on D1's atoms is in every loss exactly once, by either way: against the term written into the loss, by a loop."""

import copy
import json
import pickle

import pytest
import torch
from generators import Modulated, Padded, Plain, Residual, noise
from torch import nn
from torch.utils.checkpoint import checkpoint

from sparse_plugin import Attachment, attach
from sparse_plugin.attachment.penalty import _said
from sparse_plugin.dictionary.coherence import mutual_coherence
from sparse_plugin.errors import ConfigError, PenaltyError, SiteError

WEIGHT = 0.3


@pytest.fixture(autouse=True)
def _nothing_said():
    """What is said once a process is said in each of these tests, and in others after them."""
    before = set(_said)
    _said.clear()
    yield
    _said.clear()
    _said.update(before)


class Scaled(nn.Conv2d):
    """A forward of its own, which torch knows nothing of: each channel of the image has a gain (no atom keeps its direction)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.tensor([1.0, 2.0, 0.5])[:, None, None, None])

    def forward(self, gamma):
        return nn.functional.conv2d(gamma, self.weight * self.gain, self.bias, padding=self.padding)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, z):
        return self.head(self.body(z[:, :, None, None].expand(-1, -1, 4, 4)))


def with_d1(change):
    def build():
        generator = Residual()
        generator.out = change(generator.out)
        return generator

    return build


def dilated():
    generator = Residual()
    generator.out = nn.ConvTranspose2d(8, 3, 3, 2, 2, output_padding=1, dilation=2)
    return generator


# A generator, the path of its D1, and what its D1 applies.
NETS = {
    "conv": (Residual, "out", lambda d: d.weight),
    "transposed": (Plain, "main.6", lambda d: d.weight),
    "padded": (Padded, "head.1", lambda d: d.weight),
    "upsampled": (Nested, "head.1", lambda d: d.weight),
    "dilated": (dilated, "out", lambda d: d.weight),
    "spectral norm": (with_d1(nn.utils.parametrizations.spectral_norm), "out", lambda d: d.parametrizations.weight.original),
    "weight norm": (with_d1(nn.utils.parametrizations.weight_norm), "out", lambda d: d.weight),
    "old spectral norm": (with_d1(nn.utils.spectral_norm), "out", lambda d: d.weight_orig),
    "forward of its own": (with_d1(lambda d: Scaled(8, 3, 3, padding=1)), "out", lambda d: d.weight * d.gain),
}


def energy(d1, weight):
    """Σ of squared inner products of normalized columns, from the definition: shift one atom over the other by whole positions of Γ."""
    atoms = weight if isinstance(d1, nn.ConvTranspose2d) else weight.flip((2, 3)).transpose(0, 1)
    columns = []
    reach, (stride, dilation) = 4, (d1.stride[0], d1.dilation[0])
    canvas = 2 * reach * stride + (atoms.shape[2] - 1) * dilation + 1
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            column = atoms.new_zeros(len(atoms), atoms.shape[1], canvas, canvas)
            rows = torch.arange(atoms.shape[2]) * dilation + i * stride
            cols = torch.arange(atoms.shape[3]) * dilation + j * stride
            columns.append(column.index_put((*torch.meshgrid(torch.arange(len(atoms)), torch.arange(atoms.shape[1]), rows, cols, indexing="ij"),), atoms))
    columns = torch.stack(columns).flatten(2)
    columns = columns / columns.norm(dim=2, keepdim=True)
    middle = columns[len(columns) // 2]
    return (columns.flatten(0, 1) @ middle.T).square().sum() - len(atoms)


def models(kind):
    torch.manual_seed(0)
    generator = kind()
    torch.manual_seed(1)
    return generator, nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 1))


def gan_step(generator, critic, term=lambda: 0.0, micro=1, scaler=None, wrapped=None):
    """A step as hosts take it: D on detached images, then G. Returns G's parameters after it."""
    opt_g = torch.optim.SGD(generator.parameters(), 0.05)
    run = generator if wrapped is None else wrapped
    critic(run(noise(8, seed=9)).detach()).mean().backward()
    opt_g.zero_grad()
    for part in noise(8).chunk(micro):
        loss = (-critic(run(part)).mean() + term()) / micro
        (loss if scaler is None else scaler.scale(loss)).backward()
    if scaler is None:
        opt_g.step()
    else:
        scaler.step(opt_g)
        scaler.update()
    return {name: p.detach().clone() for name, p in generator.named_parameters()}


def explicit(kind, path, weight, micro=1):
    generator, critic = models(kind)
    d1 = generator.get_submodule(path)
    return gan_step(generator, critic, lambda: WEIGHT * energy(d1, weight(d1)), micro)


def close(ours, theirs, tolerance=2e-6):
    return all(torch.allclose(ours[name], theirs[name], atol=tolerance) for name in theirs)


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
@pytest.mark.parametrize("net", NETS)
def test_equals_an_explicit_term(net, delivery):
    kind, path, weight = NETS[net]
    generator, critic = models(kind)
    attachment = attach(generator, "coherence", weight=WEIGHT, delivery=delivery)
    ours = gan_step(generator, critic, attachment.penalty if delivery == "loss" else lambda: 0.0)
    assert close(ours, explicit(kind, path, weight))
    assert not close(ours, gan_step(*models(kind)), 1e-4)


@pytest.mark.parametrize("scaled", [False, True], ids=["", "loss-scaling"])
@pytest.mark.parametrize("micro", [1, 4], ids=["", "accumulation"])
@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_scaling_and_accumulation(delivery, micro, scaled):
    generator, critic = models(Plain)
    attachment = attach(generator, "coherence", weight=WEIGHT, delivery=delivery, accumulation=micro)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12) if scaled else None
    ours = gan_step(generator, critic, attachment.penalty if delivery == "loss" else lambda: 0.0, micro, scaler)
    assert close(ours, explicit(Plain, "main.6", lambda d: d.weight, micro))


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_a_loss_of_several_forwards_has_it_once(delivery):
    generator, critic = models(Plain)
    generator.eval()
    plain = copy.deepcopy(generator)
    attachment = attach(generator, "coherence", weight=WEIGHT, delivery=delivery)
    stale = generator(noise(3, seed=7))
    for net in (generator, plain):
        loss = sum(critic(net(noise(size, size))).mean() for size in (2, 6))
        if net is plain:
            loss = loss + WEIGHT * energy(plain.main[6], plain.main[6].weight)
        elif delivery == "loss":
            loss = loss + attachment.penalty(loss)
        loss.backward()
    assert torch.allclose(generator.main[6].weight.grad, plain.main[6].weight.grad, atol=1e-6)
    del stale


def test_autocast_penalizes_the_weights_and_not_their_halves():
    generator, critic = models(Plain)
    attach(generator, "coherence", weight=WEIGHT)
    with torch.autocast("cpu", torch.bfloat16):
        loss = critic(generator(noise()).float() * 0).mean()
    loss.backward()
    d1 = generator.main[6]
    (expected,) = torch.autograd.grad(WEIGHT * energy(d1, d1.weight), d1.weight)
    assert torch.allclose(d1.weight.grad, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("net", ["conv", "transposed", "spectral norm", "padded"])
def test_compiled_it_is_the_same(net):
    kind, path, weight = NETS[net]
    generator, critic = models(kind)
    attach(generator, "coherence", weight=WEIGHT, example_input=noise())
    compiled = torch.compile(generator, backend="aot_eager", fullgraph=True)
    ours = gan_step(generator, critic, wrapped=compiled)
    assert close(ours, explicit(kind, path, weight))


@pytest.mark.parametrize("net", ["old spectral norm", "forward of its own"])
def test_atoms_that_are_made_as_d1_runs_break_the_compiled_graph(net):
    kind, path, weight = NETS[net]
    generator, critic = models(kind)
    attach(generator, "coherence", weight=WEIGHT, example_input=noise())
    ours = gan_step(generator, critic, wrapped=torch.compile(generator, backend="aot_eager"))
    assert close(ours, explicit(kind, path, weight))


def test_a_schedule_of_its_weight_and_the_log(tmp_path):
    generator, critic = models(Plain)
    attach(generator, "coherence", weight={"start": 0.0, "end": 2.0, "steps": 2}, run_dir=tmp_path, measure_every=1)
    before = attach(copy.deepcopy(models(Plain)[0]), "coherence", weight=1.0, example_input=noise())
    first = before.measure(noise())[0]
    for _ in range(4):
        gan_step(generator, critic)
    lines = [json.loads(line) for line in (tmp_path / "sparsity.jsonl").read_text().splitlines()]
    assert [line["weight"] for line in lines] == [0.0, 1.0, 2.0, 2.0] and {line["regularizer"] for line in lines} == {"coherence"}
    assert lines[0]["penalty"] == 0 < lines[1]["penalty"]
    assert lines[0]["mutual_coherence"] == pytest.approx(first.measured["mutual_coherence"])
    assert first.penalty == pytest.approx(float(energy(before.generator.main[6], before.generator.main[6].weight.detach())), rel=1e-4)


def test_training_on_it_alone_makes_atoms_less_alike():
    generator, _ = models(Plain)
    attachment = attach(generator, "coherence", weight=1.0)
    optimizer = torch.optim.Adam(generator.parameters(), 0.02)
    before = mutual_coherence(attachment.kernel()) if attachment.sites else None
    energies = []
    for _ in range(60):
        optimizer.zero_grad()
        (generator(noise()).sum() * 0).backward()
        optimizer.step()
        energies.append(attachment.measure(noise())[0].penalty)
    assert energies[-1] < 0.6 * energies[0] and energies[-1] >= 8**2 / 12 - 8
    assert float(mutual_coherence(attachment.kernel())) < float(before)


@pytest.mark.parametrize("names", [["coherence", "l0_inf"], ["l0_inf", "coherence"], ["coherence", "l1"], ["coherence", "ml_csc"]])
@pytest.mark.parametrize("delivery", ["gradient", "loss"])
@pytest.mark.parametrize("kind", [Plain, Padded])
def test_beside_others(names, delivery, kind):
    settings = {"coherence": {"weight": WEIGHT}, "l0_inf": {"k": 3}, "l1": {"weight": 0.5}, "ml_csc": {"k": 3}}
    (other,) = set(names) - {"coherence"}
    d1 = "main.6" if kind is Plain else "head.1"
    grads = []
    for parts in (names, other):
        generator, critic = models(kind)
        own = {name: settings[name] for name in parts} if isinstance(parts, list) else settings[other]
        how = delivery if isinstance(parts, list) or other == "l1" else None
        attachment = attach(generator, parts, delivery=how, **own)
        loss = critic(generator(noise())).mean()
        if how == "loss":
            loss = loss + attachment.penalty()
        if parts == other:
            loss = loss + WEIGHT * energy(generator.get_submodule(d1), generator.get_submodule(d1).weight)
        loss.backward()
        grads.append({name: p.grad for name, p in generator.named_parameters()})
    assert grads[0].keys() == grads[1].keys() and close(grads[0], grads[1])


def test_with_weight_zero_training_is_the_same_to_the_bit():
    kind = NETS["spectral norm"][0]
    generator, critic = models(kind)
    attach(generator, "coherence", weight=0.0)
    ours, theirs = gan_step(generator, critic), gan_step(*models(kind))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("net", ["spectral norm", "old spectral norm"])
def test_the_power_iteration_of_spectral_norm_takes_no_step_more(net):
    kind = NETS[net][0]
    nets = [models(kind)[0] for _ in range(2)]
    attach(nets[0], "coherence", weight=WEIGHT)
    for g in nets:
        g(noise())
    theirs = dict(nets[1].named_buffers())
    assert all(torch.equal(b, theirs[name]) for name, b in nets[0].named_buffers() if "sparse_plugin" not in name)


def test_d1_alone_is_trained_or_frozen(caplog):
    generator, _ = models(Residual)
    attach(generator, "coherence", weight=WEIGHT)
    generator.requires_grad_(False)
    generator(noise())
    assert "frozen" not in caplog.text  # as in a step of D
    generator.out.requires_grad_(True)
    (generator(noise()).sum() * 0).backward()
    (expected,) = torch.autograd.grad(WEIGHT * energy(generator.out, generator.out.weight), generator.out.weight)
    assert torch.allclose(generator.out.weight.grad, expected, atol=1e-5)
    generator.requires_grad_(True).out.requires_grad_(False)
    generator(noise()).sum().backward()
    assert "D1 at the input of out is frozen, so that coherence(weight=0.3) has nothing to act on" in caplog.text


def test_copies_never_feed_it_and_pickles_do():
    generator, _ = models(Plain)
    attach(generator, "coherence", weight=WEIGHT)
    generator(noise())
    ema, twin = copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))
    grads = {}
    for name, net in (("ema", ema), ("twin", twin)):
        (net(noise()).sum() * 0).backward()
        grads[name] = net.main[6].weight.grad
    assert not grads["ema"].any() and grads["twin"].any()
    assert Attachment.of(ema).measure(noise())[0].measured["mutual_coherence"] > 0
    attachment = attach(models(Plain)[0], "coherence", weight=WEIGHT, delivery="loss", example_input=noise())
    with pytest.raises(PenaltyError, match="is a copy"):
        Attachment.of(copy.deepcopy(attachment.generator)).penalty()


def test_a_checkpoint_carries_it():
    generator, _ = models(Padded)
    attach(generator, ["l0_inf", "coherence"], l0_inf={"k": 3}, coherence={"weight": WEIGHT}, example_input=noise())
    other, _ = models(Padded)
    attach(other, ["l0_inf", "coherence"], l0_inf={"k": 3}, coherence={"weight": WEIGHT}, example_input=noise())
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other.eval()(noise()), generator.eval()(noise()))


def test_what_a_generator_forgets_is_told():
    generator, critic = models(Plain)
    attach(generator, "coherence", weight=WEIGHT, delivery="loss")
    with pytest.raises(PenaltyError, match=r"took a step without its penalty coherence"):
        gan_step(generator, critic)


def test_second_order_gradients_leave_it_out():
    generator, _ = models(Residual)
    plain = pickle.loads(pickle.dumps(generator))
    attach(generator, "coherence", weight=WEIGHT)
    for g in (generator, plain):
        z = noise().requires_grad_()
        image = g(z)
        (slope,) = torch.autograd.grad(image.square().sum(), z, create_graph=True)
        (slope.norm() + 0 * image.mean()).backward()
    theirs = dict(plain.named_parameters())
    assert all(torch.equal(p.grad, theirs[name].grad) for name, p in generator.named_parameters())


def test_functional_gradients_have_it():
    generator, _ = models(Residual)
    generator.eval()
    attach(generator, "coherence", weight=WEIGHT, example_input=noise())
    weights = {name: p.detach() for name, p in generator.named_parameters()}
    found = torch.func.grad(lambda w: torch.func.functional_call(generator, w, noise()).sum() * 0)(weights)
    (expected,) = torch.autograd.grad(WEIGHT * energy(generator.out, generator.out.weight), generator.out.weight)
    assert torch.allclose(found["out.weight"], expected, atol=1e-5)
    per = torch.func.vmap(torch.func.grad(lambda w, z: torch.func.functional_call(generator, w, z[None]).sum() * 0), (None, 0))
    assert torch.allclose(per(weights, noise())["out.weight"][1], expected, atol=1e-5)


@pytest.mark.parametrize("net", ["conv", "forward of its own"])
def test_inside_a_checkpoint(net):
    kind, path, weight = NETS[net]
    generator, critic = models(kind)
    attach(generator, "coherence", weight=WEIGHT, example_input=noise())
    critic(checkpoint(generator, noise(), use_reentrant=False)).mean().backward()
    plain, critic = models(kind)
    image = checkpoint(plain, noise(), use_reentrant=False)
    d1 = plain.get_submodule(path)
    (critic(image).mean() + WEIGHT * energy(d1, weight(d1))).backward()
    theirs = {name: p.grad for name, p in plain.named_parameters()}
    assert close({name: p.grad for name, p in generator.named_parameters()}, theirs, 1e-5)


def test_what_has_no_atoms_is_refused():
    with pytest.raises(SiteError, match=r"coherence\(weight=0.3\) penalizes the atoms at the .*, and there are none: .* takes more than Γ"):
        generator = Modulated()
        attach(generator, "coherence", weight=WEIGHT, sites=["rgb8"])
    with pytest.raises(SiteError, match="the output of c1 is behind one; name the input of a convolution"):
        attach(Residual(), "coherence", weight=WEIGHT, sites=["c1:output"])
    for wrong, why in (({"weight": -1.0}, "greater than or equal to 0"), ({"k": 3}, "there is no field 'k'"), ({"weight": "auto"}, "weight")):
        with pytest.raises(ConfigError, match=why):
            attach(Residual(), "coherence", **wrong)
    assert attach(Residual(), "coherence").regularizer.weight == 1e-4
