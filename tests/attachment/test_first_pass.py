"""What the first forward shows of a generator, and the mistakes that it tells."""

import copy
import pickle
import warnings

import pytest
import torch
from generators import AttentionLast, Linear, Modulated, Residual, TwoHeads, Wrapped, consumed, noise
from torch import nn

from sparse_plugin import Attachment, attach
from sparse_plugin.errors import AttachmentError, ConfigError, SiteError


class TestFirstPass:
    """Where no example is given, everything is checked in the first forward, before its result is used."""

    def test_a_host_that_calls_forward_directly(self):
        generator = Residual()
        attach(generator, "l0_inf", k=2)
        seen = []
        generator.out.register_forward_hook(lambda m, args, out: seen.append(int((args[0] != 0).sum(1).max())))
        generator.forward(noise())
        generator.forward(noise())
        assert seen == [2, 2]
        from sparse_plugin.attachment.hooks import find
        from sparse_plugin.attachment.verify import Watch

        assert all(hook.first.done for _, _, hook in find(generator, Watch))

    def test_no_forward_is_added(self):
        generator = Residual()
        calls = []
        generator.out.register_forward_hook(lambda *a: calls.append(1))
        attach(generator, "l0_inf", k=2)
        generator(noise())
        assert calls == [1]

    def test_a_wrong_adapter_is_caught(self):
        generator = AttentionTwice()
        attach(generator, "l0_inf", k=2, sites="body")  # by hand: any place that is called once
        generator(noise())
        with pytest.raises(SiteError, match="called 2 times in one forward"):
            _attached("twice")(noise())

    def test_a_prediction_that_never_runs(self):
        generator = Wrapped()
        attach(generator, "l0_inf", k=2)
        with pytest.raises(SiteError, match="called 0 times"):
            generator(noise())

    def test_a_constraint_that_is_undone(self):
        generator = Residual()
        attach(generator, "l0_inf", k=2)
        generator.out.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
        with pytest.raises(SiteError, match="still does not meet"):
            generator(noise())

    def test_ambiguous_modules_are_settled_by_the_first_call(self):
        generator = Modulated()
        attachment = attach(generator, "l0_inf", k=2)
        assert attachment.sites == () and "to be found at the first call" in repr(attachment)
        twin = pickle.loads(pickle.dumps(copy.deepcopy(generator)))
        for g in (generator, twin):
            g(noise())
            assert [site.path for site in Attachment.of(g).sites] == ["rgb8"]
        attachment.detach()
        assert Attachment.of(generator) is None

    def test_ambiguous_and_called_directly(self):
        generator = Modulated()
        attachment = attach(generator, "l0_inf", k=2)
        generator.forward(noise())
        assert [site.path for site in attachment.sites] == ["rgb8"]

    def test_ambiguous_and_ml_csc(self):
        with pytest.raises(SiteError, match="inserts parameters"):
            attach(Modulated(), "ml_csc", k=2)

    def test_an_unused_head_of_the_images_shape_is_no_d1(self):
        for example in (noise(), None):
            generator = AttentionLast()
            attach(generator, "l0_inf", k=2, example_input=example)
            assert int((consumed(generator, "to_rgb", noise()) != 0).sum(1).max()) == 2

    def test_ambiguous_for_good(self):
        generator = TwoHeads()
        attach(generator, "l0_inf", k=2)
        with pytest.raises(SiteError, match=r"(?s)2 convolutions make the image.*colour.*mask"):
            generator(noise())


class AttentionTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.twice, self.out = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 3, 1)

    def forward(self, z):
        return self.out(self.twice(self.twice(self.body(z[:, :, None, None].expand(-1, -1, 4, 4)))))


def _attached(site):
    generator = AttentionTwice()
    attach(generator, "l0_inf", k=2, sites=site)
    return generator


class TestMistakes:
    def test_attached_already(self):
        generator = Residual()
        attach(generator, "l0_inf", k=2)
        with pytest.raises(AttachmentError, match=r"already has l0_inf\(k=2\) attached"):
            attach(generator, "l1", weight=1.0)

    def test_no_convolution(self):
        with pytest.raises(SiteError, match="has no convolution"):
            attach(Linear(), "l0_inf", k=2)

    def test_a_failed_attach_leaves_no_trace(self):
        generator = TwoHeads()
        before = repr([vars(m) for m in generator.modules()])
        with pytest.raises(SiteError):
            attach(generator, "l0_inf", k=2, example_input=noise())
        with pytest.raises(RuntimeError):
            attach(generator, "l0_inf", k=2, sites="mask", example_input=torch.randn(2, 9))
        assert repr([vars(m) for m in generator.modules()]) == before

    def test_not_a_module(self):
        with pytest.raises(ConfigError, match="takes a torch.nn.Module"):
            attach(lambda z: z, "l0_inf", k=2)

    def test_not_a_regularizer(self):
        with pytest.raises(ConfigError, match="give a registered name"):
            attach(Residual(), 3)

    def test_unknown_adapter(self):
        with pytest.raises(ConfigError, match="there is no adapter 'mimicri'.*Did you mean 'mimicry'"):
            attach(Residual(), "l0_inf", k=2, adapter="mimicri")
        with pytest.raises(ConfigError, match="adapter 'mimicry' does not know Residual"):
            attach(Residual(), "l0_inf", k=2, adapter="mimicry")


def test_output_sites_of_an_encoder():
    """Encoder scales: what an activation returns, several of them, k as a density."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(8, 3, 1),
    )
    attachment = attach(net, "l0", k=0.25, sites=["1:output", "3:output"], example_input=torch.randn(2, 3, 16, 16))
    assert [str(site) for site in attachment.sites] == ["output of 1", "output of 3"]
    assert [round(m.sparsity, 3) for m in attachment.measure(torch.randn(2, 3, 16, 16))] == [25.0, 25.0]


def test_find_through_wrappers():
    generator = Residual()
    assert Attachment.of(nn.DataParallel(generator)) is None
    attach(generator, "l0_inf", k=2)
    assert str(Attachment.of(nn.DataParallel(generator)).regularizer) == "l0_inf(k=2)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Attachment.of(torch.compile(generator)) is not None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("told", ["example", "nothing", "sites"])
def test_attaching_takes_no_step_of_a_power_iteration(told, training):
    """Reading a weight under spectral normalisation would."""
    generator = Residual().train(training)
    for module in list(generator.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.utils.parametrizations.spectral_norm(module)
    before = {name: t.clone() for name, t in generator.state_dict().items()}
    options = {"example": {"example_input": torch.randn(2, 6)}, "sites": {"sites": ["out"]}, "nothing": {}}[told]
    attachment = attach(generator, "l0_inf", k=1.0, **options)
    attachment.measure(torch.randn(2, 6))
    attachment.detach()
    after = generator.state_dict()
    assert [name for name, t in before.items() if not torch.equal(t, after[name])] == []
    assert any(name.endswith("_u") for name in before)



class Shares(nn.Module):
    def __init__(self, other):
        super().__init__()
        self.body, self.out = nn.Conv2d(6, 8, 3, padding=1), other.out

    def forward(self, z):
        return self.out(torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 4, 4))))


class Holds(nn.Module):
    def __init__(self):
        super().__init__()
        self.whole = Residual()

    def forward(self, z):
        return self.whole(z)


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize("name", ["l1", "l0_inf"])
def test_a_d1_that_two_modules_have_is_attached_once(name, example):
    """It would be penalized twice in one forward."""
    settings = {"weight": 1.0} if name == "l1" else {"k": 2}
    first, holds = Residual(), Holds()
    attach(first, name, **settings)
    attach(holds, name, **settings)
    for other in (Shares(first), holds.whole):
        with pytest.raises(AttachmentError, match=f"the input of out of .* is regularized already: {name}"):
            attach(other, name, **settings, example_input=noise() if example else None)
    Attachment.of(first).detach()
    attach(Shares(first), name, **settings)
