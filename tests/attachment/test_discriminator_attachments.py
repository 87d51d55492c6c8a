"""`role="discriminator"`: exactly on at what the last feature layer hands on, in the discriminator's own steps, and nowhere else."""

import copy
import io
import logging
import pickle

import discriminators
import generators
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparse_plugin import Attachment, SparsityConfig, attach
from sparse_plugin.attachment.strip import strip_file
from sparse_plugin.errors import AttachmentError, CheckpointError, ConfigError, PenaltyError, SiteError
from sparse_plugin.measurements.log import read

X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3])


def made(kind=discriminators.Plain, **arguments):
    torch.manual_seed(1)
    return kind(**arguments)


class Making(nn.Module):
    """Images of 16 pixels."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.ConvTranspose2d(6, 8, 4), nn.ConvTranspose2d(8, 3, 4, 4)

    def forward(self, z):
        return torch.tanh(self.last(torch.relu(self.first(z[:, :, None, None]))))


CASES = {
    "conv head": (discriminators.Plain, (X,), "l0_inf", {"k": 3}),
    "map of logits": (discriminators.Patch, (X,), "l0", {"k": 0.25}),
    "linear head": (discriminators.Pooled, (X,), "l0_inf", {"k": 4}),
    "layers alone": (discriminators.Flat, (X,), "l0", {"k": 5}),
    "channels": (discriminators.Plain, (X,), "l0_channel", {"k": 3}),
}


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_the_head_consumes_is_projected(name, deferred):
    kind, inputs, regularizer, settings = CASES[name]
    discriminator, twin = made(kind), made(kind)
    attachment = attach(discriminator, regularizer, role="discriminator", example_input=None if deferred else inputs, **settings)
    assert attachment.role == "discriminator"
    discriminator.eval(), twin.eval()
    scores = discriminator(*inputs)
    (site,) = attachment.sites
    gamma = []
    head = twin.get_submodule(site.path)
    head.register_forward_pre_hook(lambda module, args: gamma.append(args[0]))
    twin(*inputs)
    whole = gamma[0] if gamma[0].dim() == 4 else gamma[0][:, :, None, None]
    expected = attachment.regularizer.project(whole).view_as(gamma[0])
    handle = head.register_forward_pre_hook(lambda module, args: (expected,))
    assert torch.equal(twin(*inputs), scores)
    handle.remove()
    assert not torch.equal(made(kind).eval()(*inputs), scores)
    (measured,) = attachment.measure(*inputs)
    assert measured.sparsity == pytest.approx(100 * float((expected != 0).float().mean()), abs=1e-3)
    assert measured.record()["role"] == "discriminator"


def test_of_a_projection_head_and_embedding_read_the_same():
    discriminator = made(discriminators.Pooled, classes=4)
    attach(discriminator, "l0_inf", k=2, role="discriminator", example_input=(X, Y))
    seen = {}
    discriminator.linear.register_forward_pre_hook(lambda module, args: seen.update(head=args[0]))
    handed = []
    discriminator.activation.register_forward_hook(lambda module, args, output: handed.append(output))
    discriminator(X, Y)
    assert int((handed[0] != 0).sum(1).max()) <= 2 and torch.equal(handed[0].sum((2, 3)), seen["head"])


def test_all_of_it_kept_is_the_same_to_the_bit():
    plain, attached = made(), made()
    attach(attached, "l0_inf", k=1.0, role="discriminator", example_input=X)
    assert torch.equal(plain(X), attached(X))


def test_every_call_goes_through_it_or_stops():
    class Early(discriminators.Patch):
        def forward(self, x, only_features=False):
            h = self.body(x)
            return h if only_features else self.head(h)

    discriminator = made(Early)
    attach(discriminator, "l0_inf", k=2, role="discriminator", example_input=X)
    discriminator(X)
    with pytest.raises(SiteError, match="returned without going through the input of head"):
        discriminator(X, only_features=True)


def test_a_head_that_is_replaced_is_not_passed_over():
    discriminator = made(discriminators.Patch)
    attach(discriminator, "l0_inf", k=2, role="discriminator", example_input=X)
    discriminator.head = nn.Conv2d(16, 1, 3, padding=1)
    with pytest.raises(SiteError, match="returned without going through"):
        discriminator(X)


def step(loss, optimizer):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def gradients(network):
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_the_penalty_reaches_the_discriminator_s_step_alone(delivery):
    """By hand: D's loss of real and generated images has the penalty of both as one batch, G's loss has none."""
    generator, z = Making(), torch.randn(4, 6)
    discriminator, twin = made(discriminators.Patch), made(discriminators.Patch)
    attachment = attach(discriminator, "l1", weight=3.0, delivery=delivery, role="discriminator", example_input=X)
    optimizer = torch.optim.SGD(discriminator.parameters(), 0.1)

    fake = generator(z)
    loss = F.softplus(-discriminator(X)).mean() + F.softplus(discriminator(fake.detach())).mean()
    if delivery == "loss":
        loss = loss + attachment.penalty(loss)
    optimizer.zero_grad()
    loss.backward()
    both = torch.cat((twin.body(X), twin.body(fake.detach())))
    by_hand = F.softplus(-twin(X)).mean() + F.softplus(twin(fake.detach())).mean() + 3.0 * both.abs().mean()
    by_hand.backward()
    expected = gradients(twin)
    assert all(torch.allclose(grad, expected[name], atol=1e-6) for name, grad in gradients(discriminator).items())
    optimizer.step()
    twin.load_state_dict({k: v for k, v in discriminator.state_dict().items() if "sparse_plugin" not in k})

    (-discriminator(fake).mean()).backward()
    ours = gradients(generator)
    generator.zero_grad()
    (-twin(generator(z)).mean()).backward()
    assert all(torch.allclose(grad, ours[name], atol=1e-7) for name, grad in gradients(generator).items())


def test_frozen_in_the_generator_s_step():
    generator, discriminator = Making(), made(discriminators.Patch)
    attach(discriminator, "l1", weight=3.0, role="discriminator", example_input=X)
    discriminator.requires_grad_(False)
    plain = made(discriminators.Patch)
    z = torch.randn(4, 6)
    (-discriminator(generator(z)).mean()).backward()
    ours = gradients(generator)
    generator.zero_grad()
    (-plain(generator(z)).mean()).backward()
    assert all(torch.allclose(grad, ours[name]) for name, grad in gradients(generator).items())


@pytest.mark.parametrize("same_forward", [True, False])
def test_a_penalty_on_the_slope_has_none_of_it(same_forward):
    """WGAN-GP's and R1: the slope in the images is the discriminator's own, and the loss has the penalty once."""
    discriminator, twin = made(discriminators.Patch), made(discriminators.Patch)
    attach(discriminator, "l1", weight=3.0, role="discriminator", example_input=X)

    def loss_of(network):
        at = X.clone().requires_grad_()
        scores = network(at)
        (slope,) = torch.autograd.grad(scores.sum() if same_forward else network(at).sum(), at, create_graph=True)
        return F.softplus(-scores).mean() + slope.square().sum(), slope

    ours, slope = loss_of(discriminator)
    theirs, expected = loss_of(twin)
    assert torch.allclose(slope, expected)
    ours.backward()
    (theirs + 3.0 * twin.body(X).abs().mean()).backward()
    by_hand = gradients(twin)
    assert all(torch.allclose(grad, by_hand[name], atol=1e-5) for name, grad in gradients(discriminator).items())


def test_fakes_with_a_graph_in_its_own_step_are_said(caplog):
    generator, discriminator = Making(), made(discriminators.Patch)
    attach(discriminator, "l1", weight=1.5, role="discriminator", example_input=X)
    optimizer = torch.optim.SGD(discriminator.parameters(), 0.01)
    other = torch.optim.SGD(generator.parameters(), 0.01)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # detached, and the generator's step between
            step(F.softplus(-discriminator(X)).mean() + discriminator(generator(torch.randn(4, 6)).detach()).mean(), optimizer)
            step(-discriminator(generator(torch.randn(4, 6))).mean(), other)
        assert "left out" not in caplog.text
        step(discriminator(X).mean() + discriminator(generator(torch.randn(4, 6))).mean(), optimizer)
    assert "l1(weight=1.5, reduction=mean) of the discriminator was left out of 1 backward passes before its optimizer's step" in caplog.text
    assert "detach()" in caplog.text


def test_a_loss_that_lacks_it_is_refused():
    discriminator = made()
    attach(discriminator, "l1", weight=1.0, delivery="loss", role="discriminator", example_input=X)
    optimizer = torch.optim.SGD(discriminator.parameters(), 0.01)
    with pytest.raises(PenaltyError, match="the discriminator took a step without its penalty"):
        step(discriminator(X).mean(), optimizer)


def test_schedules_count_its_own_steps(tmp_path):
    generator, discriminator = Making(), made()
    k = {"start": 1.0, "end": 0.25, "steps": 4}
    attachment = attach(
        discriminator, "l0_inf", k=k, role="discriminator", example_input=X, run_dir=tmp_path, measure_every=1
    )
    own, other = (torch.optim.SGD(network.parameters(), 0.01) for network in (discriminator, generator))
    for _ in range(3):
        for _ in range(2):
            step(discriminator(X).mean(), own)
        step(discriminator(generator(torch.randn(4, 6))).mean(), other)
    records = list(read(tmp_path / "sparsity.jsonl"))
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record["k"] for record in records] == [1.0, 0.8125, 0.625, 0.4375, 0.25, 0.25]
    assert {record["role"] for record in records} == {"discriminator"} and attachment.role == "discriminator"


def test_checkpoints_carry_it(tmp_path):
    discriminator = made()
    attach(discriminator, "l0_inf", k=3, role="discriminator", example_input=X)
    scores = discriminator(X)
    torch.save(discriminator.state_dict(), tmp_path / "D.pth")
    with pytest.raises(RuntimeError, match=r"Unexpected key.*sparse_plugin"):
        made().load_state_dict(torch.load(tmp_path / "D.pth"))
    again = discriminators.Plain()
    attach(again, "l0_inf", k=3, role="discriminator")
    again.load_state_dict(torch.load(tmp_path / "D.pth"))
    assert torch.equal(again(X), scores)
    other = discriminators.Plain()
    attach(other, "l0_inf", k=4, role="discriminator", example_input=X)
    with pytest.raises(CheckpointError, match=r"k=3, role=discriminator.*k=4, role=discriminator"):
        other.load_state_dict(torch.load(tmp_path / "D.pth"))
    as_generator = discriminators.Plain()
    attach(as_generator, "l0_inf", k=3, sites="main.4", example_input=X)
    with pytest.raises(CheckpointError, match="role=discriminator"):
        as_generator.load_state_dict(torch.load(tmp_path / "D.pth"))
    assert strip_file(str(tmp_path / "D.pth"), str(tmp_path / "plain.pth"))
    made().load_state_dict(torch.load(tmp_path / "plain.pth"))


def test_copies_and_pickles_stay_attached():
    discriminator = made(discriminators.Patch)
    attach(discriminator, "l0_inf", k=3, role="discriminator", example_input=X)
    discriminator.eval()
    scores = discriminator(X)
    twin = copy.deepcopy(discriminator)
    buffer = io.BytesIO()
    pickle.dump(discriminator, buffer)
    loaded = pickle.loads(buffer.getvalue())
    assert torch.equal(twin(X), scores) and torch.equal(loaded(X), scores)
    Attachment.of(discriminator).detach()
    assert not torch.equal(discriminator(X), scores) and torch.equal(twin(X), scores)
    with pytest.raises(AttachmentError, match="detached"):
        _ = Attachment(discriminator).role


def test_both_networks_at_once():
    generator, discriminator = Making(), made()
    z = torch.randn(4, 6)
    of_g = attach(generator, "l0_inf", k=2, example_input=z)
    of_d = attach(discriminator, "l1", weight=2.0, role="discriminator", example_input=X)
    own, other = (torch.optim.SGD(network.parameters(), 0.01) for network in (discriminator, generator))
    for _ in range(2):
        step(F.softplus(-discriminator(X)).mean() + discriminator(generator(z).detach()).mean(), own)
        step(-discriminator(generator(z)).mean(), other)
    assert (of_g.role, of_d.role) == ("generator", "discriminator")
    assert of_g.measure(z)[0].sparsity <= 25 and of_d.measure(X)[0].penalty > 0


def test_one_config_of_both():
    config = SparsityConfig.from_mapping(
        {"regularizer": "l0_inf", "k": 2, "beside": {"role": "discriminator", "regularizer": "l1", "weight": 0.5}}
    )
    z = torch.randn(4, 6)
    with pytest.raises(ConfigError, match=r'sections of two networks, l0_inf&l1@discriminator.*config\.for_role\("discriminator"\)'):
        attach(Making(), config, example_input=z)
    assert attach(Making(), config.for_role("generator"), example_input=z).role == "generator"
    assert str(attach(made(), config.for_role("discriminator"), example_input=X).regularizer) == "l1(weight=0.5, reduction=mean)"


def test_the_discriminator_remains_untouched_by_default():
    generator, discriminator = Making(), made()
    plain = made()
    attach(generator, "l0_inf", k=2, example_input=torch.randn(4, 6))
    optimizer, theirs = (torch.optim.SGD(network.parameters(), 0.01) for network in (discriminator, plain))
    step(discriminator(X).mean(), optimizer)
    step(plain(X).mean(), theirs)
    assert discriminator.state_dict().keys() == plain.state_dict().keys() and Attachment.of(discriminator) is None
    assert all(torch.equal(a, b) for a, b in zip(discriminator.parameters(), plain.parameters(), strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in discriminator.modules())


@pytest.mark.parametrize(
    ("kind", "inputs", "settings", "error", "said"),
    [
        (generators.Plain, torch.randn(2, 6), {}, SiteError, "an image: a discriminator makes scores of images"),
        (discriminators.Reader, torch.tensor([[1, 2]]), {}, SiteError, "was given no images"),
        (discriminators.Painter, X, {}, SiteError, "an image: a discriminator makes scores"),
        (discriminators.Shared, (X, Y), {}, SiteError, "by several ways"),
        (discriminators.Plain, X, {"role": "critic"}, ConfigError, "sparse.role is 'critic'; input should be 'generator' or 'discriminator'"),
        (discriminators.Plain, X, {"adapter": "mimicry"}, ConfigError, "adapter 'mimicry' says where Γ of a generator is"),
        (discriminators.Plain, X, {"sites": "main.9"}, SiteError, "site 'main.9' does not exist in Plain"),
        (discriminators.Plain, X, {"sites": ""}, SiteError, "cannot be the whole discriminator"),
    ],
)
def test_what_is_no_discriminator_or_not_meant(kind, inputs, settings, error, said):
    with pytest.raises(error, match=said):
        attach(kind(), "l0_inf", **{"k": 2, "role": "discriminator", "example_input": inputs, **settings})


def test_a_generator_found_at_its_first_call_is_refused_there():
    generator = generators.Plain()
    attach(generator, "l0_inf", k=2, role="discriminator")
    with pytest.raises(SiteError, match="an image: a discriminator makes scores"):
        generator(torch.randn(2, 6))


def test_dictionaries_are_refused():
    with pytest.raises(ConfigError, match="a discriminator synthesizes none"):
        attach(made(), "ml_csc", k=2, role="discriminator", example_input=X)
    with pytest.raises(ConfigError, match="a discriminator synthesizes none"):
        attach(made(), ["ml_csc", "l1"], ml_csc={"k": 2}, l1={"weight": 1.0}, role="discriminator", example_input=X)


def test_a_penalty_of_atoms_is_refused():
    with pytest.raises(ConfigError, match="synthesizes nothing of atoms"):
        attach(made(), "coherence", weight=1.0, role="discriminator", example_input=X)


def test_a_discriminator_without_its_role_is_told():
    with pytest.raises(SiteError, match='of a discriminator say role="discriminator"'):
        attach(discriminators.Pooled(), "l0_inf", k=2, example_input=X)


def test_sites_by_hand():
    discriminator = made(discriminators.Shared)
    attachment = attach(discriminator, "l0_inf", k=2, sites="two:output", role="discriminator", example_input=(X, Y))
    assert attachment.measure(X, Y)[0].sparsity == pytest.approx(100 * 2 / 16)
    several = attach(made(discriminators.Scales), "l0", k=0.5, role="discriminator", example_input=X)
    assert len(several.sites) == 2


def test_compiled():
    discriminator = made()
    attach(discriminator, "l0_inf", k=3, role="discriminator", example_input=X)
    eager = discriminator(X)
    assert torch.allclose(torch.compile(discriminator, backend="eager")(X), eager)
    plain, compiled = made(), made()
    for each in (plain, compiled):
        attach(each, "l1", weight=1.0, role="discriminator", example_input=X)
    plain(X).sum().backward()
    torch._dynamo.reset()
    torch.compile(compiled, backend="eager")(X).sum().backward()  # Γ's part of it runs uncompiled
    expected = gradients(plain)
    assert all(torch.allclose(grad, expected[name], atol=1e-6) for name, grad in gradients(compiled).items())
    torch._dynamo.reset()
    with pytest.raises(Exception, match="whose graph is compiled"):
        torch.compile(compiled, backend="eager", fullgraph=True)(X)
