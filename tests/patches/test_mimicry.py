"""torch_mimicry from PyPI: its own Trainer on its own generators, nothing of it touched."""

import functools
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from host_roots import driven

import sparse_plugin
from sparse_plugin import Attachment
from sparse_plugin.errors import CheckpointError
from sparse_plugin.measurements.log import FILE, read
from sparse_plugin.patches.mimicry import ADAPTER

pytest.importorskip("torchvision")

REGULARIZERS = [("l1", {"weight": 0.5}), ("l0", {"k": 0.25}), ("l0_inf", {"k": 2}), ("ml_csc", {"k": 4})]

# name, extra arguments of the generator
NETS = {
    "sngan:SNGAN": {}, "dcgan:DCGAN": {}, "wgan_gp:WGANGP": {}, "ssgan:SSGAN": {}, "infomax_gan:InfoMaxGAN": {},
    "sagan:SAGAN": {"num_classes": 4}, "cgan_pd:CGANPD": {"num_classes": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def mimicry():
    sparse_plugin.enable("mimicry", "l0", k=1.0)
    import torch_mimicry

    sparse_plugin.disable()
    return torch_mimicry


def build(mimicry, net, size="32", part="Generator", **more):
    module, _, name = net.partition(":")
    cls = getattr(getattr(mimicry.nets, module), f"{name}{part}{size}")
    return cls(**({"ngf": 16} if part == "Generator" else {"ndf": 8}), **NETS[net], **more)


def data():
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    set_ = torch.utils.data.TensorDataset(images, torch.arange(16) % 4)
    return torch.utils.data.DataLoader(set_, batch_size=4)


def train(mimicry, net, log_dir, steps=3, seed=0, **trainer):
    torch.manual_seed(seed)
    generator, critic = build(mimicry, net), build(mimicry, net, part="Discriminator")
    mimicry.training.Trainer(
        netD=critic, netG=generator,
        optD=torch.optim.Adam(critic.parameters(), 2e-4, (0.0, 0.9)),
        optG=torch.optim.Adam(generator.parameters(), 2e-4, (0.0, 0.9)),
        n_dis=2, num_steps=steps, dataloader=data(), log_dir=str(log_dir), device=torch.device("cpu"),
        print_steps=1, log_steps=1, vis_steps=100, save_steps=2, **trainer,
    ).train()  # fmt: skip
    return generator


def weights(generator):
    return {k: v.clone() for k, v in generator.state_dict().items() if "sparse_plugin" not in k}


@pytest.fixture(scope="module")
def plain(mimicry, tmp_path_factory):
    """The weights of a net that was trained without the plugin, each trained once."""
    return functools.cache(lambda net: weights(train(mimicry, net, tmp_path_factory.mktemp("plain"))))


def equal(ours, theirs):
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


def all_generators(mimicry):
    for module in pkgutil.walk_packages(mimicry.nets.__path__, "torch_mimicry.nets."):
        importlib.import_module(module.name)  # some of them are in no __init__
    classes = {cls.__name__: cls for cls in _below(mimicry.nets.gan.gan.BaseGenerator)}
    for key, path in ADAPTER.table.items():
        module, _, name = key.removeprefix("torch_mimicry.nets.").partition(":")
        yield module, name, path, classes[name]


def test_the_table_names_every_generator(mimicry):
    found = {cls.__name__ for _, _, _, cls in all_generators(mimicry)}
    there = {
        cls.__name__
        for cls in _below(mimicry.nets.gan.gan.BaseGenerator)
        if "Generator" in cls.__name__
        and "Base" not in cls.__name__
        and cls.__module__.startswith("torch_mimicry.nets")
    }
    assert found == there and len(found) == 25


def _below(cls):
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def test_adapter_and_detection_agree_on_every_generator(mimicry):
    for module, name, path, cls in all_generators(mimicry):
        more = {"num_classes": 4} if module in ("sagan", "cgan_pd") else {}
        generator = cls(
            ngf=128 if name == "SAGANGenerator128" else 16, **more
        ).eval()  # narrower, its attention is empty
        z = torch.randn(2, generator.nz)
        assert sparse_plugin.detect(generator, z).path == path, name
        with sparse_plugin.attach(generator, "l0_inf", k=1, example_input=z) as attachment:
            assert [site.path for site in attachment.sites] == [path], name


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("name", "settings"), REGULARIZERS, ids=[name for name, _ in REGULARIZERS])
def test_its_trainer_runs_with_every_regularizer(mimicry, plain, tmp_path, net, name, settings):
    without = plain(net)
    sparse_plugin.enable("mimicry", name, **settings)
    generator = train(mimicry, net, tmp_path / "sparse")
    assert not equal(weights(generator), without)
    (site,) = Attachment.of(generator).sites
    assert site.path == "c5"
    record = list(read(tmp_path / "sparse" / FILE))[-1]
    assert record["step"] == 3
    limit = {"l1": 100, "l0": 25, "l0_inf": 100 * 2 / 16, "ml_csc": 100 * 4 / 16}[name]
    assert 0 < record["sparsity"] <= limit + 1e-6
    assert (record["penalty"] is not None) == (name == "l1")


@pytest.mark.parametrize("net", ["sngan:SNGAN", "sagan:SAGAN"])
def test_everything_kept_gives_the_same_weights(mimicry, tmp_path, net):
    plain = weights(train(mimicry, net, tmp_path / "plain"))
    for name, settings in (("l0_inf", {"k": 1.0}), ("l0", {"k": 1.0}), ("l1", {"weight": 0.0})):
        sparse_plugin.enable("mimicry", name, **settings)
        assert equal(weights(train(mimicry, net, tmp_path / name)), plain)
        sparse_plugin.disable()
    assert equal(weights(train(mimicry, net, tmp_path / "again")), plain)  # disabled leaves no trace


@pytest.mark.parametrize("net", ["sngan:SNGAN", "ssgan:SSGAN", "infomax_gan:InfoMaxGAN"])
def test_the_penalty_equals_an_explicit_term(mimicry, tmp_path, net):
    """mimicry's own loss plus weight * mean |Γ| by hand."""
    sparse_plugin.enable("mimicry", "l1", weight=0.5)
    ours = weights(train(mimicry, net, tmp_path / "ours"))
    sparse_plugin.disable()
    base = mimicry.nets.gan.gan.BaseGenerator
    original, latest = base.compute_gan_loss, []

    def loss(self, output):
        if not latest:
            raise AssertionError
        return original(self, output) + 0.5 * latest[-1].abs().mean()

    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda m, args: latest.append(args[0]) if isinstance(m, torch.nn.Conv2d) and m.out_channels == 3 else None
    )
    base.compute_gan_loss = loss
    try:
        theirs = weights(train(mimicry, net, tmp_path / "theirs"))
    finally:
        base.compute_gan_loss = original
        handle.remove()
    for key, value in theirs.items():
        assert torch.allclose(ours[key], value, atol=1e-6), key


def test_its_log_shows_the_plugins_figures(mimicry, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sparse_plugin.enable("mimicry", "l1", weight=0.5)
    train(mimicry, "sngan:SNGAN", tmp_path)
    for metric, tag in (("sparsity", "sparsity"), ("penalty", "penalty"), ("atoms_unused", "atoms"), ("errG", "loss")):
        events = EventAccumulator(str(tmp_path / "data" / metric))
        events.Reload()
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3], metric
    assert "| sparsity: " in capsys.readouterr().out


def test_its_writers_take_the_measurements_too(mimicry, tmp_path, capsys):
    """It has one for each curve, opened when the first is drawn: after the first measurement."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sparse_plugin.enable("mimicry", "l0_inf", k=2, log="tensorboard")
    train(mimicry, "sngan:SNGAN", tmp_path)
    found = []
    for folder in (tmp_path / "data").iterdir():
        events = EventAccumulator(str(folder))
        events.Reload()
        found += [[e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"] if tag.endswith("c5/sparsity")]
    assert found == [[2, 3]] and not list(tmp_path.rglob("sparsity*.jsonl"))
    assert capsys.readouterr().err.count("measurements go to TensorBoard") == 1


@pytest.mark.parametrize(("name", "settings"), REGULARIZERS, ids=[name for name, _ in REGULARIZERS])
def test_its_checkpoints_save_and_resume(mimicry, tmp_path, name, settings):
    sparse_plugin.enable("mimicry", name, **settings)
    train(mimicry, "sngan:SNGAN", tmp_path / "a", steps=2)
    file = tmp_path / "a/checkpoints/netG/netG_2_steps.pth"
    params = tmp_path / "a/params.json"
    params.write_text(params.read_text().replace('"num_steps": 2', '"num_steps": 4'))
    resumed = train(mimicry, "sngan:SNGAN", tmp_path / "a", steps=4, seed=5)
    assert resumed.count_params()[0] > 0 and (tmp_path / "a/checkpoints/netG/netG_4_steps.pth").exists()
    fresh = build(mimicry, "sngan:SNGAN")
    assert fresh.restore_checkpoint(str(file)) == 2
    sparse_plugin.disable()
    with pytest.raises(RuntimeError, match="Unexpected key"):  # without the plugin: loudly off
        build(mimicry, "sngan:SNGAN").restore_checkpoint(str(file))
    sparse_plugin.enable("mimicry", "l0_inf", k=7)
    with pytest.raises((CheckpointError, RuntimeError), match=r"trained with|Unexpected key"):
        build(mimicry, "sngan:SNGAN").restore_checkpoint(str(file))


def test_loss_scaling_of_its_trainer(mimicry, tmp_path, monkeypatch):
    """Trainer(amp=True) scales errG, the penalty included; here with a scaler that works on the CPU."""
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: torch.amp.GradScaler("cpu", init_scale=256.0))
    monkeypatch.setattr(torch.cuda.amp, "autocast", lambda: torch.autocast("cpu", enabled=False))
    results = []
    for amp in (False, True):
        sparse_plugin.enable("mimicry", "l1", weight=0.5)
        results.append(weights(train(mimicry, "sngan:SNGAN", tmp_path / str(amp), amp=amp)))
        sparse_plugin.disable()
    assert all(torch.allclose(results[0][key], value, atol=1e-5) for key, value in results[1].items())


def test_a_users_own_subclass(mimicry):
    sparse_plugin.enable("mimicry", "l0_inf", k=2)

    class Mine(mimicry.nets.sngan.SNGANGenerator32):
        def __init__(self):
            super().__init__(ngf=16)
            self.extra = torch.nn.Linear(1, 1)

    class Other(mimicry.nets.gan.gan.BaseGenerator):
        def __init__(self):
            super().__init__(nz=4, ngf=8, bottom_width=4, loss_type="hinge")
            self.l1 = torch.nn.Linear(4, 8 * 16)
            self.paint = torch.nn.ConvTranspose2d(8, 3, 4, 2, 1)

        def forward(self, x):
            return torch.tanh(self.paint(torch.relu(self.l1(x)).view(-1, 8, 4, 4)))

    assert Attachment.of(Mine()).sites[0].path == "c5"
    other = Other()
    other.generate_images(2)
    assert Attachment.of(other).sites[0].path == "paint"


def test_generators_in_the_launcher_and_without_tensorflow(tmp_path):
    """`import torch_mimicry` works, says in a line what it left out, and metrics say what they need when used."""
    (tmp_path / "train.py").write_text(
        textwrap.dedent(
            """
            import torch_mimicry as mmc, torch
            net = mmc.nets.sngan.SNGANGenerator32(ngf=8)
            print(net.generate_images(2).shape)
            try:
                mmc.metrics.evaluate
            except ImportError as error:
                print(error)
            """
        )
    )
    command = [
        sys.executable,
        "-m",
        "sparse_plugin",
        "run",
        "--sparse",
        "l0_inf",
        "--set",
        "sparse.k=2",
        "--",
        "python",
    ]
    done = subprocess.run([*command, "train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "torch.Size([2, 3, 32, 32])" in done.stdout
    assert done.stderr.count("attached to SNGANGenerator32 at the input of c5") == 1
    if "TensorFlow, which is not installed" in done.stderr:
        assert "torch_mimicry.metrics.evaluate needs TensorFlow: `pip install tensorflow`" in done.stdout


HOSTS = os.environ.get("SPARSE_PLUGIN_HOSTS")


@pytest.mark.skipif(not HOSTS, reason="needs a checkout: SPARSE_PLUGIN_HOSTS names a folder with kwotsin+mimicry in it")
@pytest.mark.parametrize("tests", ["tests/nets", "tests/training"])
def test_its_own_tests_pass_with_the_plugin_disabled(tests, tmp_path):
    checkout = Path(HOSTS) / "kwotsin+mimicry"
    if not (checkout / tests).is_dir():
        pytest.skip("needs a checkout: SPARSE_PLUGIN_HOSTS has no kwotsin+mimicry with its tests")
    driven.add(str(checkout))
    code = (
        "import sparse_plugin, sys; sparse_plugin.enable('mimicry', 'l0_inf', k=1, enabled=False);"
        f"import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {tests!r}]))"
    )
    # They are written for a pytest that called a method `setup` before each test.
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(autouse=True)\ndef _setup(request):\n"
        "    getattr(request.instance, 'setup', lambda: None)()\n    yield\n"
        "    getattr(request.instance, 'teardown', lambda: None)()\n"
    )
    shutil.copytree(checkout / "tests", tmp_path / "tests")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
