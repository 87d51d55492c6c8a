"""Generators and representations of other kinds than dense tensors with values: right, or a sentence."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import sparse_plugin
from sparse_plugin import Attachment
from sparse_plugin.attachment import hooks, verify
from sparse_plugin.errors import GammaError, PenaltyError, SiteError
from sparse_plugin.projections import project_channels, project_global, project_needles

Z = torch.randn(2, 6, 1, 1, generator=torch.Generator().manual_seed(1))
both = pytest.mark.parametrize("project", [project_needles, project_global, project_channels])
SETTINGS = {"l0_inf": {"k": 3}, "l0": {"k": 40}, "l0_batch": {"k": 40}, "l0_channel": {"k": 3}, "ml_csc": {"k": 3}, "l1": {"weight": 1.0}}
every = pytest.mark.parametrize("name", list(SETTINGS))


def generator():
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(6, 16, 4), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))


@both
@pytest.mark.filterwarnings("ignore")  # torch's own, about prototypes
def test_what_is_no_dense_float_tensor_is_refused_with_a_sentence(project):
    gamma = torch.randn(2, 5, 3, 3)
    for other, words in (
        (gamma.to_sparse(), "a sparse_coo tensor"),
        (gamma.flatten(1).to_sparse_csr(), "a sparse_csr tensor"),
        (torch.nested.nested_tensor([gamma[0], gamma[1]]), "a nested tensor"),
        (gamma.to_mkldnn(), "dense one"),
        (torch.quantize_per_tensor(gamma, 0.1, 0, torch.qint8), "torch.qint8"),
        (gamma.to(torch.complex64), "torch.complex64"),
        (gamma.to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
    ):
        with pytest.raises(GammaError, match=words):
            project(other, 2)


@both
def test_views_of_every_kind_are_what_they_show(project):
    wave = torch.randn(2, 5, 3, 4, dtype=torch.complex64)
    for view in (
        wave.conj().imag,
        wave.real,
        wave.imag[:, :, 1:, ::2],
        wave.real[:1].expand(3, 5, 3, 4),
        wave.real[:0],
    ):
        assert torch.equal(project(view, 2), project(view.clone().contiguous(), 2))


@every
@pytest.mark.parametrize("example", [True, False])
def test_a_generator_without_values_is_attached_and_checked_once_it_has_them(name, example):
    with torch.device("meta"):
        net = generator()
        sparse_plugin.attach(
            net, name, **SETTINGS[name], **({"example_input": torch.empty(2, 6, 1, 1)} if example else {})
        )
        assert net(torch.empty(2, 6, 1, 1)).shape == (2, 3, 4, 4)
    # A penalty promises nothing of the values.
    assert list(hooks.find(net, verify.TEMPORARY)) or (name == "l1" and example)
    net.to_empty(device="cpu")
    plain = generator()
    net.load_state_dict(plain.state_dict(), strict=False)
    again = generator()
    sparse_plugin.attach(again, name, **SETTINGS[name], example_input=Z)
    assert torch.equal(net(Z), again(Z))
    net(Z).sum().backward()
    assert not list(hooks.find(net, verify.TEMPORARY))


def test_without_values_nothing_tells_which_of_two_convolutions_is_it():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(6, 3, 3, padding=1), nn.Conv2d(6, 3, 1)

        def forward(self, z):
            return self.a(z) + 0 * self.b(z)

    with torch.device("meta"):
        net = Two()
        with pytest.raises(SiteError, match="an example input that has values"):
            sparse_plugin.attach(net, "l0_inf", k=2, example_input=torch.empty(2, 6, 4, 4))


@every
def test_fake_tensors_run_through(name):
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    with FakeTensorMode():
        net, z = generator(), torch.randn(2, 6, 1, 1)
        sparse_plugin.attach(net, name, **SETTINGS[name], example_input=z)
        image = net(z)
        image.sum().backward()
        assert isinstance(image, FakeTensor) and all(p.grad is not None for p in net.parameters())


def test_lazy_modules_are_attached_after_a_forward():
    net = nn.Sequential(nn.LazyConvTranspose2d(16, 4), nn.ReLU(), nn.LazyConv2d(3, 3, padding=1))
    for given in ({}, {"example_input": Z}, {"sites": ["2"]}):
        with pytest.raises(SiteError, match="run the generator once on an input, then attach"):
            sparse_plugin.attach(net, "ml_csc", k=2, **given)
    net(Z)
    sparse_plugin.attach(net, "ml_csc", k=2, example_input=Z)
    net(Z).sum().backward()


def test_parameters_made_inside_inference_mode_are_trained_outside():
    net = generator()
    with torch.inference_mode():
        attachment = sparse_plugin.attach(net, "ml_csc", k=2, example_input=Z)
        net(Z)
    net(Z).sum().backward()
    assert all(p.grad is not None for p in attachment.parameters())


@every
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_generators_have_the_same_gradients(name, reentrant):
    slopes = []
    for run in (lambda net, z: checkpoint(net, z, use_reentrant=reentrant), lambda net, z: net(z)):
        net = generator()
        sparse_plugin.attach(net, name, **SETTINGS[name])
        run(net, Z.clone().requires_grad_()).square().mean().backward()
        slopes.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))


@pytest.mark.filterwarnings("ignore:torch.utils.checkpoint")
def test_a_penalty_taken_by_hand_follows_the_checkpoint_that_keeps_its_graph():
    net = generator()
    attachment = sparse_plugin.attach(net, "l1", weight=1.0, delivery="loss", example_input=Z)
    z = Z.clone().requires_grad_()
    image = checkpoint(net, z, use_reentrant=False)
    (image.mean() + attachment.penalty()).backward()
    del image
    with pytest.raises(PenaltyError, match="use_reentrant=False follows it"):
        checkpoint(net, z, use_reentrant=True).mean() + attachment.penalty()


@pytest.fixture
def mesh(tmp_path):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # torch's own, about its mesh
def test_dtensors_are_projected_shard_by_shard_where_they_can_be(mesh):
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    gamma = torch.randn(2, 5, 3, 3)
    for project, apart in ((project_needles, (0, 2, 3)), (project_global, (0,)), (project_channels, (0, 1))):
        for placed in (Replicate(), Shard(0), Shard(1), Shard(2), Shard(3)):
            sharded = distribute_tensor(gamma, mesh, [placed]).requires_grad_()
            out = project(sharded, 2)
            kept = isinstance(placed, Shard) and placed.dim in apart
            assert out.placements == ((placed if kept else Replicate()),)
            out.square().sum().backward()
            assert torch.equal(out.full_tensor(), project(gamma, 2))
            assert torch.equal(sharded.grad.full_tensor(), 2 * project(gamma, 2))


@every
@pytest.mark.filterwarnings("ignore")
def test_a_distributed_generator_is_the_local_one(name, mesh):
    from torch.distributed.tensor import Shard, distribute_module, distribute_tensor

    net, local, plain = generator(), generator(), generator()
    for g in (net, local):
        sparse_plugin.attach(g, name, **SETTINGS[name])
    distribute_module(net, mesh)
    z = distribute_tensor(Z, mesh, [Shard(0)])
    distribute_module(plain, mesh)
    try:
        plain(z)
    except RuntimeError as error:  # torch 2.6, of a convolution that pads
        pytest.skip(f"torch cannot run this generator without the plugin either: {error}")
    assert torch.equal(net(z).full_tensor(), local(Z)) and Attachment.of(net) is not None
