"""Every forward that makes an image goes through a site, whatever the generator does after it was attached."""

import copy
import pickle

import pytest
import torch
from generators import Plain, Residual
from growing import Grown, fullest, latent, train_step
from torch import nn

import sparse_plugin
from sparse_plugin.attachment import hooks
from sparse_plugin.attachment.heads import Head
from sparse_plugin.attachment.judging import TRACES
from sparse_plugin.errors import SiteError

K = 2


@pytest.mark.parametrize("fade", [None, "image", "features", "skip"])
@pytest.mark.parametrize("said", ["argument", "keyword", "attribute"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0, 2), (1, 0)], ids=str)
def test_every_depth_is_regularized_from_its_first_call_on(fade, said, order):
    generator = Grown(fade=fade)
    sparse_plugin.attach(generator, "l0_inf", k=K)
    if fade == "features" and order[0]:  # half of one head, half of another: which is D1 cannot be told
        with pytest.raises(SiteError, match="2 convolutions make the image together"):
            generator(latent(), order[0])
        return
    for depth in order:

        generator.depth = depth if said == "attribute" else 0

        def call(depth=depth):
            args, kwargs = {"argument": ((depth,), {}), "keyword": ((), {"depth": depth}), "attribute": ((), {})}[said]
            train_step(generator, latent(), *args, **kwargs)

        for _ in range(2):
            seen = fullest(generator, call)
            assert seen[f"rgb.{depth}"] <= K
            if fade == "features" and depth - 1 in order[: order.index(depth)]:
                assert seen[f"rgb.{depth - 1}"] <= K  # the old head, faded out, is held too


def test_with_an_example_of_the_last_depth():
    generator = Grown()
    attachment = sparse_plugin.attach(generator, "l0", k=0.1, example_input=(latent(), {"depth": 2}))
    assert [site.path for site in attachment.sites] == ["rgb.2"]
    generator(latent(), depth=1)
    assert [site.path for site in attachment.sites] == ["rgb.1", "rgb.2"]
    attachment.detach()
    assert not any(True for _ in hooks.find(generator, object))
    assert fullest(generator, lambda: generator(latent(), depth=1))["rgb.1"] > K


def test_growth_where_forward_is_called_directly():
    generator = Grown()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=latent())
    generator.forward(latent())
    with pytest.raises(SiteError, match="which module makes it cannot be told.*sites="):
        generator.forward(latent(), depth=1)
    named = Grown()
    sparse_plugin.attach(named, "l0_inf", k=K, sites=["rgb.0", "rgb.1", "rgb.2"])
    for depth in (1, 0, 2):
        assert fullest(named, lambda depth=depth: named.forward(latent(), depth))[f"rgb.{depth}"] <= K


def test_inserted_dictionaries_cannot_follow():
    generator = Grown()
    sparse_plugin.attach(generator, "ml_csc", k=K, example_input=latent())
    generator(latent())
    with pytest.raises(SiteError, match=r"rgb.1 of Grown makes the image now, and ml_csc.*inserts parameters.*\"rgb.2\""):
        generator(latent(), depth=1)
    named = Grown()
    attachment = sparse_plugin.attach(named, "ml_csc", k=K, sites=["rgb.0", "rgb.1", "rgb.2"])
    assert len(attachment.parameters()) == 3
    for depth in (0, 1, 2):
        assert fullest(named, lambda depth=depth: train_step(named, latent(), depth))[f"rgb.{depth}"] <= K


def test_named_sites_of_which_none_is_used():
    generator = Grown()
    sparse_plugin.attach(generator, "l0_inf", k=K, sites=["rgb.1", "rgb.2"])
    with pytest.raises(SiteError, match="is called 0 times"):
        generator(latent(), depth=0)


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_a_penalty_follows(delivery):
    plain, generator = Grown(), Grown()
    generator.load_state_dict(plain.state_dict())
    attachment = sparse_plugin.attach(generator, "l1", weight=3.0, delivery=delivery)
    for depth in (0, 1, 1, 2):
        x = latent()
        seen = []
        handle = plain.rgb[depth].register_forward_pre_hook(lambda m, a, seen=seen: seen.append(a[0]))
        loss = plain(x, depth).square().mean()
        (loss + 3.0 * seen[0].abs().mean()).backward()
        handle.remove()
        ours = generator(x, depth).square().mean()
        (ours + attachment.penalty() if delivery == "loss" else ours).backward()
        for network in (plain, generator):
            optimizer = torch.optim.SGD(network.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
    theirs = {name: value for name, value in generator.state_dict().items() if "sparse_plugin" not in name}
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(theirs[name], value)


@pytest.mark.parametrize("made", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))], ids=["copy", "pickle"])
@pytest.mark.parametrize("example", [None, latent()], ids=["deferred", "known"])
@pytest.mark.parametrize("ran", [False, True])
def test_copies_grow_on_their_own(made, example, ran):
    generator = Grown()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=example)
    if ran:
        generator(latent())
    twin = made(generator)
    for depth in (0, 1, 2):
        assert fullest(twin, lambda depth=depth: twin(latent(), depth))[f"rgb.{depth}"] <= K
    assert len(sparse_plugin.Attachment.of(generator).sites) <= 1
    assert fullest(generator, lambda: generator(latent(), 1))["rgb.1"] <= K


def test_everything_kept_is_bit_identical_while_it_grows():
    torch.manual_seed(0)
    plain = Grown(fade="skip")
    generator = copy.deepcopy(plain)
    sparse_plugin.attach(generator, "l0_inf", k=1.0)
    out = []
    for network in (plain, generator):
        torch.manual_seed(1)
        for depth in (0, 1, 2):
            train_step(network, latent(), depth, noise=True)
        out.append((network(latent(), 2, noise=True), torch.get_rng_state()))
    assert torch.equal(out[0][0], out[1][0]) and torch.equal(out[0][1], out[1][1])
    theirs = generator.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in plain.state_dict().items())


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
def test_compiled_generators_grow_in_eager_first():
    torch._dynamo.reset()
    generator = Grown()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=latent())
    compiled = torch.compile(generator, backend="eager")
    compiled(latent(), 0)
    with pytest.raises((SiteError, torch._dynamo.exc.TorchDynamoException), match="that could make the image"):
        compiled(latent(), 1)
    generator(latent(), 1)
    torch.manual_seed(0)
    x = latent()
    assert torch.equal(compiled(x, 1), generator(x, 1))
    attachment = sparse_plugin.Attachment.of(generator)
    assert [site.path for site in attachment.sites] == ["rgb.0", "rgb.1"]
    torch._dynamo.reset()


def test_a_counter_is_not_traced_for_ever():
    class Counted(Grown):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x, 1) + 0 * nn.functional.interpolate(self.rgb[0](x.repeat(1, 2, 1, 1)), scale_factor=2)

    generator = Counted()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=latent())
    forwards = []
    generator.first.register_forward_pre_hook(lambda *_: forwards.append(1))
    for _ in range(3 * TRACES):
        generator(latent())
    assert len(forwards) <= 5 * TRACES


def test_generators_of_one_head_have_no_hook_beside_their_own():
    for kind in (Plain, Residual):
        generator = kind()
        sparse_plugin.attach(generator, "l0_inf", k=K)
        generator(torch.randn(2, 6))
        assert not list(hooks.find(generator, Head))


def test_calls_of_a_part_or_without_an_image_are_no_fault():
    class Coder(Residual):
        def forward(self, z, decode=True):
            return super().forward(z) if decode else self.linear(z)

    generator = Coder()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    z = torch.randn(2, 6)
    generator(z)
    generator(z, decode=False)
    generator.c1(torch.randn(2, 8, 4, 4))


def test_a_progressive_gan_grows_in_its_own_trainer(tmp_path, monkeypatch):
    """pro_gan_pytorch's ProGAN.train, unmodified: three depths with fade-in, an EMA copy, checkpoints."""
    gan = pytest.importorskip("pro_gan_pytorch.gan")
    networks = pytest.importorskip("pro_gan_pytorch.networks")
    torch.manual_seed(0)
    adam = torch.optim.Adam  # which no longer takes an integer and a float, as this package gives it
    monkeypatch.setattr(torch.optim, "Adam", lambda params, betas, **kw: adam(params, betas=tuple(map(float, betas)), **kw))
    monkeypatch.setattr(networks, "nf", lambda stage: 32)  # channels; 512 at these sizes are slow
    # The package's own equalized transposed convolution does not run on current PyTorch.
    generator = networks.Generator(depth=4, latent_size=8, use_eql=False)
    discriminator = networks.Discriminator(depth=4, latent_size=8, use_eql=False)
    sparse_plugin.attach(generator, "l0_inf", k=16)
    trainer = gan.ProGAN(generator, discriminator)
    seen = {}
    for network, who in ((trainer.gen, "gen"), (trainer.gen_shadow, "shadow")):
        for depth, head in enumerate(network.rgb_converters):
            head.register_forward_hook(
                lambda m, a, out, at=(who, depth): seen.setdefault(at, []).append(int((a[0] != 0).sum(1).max()))
            )
    images = [torch.rand(3, 16, 16) for _ in range(4)]
    trainer.train(
        images, [1, 1, 1], [2, 2, 2], [50, 50, 50], batch_repeats=1, num_samples=2, num_workers=0,
        feedback_factor=1, save_dir=tmp_path, checkpoint_factor=1,
    )  # fmt: skip
    # Of a head that is faded out the last forwards may be of an image that is none of its own: it stays held all the same.
    assert {depth for who, depth in seen if who == "gen"} == {0, 1, 2}
    assert all(max(counts) <= 16 for (who, _), counts in seen.items() if who == "gen")
    assert max(seen["shadow", 2]) <= 16
