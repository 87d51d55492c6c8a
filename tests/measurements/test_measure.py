"""What is measured, and how it is logged."""

import json

import pytest
import torch
from generators import Residual, noise

from sparse_plugin import attach
from sparse_plugin.errors import AttachmentError
from sparse_plugin.measurements.gamma import MAP_SIDE, gamma_statistics
from sparse_plugin.measurements.log import FILE, Recorder, read


def test_by_hand():
    before = torch.zeros(2, 4, 2, 3)
    before[:, :2] = 1
    before[0, 3, 1, 2] = -5
    after = before.clone()
    after[:, 1] = 0
    measured = gamma_statistics("out", 1, before, after).read()
    assert measured.sparsity_before == pytest.approx(100 * 25 / 48)
    assert measured.sparsity == pytest.approx(100 * 13 / 48)
    assert measured.needle_density.tolist() == [[0.25] * 3, [0.25, 0.25, pytest.approx(0.375)]]
    assert measured.atom_usage.tolist() == [1.0, 0.0, 0.0, pytest.approx(1 / 12)]
    assert measured.never_used == 2


def test_nan_counts_as_non_zero():
    gamma = torch.tensor([[[[float("nan"), 0.0]]]])
    assert gamma_statistics("", 1, gamma, gamma).read().sparsity == 50


def test_wide_maps_are_averaged_down_in_the_log():
    gamma = torch.zeros(1, 2, 100, 70)
    gamma[..., :35] = 1
    record = gamma_statistics("", 1, gamma, gamma).read().record()
    density = torch.tensor(record["needle_density"])
    assert density.shape == (MAP_SIDE, MAP_SIDE)
    assert density.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("name", "settings"), [("l1", {"weight": 0.1}), ("l0_inf", {"k": 2}), ("ml_csc", {"k": 3})])
def test_measure_runs_undisturbed(name, settings):
    generator = Residual()
    attachment = attach(generator, name, **settings)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    measured = attachment.measure(noise())
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())
    assert [m.level for m in measured] == ([2, 1] if name == "ml_csc" else [1])
    assert (measured[0].penalty is not None) == (name == "l1")
    if name == "l1":
        gamma = []
        handle = generator.out.register_forward_hook(lambda m, args, out: gamma.append(args[0].detach()))
        generator(noise())
        handle.remove()
        assert measured[0].penalty == pytest.approx(float(0.1 * gamma[0].abs().mean()), rel=1e-5)


def test_nothing_measured_yet():
    with pytest.raises(AttachmentError, match="nothing was measured yet"):
        attach(Residual(), "l0_inf", k=2).measure()


@pytest.mark.parametrize(("name", "settings"), [("l1", {"weight": 0.1}), ("l0", {"k": 0.2}), ("ml_csc", {"k": 3})])
def test_the_log_of_a_training_run(tmp_path, name, settings):
    generator = Residual()
    attachment = attach(generator, name, run_dir=tmp_path, measure_every=3, **settings)
    optimizer = torch.optim.SGD(generator.parameters(), 0.01)
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    for step in range(7):
        generator(noise(seed=step)).detach()  # a discriminator's step
        other.step()
        generator(noise(seed=step)).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        generator(noise())
    records = list(read(tmp_path / FILE))
    levels = [2, 1] if name == "ml_csc" else [1]
    assert [(r["step"], r["level"]) for r in records] == [(s, level) for s in (1, 3, 6) for level in levels]
    last = records[-1]
    assert last["site"] == "out" and 0 < last["sparsity"] <= last["sparsity_before"] <= 100
    assert (
        len(last["atom_usage"]) == 8
        and len(last["needle_density"]) == 8
        and last["unused_so_far"] <= last["never_used"]
    )
    assert attachment.measure()[0].sparsity == pytest.approx(records[-len(levels)]["sparsity"], abs=1e-3)


def test_measuring_adds_no_forward_and_changes_nothing(tmp_path):
    results = []
    for log in ({}, {"run_dir": tmp_path, "measure_every": 1}):
        torch.manual_seed(0)
        generator = Residual()
        attach(generator, "l0_inf", k=2, **log)
        optimizer = torch.optim.SGD(generator.parameters(), 0.01)
        for _ in range(3):
            generator(torch.randn(4, 6)).square().mean().backward()
            optimizer.step()
        results.append(torch.cat([p.flatten() for p in generator.parameters()]))
    assert torch.equal(*results)


def test_a_resumed_run_goes_on_in_its_log(tmp_path):
    Recorder(tmp_path, 1).write({"step": 1})
    with open(tmp_path / FILE, "a") as file:
        file.write('{"step": 2, "half')  # killed here
    assert [r["step"] for r in read(tmp_path / FILE)] == [1]
    Recorder(tmp_path, 1).write({"step": 3})
    assert json.loads((tmp_path / FILE).read_text().splitlines()[-1])["step"] == 3
    assert [r["step"] for r in read(tmp_path / FILE)] == [1, 3]


def test_no_measuring(tmp_path):
    generator = Residual()
    attach(generator, "l0_inf", k=2, run_dir=tmp_path, measure_every=0)
    optimizer = torch.optim.SGD(generator.parameters(), 0.01)
    generator(noise()).mean().backward()
    optimizer.step()
    assert not list(tmp_path.iterdir())
