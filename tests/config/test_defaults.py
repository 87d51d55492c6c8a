"""A regularizer that is named without settings has those that its class declares, whoever names it."""

import argparse
import importlib.util
import json

import pytest
import torch
from click.testing import CliRunner
from encoder_decoders import Strided
from gan_runs import sparse, train
from generators import Residual

import sparse_plugin
from sparse_plugin import Attachment, SparsityConfig, attach, registry
from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import REGULARIZERS
from sparse_plugin.restore.network import SkipNetwork
from sparse_plugin.runs.methods import methods

NAMES = {"l0": {"k": 0.25}, "l0_inf": {"k": 0.25}, "ml_csc": {"k": 0.25}, "l1": {"weight": 10.0}}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def attached(name, **options):
    generator = Residual()
    attach(generator, name, example_input=torch.randn(2, 6), **options)
    return {key: Attachment.of(generator).regularizer.settings()[key] for key in NAMES[name]}


def test_attach_and_configs(name, tmp_path):
    assert attached(name) == NAMES[name] == dict(registry.get(name).defaults)
    (tmp_path / "a.yaml").write_text(f"sparse:\n  regularizer: {name}\n")
    config = SparsityConfig.from_file(tmp_path / "a.yaml")
    assert str(config.build()) == str(SparsityConfig.from_mapping({"regularizer": name, **NAMES[name]}).build())
    generator = Residual()
    attach(generator, config, example_input=torch.randn(2, 6))
    assert Attachment.of(generator).regularizer.settings().items() >= NAMES[name].items()


def test_the_launcher(name):
    if importlib.util.find_spec("torch_mimicry") is None:
        pytest.skip("torch_mimicry is not installed")
    sparse_plugin.enable("mimicry", name)
    import torch_mimicry

    found = Attachment.of(torch_mimicry.nets.sngan.SNGANGenerator32(ngf=16)).regularizer.settings()
    assert found.items() >= NAMES[name].items()


def test_flags_of_a_host(name):
    from sparse_plugin.hosts import flags
    from sparse_plugin.hosts.session import Session

    session = Session(SparsityConfig(regularizer=None))
    parser = argparse.ArgumentParser()
    flags.add(parser, session)
    parser.parse_args(["--sparse", name])
    assert session.config.build().settings().items() >= NAMES[name].items()


def test_train_and_experiment(name, tmp_path):
    train("dcgan", tmp_path / "a", sparse(name), steps=1)
    kept = json.loads((tmp_path / "a/config.json").read_text())["sparse"]
    assert kept == {"regularizer": name, **NAMES[name]}
    train("dcgan", tmp_path / "a", sparse(name, **NAMES[name]), steps=1)  # the same run
    (method,) = methods([name], "dcgan")
    assert method.sparse.settings == NAMES[name]


def test_one_setting_asks_for_all_that_are_needed():
    with pytest.raises(ConfigError, match="l1: field 'weight' is missing: give weight"):
        attach(Residual(), "l1", reduction="sum")
    with pytest.raises(ConfigError, match="ml_csc: field 'k' is missing"):
        SparsityConfig.from_mapping({"regularizer": "ml_csc", "levels": 3}).build()


@pytest.mark.parametrize(("encoder", "k"), [("l0", 0.25), ("l0_inf", 0.1)])
def test_encoder_scales_have_their_own(encoder, k):
    """Those that `restore` takes."""
    found = {"adapter": "encoder_scales", "example_input": torch.randn(1, 4, 32, 32)}
    by_hand = {"sites": ["encoders.0:output", "encoders.1:output"]}
    # What is asked for stays, though it is a generator's default.
    for options, expected in ((found, k), (by_hand, k), ({**found, "k": 0.25}, 0.25), ({**by_hand, "k": 0.25}, 0.25)):
        network = SkipNetwork(4, down=(16, 16))
        attach(network, encoder, **options)
        assert Attachment.of(network).regularizer.settings()["k"] == expected
    (method,) = methods([encoder], "deep_image_prior")
    assert method.sparse.settings == {"k": k}


def test_where_no_default_was_found_none_is_made_up(tmp_path):
    with pytest.raises(ConfigError, match="l1: field 'weight' is missing"):
        attach(Strided(), "l1", adapter="encoder_scales", example_input=torch.randn(1, 3, 16, 16))
    with pytest.raises(ConfigError, match="l1: field 'weight' is missing"):
        methods(["l1"], "deep_image_prior")
    picture(tmp_path / "a.png")
    done = CliRunner().invoke(cli, ["restore", "denoise", str(tmp_path / "a.png"), "--sparse", "l1", "-o", str(tmp_path / "out/")])
    assert done.exit_code == 2 and "l1: field 'weight' is missing" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def picture(path):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(path)


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [("run_dir", "x", "beside OUT"), ("measure_every", 3, "--log-every"), ("delivery", "loss", "in one way"), ("host", "mimicry", "own"),
     ("generator", "a:B", "own"), ("accumulation", 2, "one pass"), ("log", ["tensorboard"], "beside OUT")],
)  # fmt: skip
def test_restore_refuses_what_means_nothing_to_it(key, value, instead, tmp_path):
    picture(tmp_path / "a.png")
    options = ["--sparse", "l1", "--set", "sparse.weight=1.0", "--set", f"sparse.{key}={value}"]
    done = CliRunner().invoke(cli, ["restore", "denoise", str(tmp_path / "a.png"), *options, "-o", str(tmp_path / "out/")])
    assert done.exit_code == 2 and f"sparse.{key} is {value!r} and has no meaning in `restore`" in done.output
    assert instead in done.output and [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("key", ["host", "run_dir", "delivery", "enabled", "kk"])
def test_methods_take_the_fields_of_their_regularizer(key):
    with pytest.raises(ConfigError, match=f"the method 'l0:k=0.5:{key}=1' sets {key}: there is no field '{key}'; there are k"):
        methods([f"l0:k=0.5:{key}=1"], "dcgan")


def test_a_users_regularizer_declares_its_own():
    class Soft(sparse_plugin.Constraint):
        threshold: float

        defaults = {"threshold": 0.5}  # noqa: RUF012

        def project(self, gamma):
            return gamma.sign() * (gamma.abs() - self.threshold).clamp(min=0)

    sparse_plugin.register("soft_by_default")(Soft)
    try:
        generator = Residual()
        assert "soft_by_default(threshold=0.5)" in str(attach(generator, "soft_by_default", example_input=torch.randn(2, 6)))
        assert SparsityConfig.from_mapping({"regularizer": "soft_by_default"}).build().threshold == 0.5
    finally:
        REGULARIZERS.unregister("soft_by_default")
