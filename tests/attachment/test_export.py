"""Attached generators outside of torch's eager world: exported, traced, in ONNX; their results are eager's, bit for bit."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.export import Dim

import sparse_plugin
from sparse_plugin.attachment import hooks, verify
from sparse_plugin.errors import SiteError, SparsePluginError
from sparse_plugin.projections import eager, project_channels, project_global, project_needles, standard
from sparse_plugin.projections.dispatch import _specimen
from sparse_plugin.registry.base import Constraint

Z = torch.randn(4, 6, 1, 1, generator=torch.Generator().manual_seed(1))

# torch's own, about the exporters that it is replacing.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Halved(Constraint):
    """A user's constraint in plain torch: soft thresholding at the needle's mean."""

    def project(self, gamma):
        level = gamma.abs().mean(1, keepdim=True)
        return torch.sign(gamma) * torch.relu(gamma.abs() - level)

    def holds(self, gamma):
        return bool((gamma == 0).any())


CONSTRAINTS = {
    "l0_inf": ("l0_inf", {"k": 3}),
    "l0_inf_fraction": ("l0_inf", {"k": 0.2}),
    "l0": ("l0", {"k": 40}),
    "l0_fraction": ("l0", {"k": 0.1}),
    "l0_channel": ("l0_channel", {"k": 3}),
    "l0_channel_fraction": ("l0_channel", {"k": 0.2}),
    "ml_csc": ("ml_csc", {"k": [2, 5]}),
    "ml_csc_l0": ("ml_csc", {"k": 30, "constraint": "l0"}),
    "a user's": (Halved(), {}),
}
every = pytest.mark.parametrize("name", list(CONSTRAINTS))


def generator(dtype=torch.float32):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.ConvTranspose2d(6, 16, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh()
    )
    return net.to(dtype).eval()


def attached(name="l0_inf", run=True, dtype=torch.float32):
    """A generator that is attached, and has run where it says so; its dictionaries are no longer the identity."""
    net = generator(dtype)
    regularizer, settings = CONSTRAINTS.get(name, (name, {}))
    handle = sparse_plugin.attach(
        net, regularizer, **settings, **({"example_input": Z.to(dtype)} if run else {"sites": ["3"]})
    )
    with torch.no_grad():
        for p in handle.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2)) / 20)
    return net


def gamma_of(net):
    """Γ as D1 consumes it, of the last forward."""
    seen = []
    net[3].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    net(Z)
    return seen[-1]


# torch 2.6 exports no module strictly that has a hook on itself, whoever made it.
STRICT = [False, True] if hasattr(torch.compiler, "is_exporting") else [False]


def exported(net, strict=False, dynamic=True, inputs=Z):
    if strict not in STRICT:
        pytest.skip("torch 2.6 exports no module with a hook strictly")
    shapes = ({0: Dim("batch", min=1, max=64)},) if dynamic else None
    with torch.no_grad():
        return torch.export.export(net, (inputs,), dynamic_shapes=shapes, strict=strict)


@pytest.mark.parametrize("name, strict", [(name, False) for name in CONSTRAINTS] + [("ml_csc_l0", True)])
def test_an_exported_program_holds_the_projection_and_needs_no_plugin(name, strict):
    net = attached(name)
    program = exported(net, strict)
    assert "sparse_plugin." not in program.graph_module.code.replace("self.", "")
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    module = torch.export.load(buffer).module()
    plain = generator()
    for batch in (1, 4, 7):
        z = torch.randn(batch, 6, 1, 1)
        assert torch.equal(module(z), net(z)) and not torch.equal(module(z), plain(z))


@every
def test_a_traced_program_takes_any_batch(name, tmp_path, recwarn):
    net = attached(name)
    traced = torch.jit.trace(net, Z)
    traced.save(tmp_path / "g.pt")
    assert not [w for w in recwarn if issubclass(w.category, torch.jit.TracerWarning)]
    loaded = copy.deepcopy(torch.jit.load(tmp_path / "g.pt"))
    for batch in (1, 4, 7):
        z = torch.randn(batch, 6, 1, 1)
        assert torch.equal(loaded(z), net(z))


@pytest.mark.slow
def test_what_was_exported_runs_where_the_plugin_is_not(tmp_path):
    net = attached("ml_csc")
    torch.export.save(exported(net), tmp_path / "g.pt2")
    torch.jit.trace(net, Z, check_trace=False).save(tmp_path / "g.pt")
    torch.save((Z, net(Z)), tmp_path / "expected.pt")
    code = """if True:
        import sys, torch
        sys.modules["sparse_plugin"] = None  # an import of it fails
        z, expected = torch.load("expected.pt")
        assert torch.equal(torch.export.load("g.pt2").module()(z), expected)
        assert torch.equal(torch.jit.load("g.pt")(z), expected)
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)


def onnx_session(path):
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"} and not model.functions
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def onnx_of(net, path, dynamo, inputs=Z, dynamic=None):
    pytest.importorskip("onnxscript" if dynamo else "onnx")
    names = {"input_names": ["z"], "output_names": ["image"], "dynamo": dynamo}
    if dynamo:
        shapes = ({0: Dim("batch", min=1, max=64)},) if dynamic is None else dynamic
        torch.onnx.export(net, (inputs,), str(path), dynamic_shapes=shapes, verbose=False, optimize=True, **names)
    else:
        torch.onnx.export(net, (inputs,), str(path), dynamic_axes={"z": dynamic or {0: "batch"}}, **names)
    return onnx_session(path)


EXPORTERS = {"legacy": False, "dynamo": True}


@pytest.mark.parametrize("name, exporter", [(name, "legacy") for name in CONSTRAINTS] + [("ml_csc_l0", "dynamo")])
@pytest.mark.filterwarnings("ignore")  # the exporters'
def test_onnx_is_in_standard_operators_and_takes_any_batch(name, exporter, tmp_path):
    net = attached(name)
    session = onnx_of(net, tmp_path / "g.onnx", EXPORTERS[exporter])
    for batch in (1, 4, 7):
        z = torch.randn(batch, 6, 1, 1)
        (image,) = session.run(None, {"z": z.numpy()})
        torch.testing.assert_close(torch.from_numpy(image), net(z), rtol=1e-4, atol=1e-5)


class Alone(nn.Module):
    def __init__(self, project, k):
        super().__init__()
        self.project, self.k = project, k

    def forward(self, gamma):
        return self.project(gamma, self.k)


@pytest.mark.parametrize(
    "project, exporter, dtype",
    [
        *(
            (p, "legacy", t)
            for p in (project_needles, project_global, project_channels)
            for t in (torch.float32, torch.float16, torch.float64)
        ),
        (project_needles, "dynamo", torch.float32),
        (project_global, "dynamo", torch.float16),
        (project_channels, "dynamo", torch.float32),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.filterwarnings("ignore")
def test_onnxruntime_keeps_the_bits_the_ties_and_nan(project, exporter, dtype, tmp_path):
    gamma = _specimen((2, 12, 9, 9), dtype, "cpu")
    session = onnx_of(Alone(project, 5), tmp_path / "p.onnx", EXPORTERS[exporter], inputs=gamma)
    for batch in (gamma, gamma[:1], torch.zeros_like(gamma), torch.full_like(gamma, torch.nan)):
        (kept,) = session.run(None, {"z": batch.numpy()})
        bits = torch.int16 if dtype == torch.float16 else torch.int32 if dtype == torch.float32 else torch.int64
        assert torch.equal(torch.from_numpy(kept).view(bits), project(batch, 5).view(bits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("k", [0, 1, 5, 11, 12, 0.3, 1.0])
def test_standard_operators_are_the_kernels_bit_for_bit(dtype, k):
    for shape in ((2, 12, 9, 9), (0, 12, 3, 3), (3, 12)):
        gamma = _specimen(shape, dtype, "cpu") if shape[0] else torch.empty(shape, dtype=dtype)
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[gamma.element_size()]
        for project, written in (
            (project_needles, standard.l0_inf),
            (project_global, standard.l0),
            (project_channels, standard.l0_channel),
        ):
            if isinstance(k, float) and k < 1 and project is project_channels and len(shape) == 2:
                continue  # of one position there is no such fraction
            assert torch.equal(project(gamma, k).view(bits), written(gamma, k).view(bits))


@pytest.mark.parametrize("name", ["l0_inf", "l0", "l0_fraction", "l0_inf_fraction", "l0_channel", "l0_channel_fraction"])
def test_images_of_any_size_are_exported_too(name):
    """A fully convolutional generator: a fraction of Γ is counted where the size is known, when the program runs."""
    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)).eval()
    regularizer, settings = CONSTRAINTS[name]
    sparse_plugin.attach(net, regularizer, **settings, example_input=torch.randn(2, 2, 9, 9))
    shapes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    program = torch.export.export(net, (torch.randn(3, 2, 9, 8),), dynamic_shapes=shapes, strict=False)
    for shape in ((3, 2, 9, 8), (5, 2, 12, 17), (2, 2, 30, 4)):
        z = torch.randn(shape)
        assert torch.equal(program.module()(z), net(z))


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_a_penalty_is_exported_as_the_identity(delivery, tmp_path):
    plain, net = generator(), generator()
    sparse_plugin.attach(net, "l1", weight=1.0, delivery=delivery, example_input=Z)
    for program in (*(exported(net, strict).module() for strict in STRICT), torch.jit.trace(net, Z)):
        assert torch.equal(program(Z), plain(Z))
    nodes = [
        [node.target for node in torch.export.export(g, (Z,), strict=strict).graph.nodes if node.op == "call_function"]
        for strict in STRICT
        for g in (plain, net)
    ]
    assert nodes[::2] == nodes[1::2]


@pytest.mark.parametrize(
    "leave",
    [exported, lambda net: exported(net, True), lambda net: torch.jit.trace(net, Z)],
    ids=["export", "strict", "trace"],
)
def test_exporting_before_the_first_forward_changes_nothing_for_it(leave):
    net = generator()
    sparse_plugin.attach(net, "l0_inf", k=3)  # found by its three output channels, to be confirmed by the first forward
    before = copy.deepcopy(net.state_dict())
    program = leave(net)
    module = program if isinstance(program, torch.jit.ScriptModule) else program.module()
    assert list(hooks.find(net, verify.TEMPORARY)), "the first real forward is still checked"
    same_state = all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert torch.equal(module(Z), net(Z)) and same_state
    net(Z)
    assert not list(hooks.find(net, verify.TEMPORARY))


@pytest.mark.parametrize("leave", [exported, lambda net: torch.jit.trace(net, Z)], ids=["export", "trace"])
def test_a_wrong_guess_is_found_while_it_is_exported(leave):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.guess = nn.ConvTranspose2d(6, 3, 4), nn.Conv2d(3, 3, 1)

        def forward(self, z):
            image = self.up(z)
            return self.guess(image.mean((2, 3), keepdim=True)) * image

    net = Twice()
    net.up.weight = nn.Parameter(torch.randn(6, 30, 4, 4))
    net.up.bias, net.up.out_channels = nn.Parameter(torch.zeros(30)), 30
    net.guess = nn.Conv2d(30, 3, 1)
    net.forward = lambda z: net.guess(net.up(z).mean((2, 3), keepdim=True)) * net.up(z)[:, :3]
    sparse_plugin.attach(net, "l0_inf", k=1)
    with pytest.raises(SiteError, match="is not the last synthesis convolution"):
        leave(net)


def test_a_deferred_attachment_says_what_to_do_first():
    net = nn.Sequential(nn.Conv2d(6, 9, 1), nn.ConvTranspose2d(9, 12, 4), nn.PixelShuffle(2)).eval()
    sparse_plugin.attach(net, "l0_inf", k=3)
    for leave in (exported, lambda net: torch.jit.trace(net, Z)):
        with pytest.raises(SiteError, match="run the generator once before, or give example_input"):
            leave(net)


def test_script_is_refused_with_a_sentence_and_fx_keeps_the_hook():
    for run in (True, False):
        with pytest.raises(SparsePluginError, match=r"use torch.jit.trace or torch.export"):
            torch.jit.script(attached(run=run))
    net = attached()
    assert torch.equal(torch.fx.symbolic_trace(net)(Z), net(Z))

    class Painter(nn.Conv2d):
        pass

    net = nn.Sequential(nn.Conv2d(6, 9, 1), Painter(9, 3, 3, padding=1)).eval()
    sparse_plugin.attach(net, "l0_inf", k=2, example_input=Z)
    with pytest.raises(SiteError, match="make it a leaf of your Tracer"):
        torch.fx.symbolic_trace(net)


def test_tensorboard_draws_an_attached_generator(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    net = attached("ml_csc", run=True).train()
    with tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_graph(net, Z)
    assert b"topk" in next(tmp_path.iterdir()).read_bytes()


def test_encoder_scales_on_the_output_side_are_exported():
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down1, self.down2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
            self.up = nn.Sequential(nn.Upsample(scale_factor=4), nn.Conv2d(8, 3, 3, padding=1))

        def forward(self, x):
            return self.up(self.down2(torch.relu(self.down1(x))))

    net, x = UNet().eval(), torch.randn(2, 3, 16, 16)
    sparse_plugin.attach(net, "l0", k=[0.3, 0.2], sites=["down1:output", "down2:output"], example_input=x)
    assert torch.equal(exported(net, inputs=x).module()(x), net(x))
    assert torch.equal(torch.jit.trace(net, x)(x), net(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_types_and_autocast_are_exported(dtype):
    net = attached(dtype=dtype)
    assert torch.equal(exported(net, inputs=Z.to(dtype)).module()(Z.to(dtype)), net(Z.to(dtype)))

    class Autocast(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = attached("l0")

        def forward(self, z):
            with torch.autocast("cpu", torch.bfloat16):
                return self.net(z)

    net = Autocast().eval()
    assert torch.equal(exported(net).module()(Z), net(Z))


@every
def test_whole_generators_are_pickled_packaged_and_copied(name, tmp_path):
    if name == "a user's":
        pytest.skip("its class lives in this test module, which no package can import")
    net = attached(name)
    again = pickle.loads(pickle.dumps(net))
    with torch.package.PackageExporter(tmp_path / "g.pt") as out:
        out.extern("**")
        out.save_pickle("g", "net.pkl", net)
    packaged = torch.package.PackageImporter(tmp_path / "g.pt").load_pickle("g", "net.pkl")
    for other in (again, packaged, copy.deepcopy(net)):
        assert torch.equal(other(Z), net(Z)) and sparse_plugin.Attachment.of(other) is not None


def test_reference_orders_nan_before_infinity():
    gamma = torch.tensor([[1.0, torch.inf, torch.nan, -torch.inf, torch.nan]])
    kept = [eager.l0_inf(gamma, k).ne(0).squeeze().tolist() for k in (1, 2, 3, 4)]
    assert kept == [[0, 0, 1, 0, 0], [0, 0, 1, 0, 1], [0, 1, 1, 0, 1], [0, 1, 1, 1, 1]]
