"""Generators that were trained: read from a run, and sampled from."""

import shutil
import textwrap

import pytest
import torch
from gan_runs import Killed, dies, sparse, train, weights

from sparse_plugin import Attachment, attach
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.gans import architectures, recipe, trained
from sparse_plugin.gans.gan import build
from sparse_plugin.runs.config import DataConfig, RunConfig


def test_a_trained_generator_samples_as_it_was_trained(tmp_path):
    train("biggan", tmp_path / "a", sparse("l0_inf", k=2))
    found = trained.load_trained(tmp_path / "a", device="cpu")
    assert (found.step, found.classes, str(Attachment.of(found.generator).regularizer)) == (4, 4, "l0_inf(k=2)")
    stored = weights(tmp_path / "a")
    assert torch.equal(found.generator.linear.bias, stored["generator_average.linear.bias"])
    before = {name: t.clone() for name, t in found.generator.state_dict().items()}
    images = list(found.sample(10, seed=1, batch=4))
    assert [tuple(part.shape) for part in images] == [(4, 3, 32, 32), (4, 3, 32, 32), (2, 3, 32, 32)]
    assert all(part.dtype is torch.uint8 for part in images) and torch.cat(images).float().std() > 1
    assert torch.equal(images[0], next(iter(found.sample(10, seed=1, batch=4))))
    assert not torch.equal(images[0], next(iter(found.sample(10, seed=2, batch=4))))
    assert all(torch.equal(t, before[name]) for name, t in found.generator.state_dict().items())
    assert found.generator.training  # the released code evaluates with batch statistics
    assert found.measure()[0].sparsity <= 25 < found.measure()[0].sparsity_before
    z, labels = found.inputs(10)
    assert z.shape == (10, 128) and set(labels.tolist()) <= {0, 1, 2, 3}
    assert trained.load_trained(tmp_path / "a", step=2).step == 2


def test_samples_use_running_statistics_unless_the_released_code_does_not(tmp_path):
    for arch, alone in (("dcgan", True), ("wgan_gp", False)):
        train(arch, tmp_path / arch)
        found = trained.load_trained(tmp_path / arch)
        assert found.generator.training != alone
        density = found.measure(8)[0]
        assert 0 < density.sparsity == density.sparsity_before < 100 and Attachment.of(found.generator) is None
        z, _ = found.inputs(8)
        together = trained.images(found.generator, found.recipe, z, None)
        part = trained.images(found.generator, found.recipe, z[:4], None)
        assert ((together[:4].int() - part.int()).abs().max() <= 1) == alone


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="is not the directory of a run: config.json: No such file"):
        trained.load_trained(tmp_path / "nothing")
    train("dcgan", tmp_path / "a")
    with pytest.raises(ConfigError, match="the checkpoint of step 3 .* there are those of steps 2, 4; name another"):
        trained.load_trained(tmp_path / "a", step=3)
    shutil.rmtree(tmp_path / "a/checkpoints")
    with pytest.raises(ConfigError, match="there are none"):
        trained.load_trained(tmp_path / "a")


def test_a_checkpoint_of_another_network_is_refused(tmp_path, monkeypatch):
    dies(monkeypatch, 3)
    with pytest.raises(Killed):
        train("dcgan", tmp_path / "a")
    train("dcgan", tmp_path / "b", width=1 / 8)
    for name in ("a/checkpoints/step-0000002", "a/checkpoints/step-0000004"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    shutil.copytree(tmp_path / "b/checkpoints/step-0000002", tmp_path / "a/checkpoints/step-0000002")
    with pytest.raises(
        CheckpointError, match="the checkpoint's generator is of another network: .*size mismatch"
    ) as caught:
        train("dcgan", tmp_path / "a")
    assert "\n" not in textwrap.dedent(str(caught.value))


def untrained(arch, classes=4):
    """A generator as `load_trained` would give it back, without the time to train one."""
    found = recipe(arch)
    torch.manual_seed(0)
    generator = build(found, 1 / 16, classes).generator
    generator.requires_grad_(False).train(found.batch_statistics)
    config = RunConfig(arch, 32, 1 / 16, 4, 0, 1, "float32", 0, classes if found.conditional else 0, None, DataConfig(1.0))
    return trained.TrainedGenerator(found, config, 0, generator, torch.device("cpu"))


@pytest.mark.parametrize("arch", architectures())
def test_a_sample_is_the_same_however_many_are_asked_for(arch):
    """The last batch of one, and the short one, are as whole as the others."""
    found = untrained(arch)
    every = torch.cat(list(found.sample(17, seed=3, batch=8)))
    assert len(every) == 17 and every.float().std() > 1
    for count in (1, 2, 7, 8, 9):
        parts = list(found.sample(count, seed=3, batch=8))
        assert [len(part) for part in parts] == [8] * (count // 8) + [count % 8] * (count % 8 > 0)
        assert torch.equal(torch.cat(parts), every[:count]), count
    z, labels = found.inputs(150, seed=3)
    again = found.inputs(7, seed=3)
    assert torch.equal(again[0], z[:7]) and (labels is None or torch.equal(again[1], labels[:7]))
    assert labels is None or set(labels.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("arch", ["wgan_gp", "ssgan", "biggan"])
def test_what_is_measured_does_not_depend_on_the_count_either(arch):
    found = untrained(arch)
    one, few, more = (found.measure(count)[0] for count in (1, 64, 65))
    assert (one.sparsity, one.needle_density.tolist()) == (few.sparsity, few.needle_density.tolist())
    (first,), (both,) = found.measure(64), found.measure(128)
    assert more.sparsity == both.sparsity != first.sparsity and more.atom_usage.shape == first.atom_usage.shape


def test_an_average_of_measurements_is_that_of_all_samples():
    found = untrained("dcgan")
    attachment = attach(found.generator, "ml_csc", k=[4, 2], example_input=found.inputs(2))
    at_once, in_parts = attachment.measure(*found.inputs(128)), found.measure(128)
    assert [(m.site, m.level) for m in at_once] == [(m.site, m.level) for m in in_parts] and len(at_once) == 2
    for mine, other in zip(in_parts, at_once, strict=True):
        assert mine.sparsity == pytest.approx(other.sparsity) and mine.never_used == other.never_used
        torch.testing.assert_close(mine.needle_density, other.needle_density)
        torch.testing.assert_close(mine.atom_usage, other.atom_usage)
