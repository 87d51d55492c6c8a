"""`sparse-plugin theory`: of runs, of checkpoints of other codebases, of what a factory returns; and its figure."""

import importlib.util
import json
import sys

import pytest
import torch
from click.testing import CliRunner
from gan_runs import sparse, train

import sparse_plugin
from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError
from sparse_plugin.evaluate.evaluation import of_run
from sparse_plugin.evaluate.theory import theory
from sparse_plugin.hosts.build import build

HOST = """
import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, width=8, fill=None):
        super().__init__()
        self.nz = 6
        self.first = nn.ConvTranspose2d(6, width, 8)
        self.last = nn.ConvTranspose2d(width, 3, 4, 2, 1)
        if fill is not None:
            nn.init.constant_(self.last.weight, fill)

    def forward(self, z):
        return torch.tanh(self.last(torch.relu(self.first(z[:, :, None, None]))))


def trained(width, fill=0.5):
    return Generator(width, fill).requires_grad_(False)


def broken():
    raise RuntimeError("no weights here")


number = 3


def three():
    return number
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    (tmp_path / "theory_host.py").write_text(HOST)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("theory_host")
    del sys.modules["theory_host"]


def asked(*arguments):
    result = CliRunner().invoke(cli, ["theory", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for name, config in {"vanilla": None, "ml_csc": sparse("ml_csc", k=0.5)}.items():
        train("dcgan", out / name, config, steps=2, width=1 / 8)
    return out


def test_runs_and_their_checkpoints(runs):
    code, text = asked(runs / "vanilla")
    assert code == 0 and "without a regularizer, 64 samples" in text and "VOID" in text
    checkpoint = runs / "ml_csc" / "checkpoints" / "step-0000002"
    code, text = asked(checkpoint / "generator.safetensors", "--json", "--samples", 5)
    record = json.loads(text)
    assert code == 0 and [layer["name"] for layer in record["layers"]] == ["D1", "D2", "D_eff"]
    assert record["layers"][0]["samples"] == 5
    assert asked(checkpoint, "--json", "--samples", 5)[1].replace(str(checkpoint), "") == text.replace(
        str(checkpoint / "generator.safetensors"), ""
    )


def test_a_run_counts_what_its_measurements_count(runs):
    trained = of_run(str(runs / "vanilla"), "cpu")
    (d1,) = theory(str(runs / "vanilla"), samples=64, device="cpu").layers
    assert 100 * d1.per_value * 3 * 4 / d1.atoms == pytest.approx(trained.measure(64)[0].sparsity, rel=1e-4)


def test_a_checkpoint_of_another_codebase(host, tmp_path):
    torch.manual_seed(0)
    plain, attached = host.Generator(), host.Generator()
    attached.load_state_dict(plain.state_dict())
    sparse_plugin.attach(attached, "l0_inf", k=2, example_input=torch.randn(2, 6))
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    torch.save({"netG": attached.state_dict()}, tmp_path / "attached.pth")
    named = ("--generator", "theory_host:Generator", "--samples", 8, "--input", "4x6", "--json")
    of = {name: json.loads(asked(tmp_path / f"{name}.pth", *named)[1]) for name in ("plain", "attached")}
    assert of["plain"]["regularizer"] == "without a regularizer" and of["attached"]["regularizer"] == "l0_inf(k=2)"
    layers = {name: found["layers"][0] for name, found in of.items()}
    assert layers["plain"]["coherence"] == layers["attached"]["coherence"]
    assert layers["attached"]["fullest_needle"] == 2 < layers["plain"]["fullest_needle"]
    assert layers["plain"]["samples"] == 8


def test_mimicry_s_generator(tmp_path):
    if importlib.util.find_spec("torch_mimicry") is None:
        pytest.skip("torch_mimicry is not installed")
    torch.manual_seed(0)
    generator = build("torch_mimicry.nets.sngan:SNGANGenerator32", ["ngf=32"])
    sparse_plugin.attach(generator, "l0_inf", k=0.25, example_input=torch.randn(2, 128))
    torch.save({"model_state_dict": generator.state_dict()}, tmp_path / "netG.pth")
    code, text = asked(
        tmp_path / "netG.pth", "--generator", "torch_mimicry.nets.sngan:SNGANGenerator32", "--arg", "ngf=32", "--input", "8x128"
    )
    assert code == 0 and "D1 (c5): 32 atoms of 3x3x3" in text and "l0_inf(k=0.25), 64 samples" in text


def test_what_a_factory_returns(host):
    code, text = asked("--factory", "theory_host:trained", "--arg", "8", "--json", "--samples", 4)
    record = json.loads(text)
    assert code == 0 and record["target"] == "theory_host:trained"
    assert record["layers"][0]["atoms"]["duplicate_pairs"] == 28 and record["layers"][0]["coherence"]["spark_at_most"] == 2


def test_a_factory_with_a_checkpoint(host, tmp_path):
    torch.manual_seed(0)
    torch.save(host.Generator().state_dict(), tmp_path / "g.pth")
    code, text = asked(tmp_path / "g.pth", "--factory", "theory_host:trained", "--arg", "8", "--json", "--samples", 4)
    assert code == 0 and json.loads(text)["layers"][0]["atoms"]["duplicate_pairs"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing was named to be looked at"),
        (("nowhere",), "nowhere is neither the directory nor a checkpoint of a run"),
        (("nowhere.pth",), "nowhere.pth is no checkpoint of the reference trainer"),
        (("nowhere", "--input", "2x6"), "--input was given, and it is of a generator of another codebase"),
        (("--generator", "theory_host:Generator"), "whose instances have no trained weights"),
        (("g.pth", "--generator", "theory_host:Generator", "--factory", "theory_host:trained"), "give one of them"),
        (("g.pth", "--generator", "theory_host:trained"), "is no torch.nn.Module class"),
        (("--factory", "theory_host:Generator"), "is no function"),
        (("--factory", "theory_host:number"), "is no function"),
        (("--factory", "theory_host:three"), "returns 3, and no generator"),
        (("--factory", "theory_host:broken"), "cannot be built: RuntimeError: no weights here"),
        (("--factory", "theory_host:trained", "--arg", "8", "--key", "a"), "--key says where in a checkpoint"),
        (("--factory", "theory_host:trained", "--arg", "8", "--input", "2x5"), "does not run on"),
        (("--factory", "theory_host:trained", "--arg", "8", "--samples", "0"), "0 samples were asked for"),
        (("--factory", "theory_host:trained", "--arg", "8", "--site", "first"), "first"),
    ],
)
def test_mistakes_are_a_sentence(host, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    torch.save(host.Generator().state_dict(), "g.pth")
    code, text = asked(*arguments)
    if said == "first":  # a site by hand: a convolution too, whose dictionary is no D1 but can be looked at
        assert code == 0 and "D1 (first)" in text
        return
    assert code == 2 and said in text and "Traceback" not in text


def test_the_same_of_the_same_seed(host):
    arguments = ("--factory", "theory_host:trained", "--arg", "8", "--json", "--samples", 4)
    state = torch.get_rng_state()
    assert asked(*arguments) == asked(*arguments) and asked(*arguments, "--seed", 1) != asked(*arguments)
    assert torch.equal(torch.get_rng_state(), state)


def test_from_python(runs):
    assert theory(str(runs / "vanilla"), samples=2, device="cpu").layers[0].samples == 2
    with pytest.raises(ConfigError, match="nothing was named"):
        theory(None)


def test_the_figure(runs, tmp_path):
    from sparse_plugin.figures import make
    from sparse_plugin.figures.kind import named

    assert make("theory", [str(runs)], tmp_path / "theory.png").stat().st_size > 5000
    kind = named("theory")
    figure = kind.draw(kind.find([str(runs)]))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["D1", "D2", "D_eff"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["vanilla", "ML k 0.5", "where the least coherent D would be unique"]
