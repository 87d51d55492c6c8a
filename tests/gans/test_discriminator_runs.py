"""`train` with a regularized discriminator: what is attached, logged, kept, resumed to the bit, and what is refused."""

import json

import pytest
import torch
from gan_runs import Killed, dies, log, same, sparse, train, weights

from sparse_plugin import Attachment, SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.gans.trained import load_trained
from sparse_plugin.runs.methods import label_of

ON_D = {"role": "discriminator"}
CASES = {
    "dcgan": sparse("l0_inf", k=0.25, **ON_D),
    "wgan_gp": sparse("l1", weight=0.5, **ON_D),
    "ssgan": sparse("l1", weight=0.5, delivery="gradient", **ON_D),
    "biggan": sparse("l0", k=0.5, **ON_D),
    "sngan": sparse("l0_inf", k={"start": 1.0, "end": 0.25, "steps": 10}, **ON_D),
}


def parts(folder, step=4):
    """The weights of a checkpoint, the plugin's own entries aside."""
    return {name: value for name, value in weights(folder, step).items() if ".sparse_plugin." not in name}


@pytest.mark.parametrize("arch", CASES)
def test_it_trains_and_logs(arch, tmp_path):
    train(arch, tmp_path / "a", CASES[arch])
    kept = weights(tmp_path / "a")
    assert any(name.startswith("discriminator.") and "sparse_plugin" in name for name in kept)
    assert not any(name.startswith("generator.") and "sparse_plugin" in name for name in kept)
    first = log(tmp_path / "a", "sparsity.jsonl")[0]
    assert first["role"] == "discriminator" and first["step"] == 1
    if CASES[arch].build().name == "l1" and CASES[arch].delivery is None:
        assert log(tmp_path / "a")[0]["discriminator/sparsity"] > 0
    trained = load_trained(tmp_path / "a")
    assert Attachment.of(trained.generator) is None and trained.sampled(3).shape == (3, 3, 32, 32)


@pytest.mark.parametrize("arch", ["wgan_gp", "sngan"])
def test_a_run_that_was_killed_comes_to_the_same_bits(arch, tmp_path, monkeypatch):
    """Also its log, whose steps are the discriminator's: several to one of the generator."""
    config = CASES[arch].with_(measure_every=1)
    train(arch, tmp_path / "whole", config)
    dies(monkeypatch, 4)
    with pytest.raises(Killed):
        train(arch, tmp_path / "resumed", config)
    train(arch, tmp_path / "resumed", config)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "resumed"))
    steps = [record["step"] for record in log(tmp_path / "resumed", "sparsity.jsonl")]
    assert steps == [record["step"] for record in log(tmp_path / "whole", "sparsity.jsonl")] == list(range(1, 21))


def test_all_of_it_kept_is_a_run_without(tmp_path):
    train("dcgan", tmp_path / "plain", None)
    train("dcgan", tmp_path / "all", sparse("l0_inf", k=1.0, **ON_D))
    assert not same(parts(tmp_path / "plain"), parts(tmp_path / "all"))


def test_the_discriminator_remains_untouched_by_default(tmp_path):
    train("dcgan", tmp_path / "a", sparse("l0_inf", k=0.25))
    assert not any(name.startswith("discriminator.") and "sparse_plugin" in name for name in weights(tmp_path / "a"))


def test_both_networks(tmp_path):
    (tmp_path / "both.yaml").write_text(
        "version: 1\nsparse:\n  - {regularizer: l0_inf, k: 0.5}\n  - {role: discriminator, regularizer: l1, measure_every: 2}\n"
    )
    config = SparsityConfig.from_file(tmp_path / "both.yaml")
    train("dcgan", tmp_path / "a", config)
    kept = weights(tmp_path / "a")
    assert {name.partition(".")[0] for name in kept if "sparse_plugin" in name} == {"generator", "discriminator"}
    roles = [record.get("role", "generator") for record in log(tmp_path / "a", "sparsity.jsonl")]
    assert set(roles) == {"generator", "discriminator"}
    said = json.loads((tmp_path / "a" / "config.json").read_text())["sparse"]
    assert said["beside"] == {"regularizer": "l1", "role": "discriminator", "weight": 10.0}
    assert label_of(said) == "l0_inf-k=0.5&l1@discriminator-weight=10.0"
    attachment = Attachment.of(load_trained(tmp_path / "a").generator)
    assert str(attachment.regularizer) == "l0_inf(k=0.5)"
    assert "is finished" in train("dcgan", tmp_path / "a", config)
    with pytest.raises(ConfigError, match="beside"):
        train("dcgan", tmp_path / "a", config.with_(beside={**config.beside, "weight": 1.0}))


def test_a_schedule_that_is_longer_than_the_discriminator_s_steps(tmp_path, caplog):
    train("sngan", tmp_path / "a", sparse("l0_inf", k={"start": 1.0, "end": 0.25, "steps": 20}, **ON_D))
    assert "goes on changing" not in caplog.text
    train("sngan", tmp_path / "b", sparse("l0_inf", k={"start": 1.0, "end": 0.25, "steps": 21}, **ON_D))
    assert "goes on changing up to step 21, and this run ends at step 20" in caplog.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"regularizer": "ml_csc", "k": 2, **ON_D}, "a discriminator synthesizes none"),
        ({"regularizer": "l0_inf", **ON_D, "discriminator": "a:B"}, "sparse.discriminator is 'a:B' and has no meaning in `train`"),
        ({"regularizer": "l0_inf", "beside": {"regularizer": "l1"}}, "are both of the generator"),
        ({"regularizer": "l0_inf", "beside": {"role": "discriminator"}}, "no regularizer is named"),
        ({"regularizer": "l0_inf", "beside": {"role": "discriminator", "regularizer": "l9"}}, "l9"),
        ({"regularizer": "l0_inf", "beside": {"role": "discriminator", "regularizer": "l1", "k": 3}}, "k"),
    ],
)
def test_mistakes(settings, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        train("dcgan", tmp_path / "a", SparsityConfig.from_mapping(settings))
    assert not (tmp_path / "a").exists()


def test_restore_has_no_discriminator():
    from sparse_plugin.runs.sparsity import RESTORING, attachable

    for settings in ({"regularizer": "l0", **ON_D}, {"regularizer": "l0", "beside": {"regularizer": "l1", **ON_D}}):
        with pytest.raises(ConfigError, match="has no meaning in `restore`"):
            attachable(SparsityConfig.from_mapping(settings), "restore", RESTORING)


def test_the_penalty_of_a_gradient_penalized_loss_is_of_what_is_judged(tmp_path):
    """WGAN-GP judges real and generated images; those between, at which the slope is penalized, are not among them."""
    from sparse_plugin.gans.train import recipe

    train("wgan_gp", tmp_path / "a", sparse("l1", weight=0.0, **ON_D))
    train("wgan_gp", tmp_path / "b", None)
    assert not same(parts(tmp_path / "a"), parts(tmp_path / "b")) and recipe("wgan_gp").gradient_penalty
    assert all(torch.isfinite(value).all() for value in parts(tmp_path / "a").values())
