"""The rules of an attachment."""

import copy
import gc
import io
import pickle

import pytest
import torch
from generators import Modulated, Padded, Plain, Residual, consumed, noise
from torch import nn
from torch.amp.grad_scaler import GradScaler

import sparse_plugin
from sparse_plugin import Attachment, attach
from sparse_plugin.attachment import optimizer_steps
from sparse_plugin.errors import AttachmentError, CheckpointError

REGULARIZERS = [("l1", {"weight": 0.1}), ("l0", {"k": 0.1}), ("l0_inf", {"k": 2}), ("ml_csc", {"k": 3})]

CONSTRAINTS = REGULARIZERS[1:]

NAME = lambda value: value if isinstance(value, str) else ""  # noqa: E731

GENERATORS = [(Plain, "main.6"), (Residual, "out"), (Padded, "head.1")]


def density(gamma):
    return float((gamma != 0).float().mean())


@pytest.mark.parametrize(("kind", "conv"), GENERATORS, ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
def test_needles_of_what_d1_consumes(kind, conv, example):
    generator = kind()
    attach(generator, "l0_inf", k=2, example_input=noise() if example else None)
    gamma = consumed(generator, conv, noise())
    # Padding copies whole needles, so the count holds for the padded tensor too.
    assert int((gamma != 0).sum(1).max()) == 2


@pytest.mark.parametrize(("name", "settings"), REGULARIZERS, ids=NAME)
def test_detach_leaves_no_trace(name, settings):
    gc.collect()  # generators of other tests that are still attached
    generator = Residual()
    generator(noise())
    plain = copy.deepcopy(generator)
    state = [
        (path, {k: v for k, v in vars(m).items() if "hook" in k}, list(m._modules))
        for path, m in generator.named_modules()
    ]
    before = repr(state)
    attachment = attach(generator, name, example_input=noise(), **settings)
    if name != "l1":
        assert not torch.equal(generator.eval()(noise()), plain.eval()(noise()))
    attachment.detach()
    attachment.detach()
    after = [
        (path, {k: v for k, v in vars(m).items() if "hook" in k}, list(m._modules))
        for path, m in generator.named_modules()
    ]
    assert repr(after) == before
    assert torch.equal(generator.eval()(noise()), plain.eval()(noise()))
    assert list(generator.state_dict()) == list(plain.state_dict())
    assert Attachment.of(generator) is None
    assert not hasattr(GradScaler.scale, "__wrapped__")
    assert optimizer_steps._handle is None or optimizer_steps._watched


def train(generator, steps=3, lr=0.05):
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(generator.parameters(), lr)
    for step in range(steps):
        optimizer.zero_grad()
        generator(noise(seed=step)).square().mean().backward()
        optimizer.step()
    return {name: value for name, value in generator.state_dict().items() if "sparse_plugin" not in name}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("l0_inf", {"k": 1.0}),
        ("l0", {"k": 1.0}),
        ("l0_inf", {"k": 999}),
        ("l1", {"weight": 0.0}),
        ("ml_csc", {"k": 1.0}),
    ],
    ids=lambda v: v if isinstance(v, str) else str(v),
)
def test_everything_kept_is_bit_identical(name, settings):
    first = Residual()
    second = copy.deepcopy(first)
    state = torch.get_rng_state()
    attach(second, name, **settings)
    assert torch.equal(torch.get_rng_state(), state)  # the host's random numbers stay its own
    if name == "ml_csc":
        assert torch.equal(first(noise()), second(noise()))  # the identity at step 0; then D2 learns
        return
    plain, kept = train(first), train(second)
    assert all(torch.equal(plain[key], kept[key]) for key in plain)


def test_a_projection_changes_training():
    first = Residual()
    second = copy.deepcopy(first)
    attach(second, "l0_inf", k=2)
    plain, sparse = train(first), train(second)
    assert not torch.equal(plain["c1.weight"], sparse["c1.weight"])


class TestCopies:
    @pytest.mark.parametrize(("name", "settings"), CONSTRAINTS, ids=NAME)
    def test_an_ema_copy_is_projected_and_independent(self, name, settings):
        generator = Residual()
        attachment = attach(generator, name, **settings)
        ema = copy.deepcopy(generator)
        generator(noise()).sum().backward()
        later = copy.deepcopy(generator)  # after a forward with gradients: nothing of it is held
        attachment.detach()
        for twin in (ema, later):
            full = (consumed(generator, "out", noise()) != 0).sum()
            assert (consumed(twin, "out", noise()) != 0).sum() < full
            assert Attachment.of(twin) is not None

    def test_a_copy_never_feeds_the_penalty(self):
        generator = Residual()
        attach(generator, "l1", weight=10.0)
        twin, bare = copy.deepcopy(generator), copy.deepcopy(generator)
        Attachment.of(bare).detach()
        for g in (twin, bare):
            g(noise()).mean().backward()
        assert torch.equal(twin.c1.weight.grad, bare.c1.weight.grad)
        generator(noise()).mean().backward()
        assert not torch.equal(generator.c1.weight.grad, bare.c1.weight.grad)
        with pytest.raises(sparse_plugin.errors.PenaltyError, match="count it twice"):
            Attachment.of(twin).penalty()

    def test_averaged_weights_of_every_kind(self):
        generator = Residual()
        attach(generator, "ml_csc", k=2)
        ema = torch.optim.swa_utils.AveragedModel(generator, use_buffers=True)
        train(generator)
        ema.update_parameters(generator)
        ema.update_parameters(generator)
        assert int((consumed(ema, "module.out", noise()) != 0).sum(1).max()) <= 2
        for ours, theirs in zip(
            generator.state_dict().values(), copy.deepcopy(generator).state_dict().values(), strict=True
        ):
            if ours.is_floating_point():  # EMA over every entry of a state_dict
                theirs.data.mul_(0.999).add_(ours.data, alpha=0.001)

    @pytest.mark.parametrize(("name", "settings"), REGULARIZERS, ids=NAME)
    @pytest.mark.parametrize("run", [False, True], ids=["fresh", "run"])
    def test_pickles(self, name, settings, run):
        generator = Residual()
        attach(generator, name, **settings)
        if run:
            generator(noise()).sum().backward()
        twin = pickle.loads(pickle.dumps(generator))
        assert torch.equal(generator.eval()(noise()), twin.eval()(noise()))
        file = io.BytesIO()
        torch.save(generator, file)
        file.seek(0)
        assert Attachment.of(torch.load(file, weights_only=False)) is not None

    def test_a_pickle_still_feeds_the_penalty(self):
        generator = Residual()
        attach(generator, "l1", weight=10.0)
        twin = pickle.loads(pickle.dumps(generator))
        for g in (twin, generator):
            g(noise()).mean().backward()
        assert torch.equal(twin.c1.weight.grad, generator.c1.weight.grad)


class TestCheckpoints:
    def saved(self, **settings):
        generator = Residual()
        attach(generator, "l0_inf", **settings)
        file = io.BytesIO()
        torch.save(generator.state_dict(), file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    def test_round_trip(self):
        generator = Residual()
        attach(generator, "l0_inf", k=2)
        generator.load_state_dict(self.saved(k=2))

    def test_names_stay_the_hosts(self):
        generator = Residual()
        before = list(generator.state_dict())
        attach(generator, "ml_csc", k=2)
        ours = [key for key in generator.state_dict() if key not in before]
        assert sorted(ours) == ["out.sparse_plugin._extra_state", "out.sparse_plugin.dictionaries.D2.weight"]
        assert [n for n, _ in Residual().named_parameters()] == [
            n for n, _ in generator.named_parameters() if n in before
        ]
        assert all(value.is_floating_point() for key, value in generator.state_dict().items() if key in ours)
        assert not list(generator.out.sparse_plugin.buffers())

    def test_without_the_plugin_it_fails_loudly(self):
        with pytest.raises(RuntimeError, match=r"Unexpected key.*out\.sparse_plugin"):
            Residual().load_state_dict(self.saved(k=2))

    def test_under_other_settings_both_are_named(self):
        generator = Residual()
        attach(generator, "l0_inf", k=3)
        with pytest.raises(CheckpointError, match=r"l0_inf\(k=2\).*l0_inf\(k=3\)"):
            generator.load_state_dict(self.saved(k=2))

    def test_trained_without_the_plugin_it_loads_and_says_so(self, caplog):
        generator = Residual()
        attach(generator, "l0_inf", k=3)
        generator.load_state_dict(Residual().state_dict())
        assert "trained without sparse_plugin" in caplog.text

    def test_half_precision_and_averaging_keep_the_settings(self):
        generator = Residual()
        attach(generator, "l0_inf", k=0.3)
        state = generator.state_dict()
        key = "out.sparse_plugin._extra_state"
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            generator.load_state_dict({**state, key: state[key].to(dtype)})
        generator.load_state_dict({**state, key: state[key] * 0.9999 + state[key] * 0.0001})
        with pytest.raises(CheckpointError, match="is not sparse_plugin's settings"):
            generator.load_state_dict({**state, key: torch.rand(5) * 300})


class TestTraining:
    def test_autocast(self):
        generator = Residual()
        attach(generator, "l0_inf", k=2)
        with torch.autocast("cpu", torch.bfloat16):
            gamma = consumed(generator, "out", noise())
            generator(noise()).float().mean().backward()
        assert gamma.dtype == torch.bfloat16 and int((gamma != 0).sum(1).max()) <= 2
        assert generator.c1.weight.grad is not None

    @pytest.mark.parametrize(("name", "settings"), REGULARIZERS, ids=NAME)
    def test_compile(self, name, settings):
        generator = Residual()
        attach(generator, name, example_input=noise(), **settings)
        compiled = torch.compile(generator, fullgraph=True, backend="aot_eager")
        reference = copy.deepcopy(generator)
        if name == "l1":  # a copy never feeds the penalty
            reference = pickle.loads(pickle.dumps(generator))
        assert torch.allclose(compiled(noise()), reference(noise()), atol=1e-6)
        for g in (compiled, reference):
            g.zero_grad()
            g(noise()).square().mean().backward()
        for ours, theirs in zip(generator.parameters(), reference.parameters(), strict=True):
            assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)

    def test_the_optimizer_must_train_the_inserted_dictionaries(self):
        generator = Residual()
        optimizer = torch.optim.SGD(generator.parameters(), 0.1)
        attachment = attach(generator, "ml_csc", k=2)
        generator(noise()).mean().backward()
        optimizer.step()  # another optimizer may yet train them
        with pytest.raises(AttachmentError, match=r"its inserted out\.sparse_plugin.* was not: attach before"):
            optimizer.step()
        optimizer.add_param_group({"params": attachment.parameters()})
        optimizer.step()

    def test_two_optimizers_train_the_generator(self):
        generator = Residual()
        body = torch.optim.SGD(generator.parameters(), 0.1)
        inserted = torch.optim.SGD(attach(generator, "ml_csc", k=2).parameters(), 0.1)
        for _ in range(3):
            generator(noise()).mean().backward()
            body.step()
            inserted.step()

    def test_the_optimizer_trains_the_inserted_dictionaries(self):
        generator = Residual()
        (weight,) = attach(generator, "ml_csc", k=2).parameters()
        before = weight.detach().clone()
        train(generator)
        assert not torch.equal(before, weight)

    def test_spectral_norm_of_every_kind(self):
        for norm in (
            nn.utils.spectral_norm,
            nn.utils.parametrizations.spectral_norm,
            nn.utils.parametrizations.weight_norm,
        ):
            generator = Residual()
            norm(generator.out)
            attach(generator, "l0_inf", k=2, example_input=noise())
            assert int((consumed(generator, "out", noise()) != 0).sum(1).max()) == 2
            train(generator, 1)

    def test_sync_batchnorm_conversion_keeps_it(self):
        generator = Residual()
        attach(generator, "l0_inf", k=2, example_input=noise())
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(generator).eval()
        assert int((consumed(converted, "out", noise()) != 0).sum(1).max()) == 2

    def test_tensor_subclasses(self):
        class Noise(torch.Tensor):
            pass

        generator = Residual()
        attach(generator, "l0_inf", k=2)
        gamma = consumed(generator, "out", noise().as_subclass(Noise))
        assert type(gamma) is torch.Tensor and int((gamma != 0).sum(1).max()) == 2

    def test_modulated_convolutions_keep_their_other_arguments(self):
        generator = Modulated()
        attach(generator, "l0_inf", k=2, example_input=noise())
        generator(noise())

