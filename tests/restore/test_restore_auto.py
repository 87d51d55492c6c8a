"""k: auto in a restoration, and held-out pixels as a rule that stops."""

import json
import signal
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from restore_images import SMALL, photograph

from sparse_plugin import SparsityConfig
from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.measurements.log import read
from sparse_plugin.restore import Denoise, Inpaint, Interrupted, Upscale, add_noise, race, restore
from sparse_plugin.restore.downsample import downsample
from sparse_plugin.restore.held_out import LEAST, SHARE, HeldOut, count
from sparse_plugin.restore.report import RestorationReport as Report
from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.result import Choice
from sparse_plugin.restore.run import _begin
from sparse_plugin.restore.stopping import Stopping

CLEAN = photograph(36, 32)
NOISY = add_noise(CLEAN, 25, 0)
MASK = np.random.default_rng(0).random(CLEAN.shape[:2]) > 0.3


def sparse(k, name="l0_inf"):
    return SparsityConfig.from_mapping({"regularizer": name, "k": k})


def composed(l0, l0_inf):
    return SparsityConfig.from_mapping({"regularizer": ["l0", "l0_inf"], "l0": l0, "l0_inf": l0_inf})


AUTO = sparse("auto")


def quick(image=NOISY, task=None, **changes):
    return restore(image, task, **{**SMALL, "scales": 2, "iterations": 40, "log_every": 20, **changes})


def same(a, b):
    assert a.curves.loss == b.curves.loss and a.curves.variance == b.curves.variance and a.scores == b.scores
    return np.array_equal(a.image, b.image) and np.array_equal(a.single, b.single) and a.iteration == b.iteration


def tensor(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


class TestHeldOutPixels:
    @pytest.mark.parametrize(
        ("task", "given"),
        [(Denoise(25), NOISY), (Inpaint(MASK), CLEAN * MASK[..., None]), (Upscale(2), NOISY)],
        ids=["denoise", "inpaint", "upscale"],
    )
    def test_the_error_is_over_them_and_the_loss_over_the_others(self, task, given):
        given = tensor(given)
        held_out = HeldOut(task, given, 3)
        known, held = task.known(given.shape[2:]), held_out.held
        assert held.sum() == held_out.pixels == round(SHARE * int(known.sum())) and not (held & ~known).any()
        image = torch.rand(1, 3, *task.size(given.shape[2:]), generator=torch.Generator().manual_seed(0))
        seen = downsample(image, 2) if isinstance(task, Upscale) else image
        squares = (seen - given).square().mean(1, keepdim=True)
        assert held_out.error(image, given) == pytest.approx(float(squares[held].mean()), rel=1e-5)
        # As the task's own loss is: a mean over all pixels, where missing ones count as zeros.
        others = squares[known & ~held].mean() * known.float().mean()
        assert float(held_out.loss(image, given)) == pytest.approx(float(others), rel=1e-5)
        assert HeldOut(task, given, 3).held.equal(held) and not HeldOut(task, given, 4).held.equal(held)

    def test_their_values_are_never_learned(self):
        held = HeldOut(Denoise(25), tensor(NOISY), 0).held[0, 0].numpy()
        other = NOISY.copy()
        other[held] = 0.5
        a, b = (quick(image, stop="heldout", sparse=sparse(0.5), iterations=10) for image in (NOISY, other))
        assert a.curves.loss == b.curves.loss and a.curves.variance != b.curves.variance
        assert quick(iterations=10).curves.loss != a.curves.loss

    def test_the_iteration_of_the_lowest_error_is_taken(self, tmp_path):
        result = quick(stop="heldout", clean=CLEAN, run_dir=tmp_path / "run", iterations=60, patience=20)
        values = result.curves.variance
        assert result.chosen == Choice("heldout", min(values), values.index(min(values)) + 1, 58, refit=3)
        assert result.iteration == result.chosen.iteration and result.chosen.k == ()
        logged = list(read(tmp_path / "run/log.jsonl"))
        assert logged[0]["heldout"] == values[0] and "variance" not in logged[0]
        assert same(quick(stop="heldout", clean=CLEAN, run_dir=tmp_path / "run", iterations=60, patience=20), result)

    @pytest.mark.parametrize(("side", "held"), [(26, 34), (100, 300), (256, 768), (512, 1536)])
    def test_of_a_large_image_a_smaller_share_is_held_out(self, side, held):
        assert count(Denoise(), (side, side)) == held

    def test_what_is_known_is_as_given_in_the_result(self):
        result = quick(CLEAN * MASK[..., None], Inpaint(MASK), stop="heldout", iterations=8)
        assert np.array_equal(result.image[MASK], CLEAN[MASK]) and np.array_equal(result.single[MASK], CLEAN[MASK])
        assert result.chosen.value > 0  # of what the network made of them

    def test_a_rule_by_variance_says_what_it_chose(self):
        result = quick(iterations=105, sparse=sparse(0.5))
        lowest = np.nanmin(result.curves.variance)
        assert (result.chosen.criterion, result.chosen.value, result.chosen.pixels) == ("wmv", lowest, 0)
        assert quick(iterations=2, stop=None).chosen is None


class TestRefit:
    """What is chosen is fitted to all pixels, from the iteration that was chosen on."""

    OPTIONS: ClassVar = {"stop": "heldout", "iterations": 48, "patience": 15}

    def test_it_goes_on_from_what_was_chosen(self, monkeypatch):
        """Written down a second time: the weights before that iteration's step, and Adam's moments, then the whole loss."""
        seen = []
        monkeypatch.setattr(HeldOut, "error", lambda *_: seen.append(1) or abs(len(seen) - 20))
        result = quick(**self.OPTIONS)
        assert len(seen) == 35 and (result.iteration, result.chosen.refit) == (20, 3) and not result.curves.backtracked
        twin = _begin(tensor(NOISY), Denoise(), Stopping("heldout", 99), None, device=torch.device("cpu"), seed=0, clean=None,
                      width=SMALL["width"], scales=2)  # fmt: skip
        while twin.iteration < 19:
            twin.step(False)
        with monkeypatch.context() as before_its_step:
            before_its_step.setattr(twin.fit.optimizer, "step", lambda: None)
            twin.step(False)
        average = twin._average.clone()
        for iteration in range(21, 24):
            output = twin.fit.image(twin.fit.input(iteration))
            twin.fit.optimizer.zero_grad()
            (output - tensor(NOISY)).square().mean().backward()
            twin.fit.optimizer.step()
            average += (output.detach() - average) * (1 - 0.99) / (1 - 0.99**iteration)
        assert np.allclose(result.image, average[0].permute(1, 2, 0).clamp(0, 1), atol=1e-5)
        assert np.allclose(result.single, output.detach()[0].permute(1, 2, 0).clamp(0, 1), atol=1e-5)

    def test_it_learns_the_held_out_pixels(self):
        held = HeldOut(Denoise(25), tensor(NOISY), 0).held[0, 0].numpy()
        other = NOISY.copy()
        other[held] = NOISY[held] * 0.999  # nothing else is chosen
        a, b = (quick(image, iterations=32, stop="heldout") for image in (NOISY, other))
        assert a.curves.loss == b.curves.loss and a.iteration == b.iteration and not np.array_equal(a.image, b.image)

    def test_no_other_rule_has_it(self):
        for stop in (None, "wmv"):
            result = quick(iterations=105, stop=stop)
            assert result.chosen is None or result.chosen.refit == 0

    @pytest.mark.parametrize("config", [AUTO, sparse(0.5)], ids=["race", "one k"])
    @pytest.mark.parametrize("by", ["a signal", "a second signal", "its end"])
    def test_ended_within_it_the_same_call_does_it_anew(self, by, config, tmp_path, monkeypatch):
        options = {**self.OPTIONS, "sparse": config, "clean": CLEAN}
        whole, seen = WHOLE.get(str(config)) or WHOLE.setdefault(str(config), quick(**options)), []

        def ended(self):
            seen.append(1)
            if len(seen) == 2:
                if by == "its end":
                    raise MemoryError
                signal.raise_signal(signal.SIGINT)
                if by == "a second signal":
                    signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Report, "again", ended)
        with pytest.raises(MemoryError if by == "its end" else Interrupted) as caught:
            quick(**options, run_dir=tmp_path / "run")
        if by != "its end":
            best = caught.value.result
            assert best.chosen.refit == 0 and (best.iteration, best.chosen.k) == (whole.iteration, whole.chosen.k)
            assert best.scores["psnr_average"] == pytest.approx(best.curves.psnr_average[best.iteration - 1], abs=1e-5)
        monkeypatch.undo()
        again = quick(**options, run_dir=tmp_path / "run")
        assert same(again, whole) and again.chosen == whole.chosen and whole.chosen.refit == 3
        finished = quick(**options, run_dir=tmp_path / "run")
        assert same(finished, whole) and finished.chosen == whole.chosen

    def test_a_loss_that_is_no_number_leaves_what_was_chosen(self, monkeypatch):
        loss = Denoise.loss
        monkeypatch.setattr(Denoise, "loss", lambda self, *args: loss(self, *args) * float("nan"))
        result = quick(**self.OPTIONS, clean=CLEAN)
        assert result.chosen.refit == 0
        assert result.scores["psnr_average"] == pytest.approx(result.curves.psnr_average[result.iteration - 1], abs=1e-5)


class TestRace:
    def test_the_best_of_a_race_is_what_a_run_of_its_k_would_be(self, tmp_path):
        result = quick(sparse=AUTO, clean=CLEAN, run_dir=tmp_path / "run")
        chosen = result.chosen
        assert [each.k for each in chosen.raced] == [1.0, 0.5, 0.25]  # of 8 channels a tenth is none
        assert chosen.criterion == "heldout" and chosen.k == (chosen.k[0],) * 2
        assert [each.iterations for each in chosen.raced].count(8) == 1 and chosen.iterations == 70 and chosen.refit == 2
        best = min(chosen.raced, key=lambda each: each.value)
        assert (best.k, best.iterations, best.iteration, best.value) == (chosen.k[0], 40, chosen.iteration, chosen.value)
        plain = quick(sparse=sparse(best.k), stop="heldout", clean=CLEAN)
        assert same(result, plain) and result.iterations == 40
        assert not (tmp_path / "run" / race.FOLDER).exists()
        *logged, last = read(tmp_path / "run/log.jsonl")
        assert Choice.from_json(last["chosen"]) == chosen and {record["k"] for record in logged} == {1.0, 0.5, 0.25}
        assert [record["step"] for record in logged] == sorted(record["step"] for record in logged)
        assert json.loads((tmp_path / "run/config.json").read_text())["stop"] == "heldout"

    def test_the_better_go_on_and_of_equal_ones_the_larger_k(self, monkeypatch):
        errors = {1.0: 3.0, 0.5: 1.0, 0.25: 1.0, 0.1: 2.0}
        taken = []

        def step(self, measure):
            self.iteration += 1
            k = self.attachment.regularizer.k
            taken.append(k)
            self.stopping.variance = errors[k] - self.iteration / 1000
            self._output = self._average = self.given
            self.curves.loss.append(0.0)
            self.curves.variance.append(self.stopping.variance)
            self._kept = (self.iteration, self.given, self.given)

        monkeypatch.setattr(Restoration, "step", step)
        monkeypatch.setattr(Report, "_log", lambda *_: None)
        result = quick(sparse=AUTO, width=1 / 4, iterations=41)
        assert result.chosen.k == (0.5, 0.5)
        assert {k: taken.count(k) for k in errors} == {1.0: 8, 0.5: 41, 0.25: 20, 0.1: 8}
        assert len(taken) + 2 == race.bound(41) and len(taken) == result.chosen.iterations  # what is no restoration has no refit

    @pytest.mark.parametrize("iterations", [40, 41, 43, 600, 3000])
    def test_it_takes_at_most_twice_the_iterations(self, iterations):
        assert race.bound(iterations) <= 2 * iterations

    @pytest.mark.parametrize("dies", [7, 10, 27, 55, 68])
    def test_what_was_killed_goes_on_to_the_same_bits(self, dies, tmp_path, monkeypatch):
        options = {"sparse": AUTO, "clean": CLEAN, "checkpoint_every": 4}
        whole = WHOLE.get("race") or WHOLE.setdefault("race", quick(**options))
        tick, seen = Report.tick, []

        def killed(self, logged):
            tick(self, logged)
            seen.append(logged)
            if len(seen) == dies:
                raise MemoryError

        monkeypatch.setattr(Report, "tick", killed)
        with pytest.raises(MemoryError):
            quick(**options, run_dir=tmp_path / "run")
        before = len(seen)
        monkeypatch.setattr(Report, "tick", lambda self, logged: (tick(self, logged), seen.append(logged)))
        again = quick(**options, run_dir=tmp_path / "run")
        assert same(again, whole) and again.chosen == whole.chosen
        assert len(seen) - before <= whole.chosen.iterations - dies + 4  # what had a checkpoint was not done twice
        steps = [record["step"] for record in read(tmp_path / "run/log.jsonl")]
        assert steps == sorted(steps) and steps[-1] == whole.chosen.iterations

        monkeypatch.setattr(Restoration, "step", lambda *_: pytest.fail("nothing is left to do"))
        finished = quick(**options, run_dir=tmp_path / "run")
        assert same(finished, whole) and finished.chosen == whole.chosen and finished.stopped == whole.stopped

    def test_an_interruption_carries_the_best_so_far(self, tmp_path, monkeypatch):
        tick, seen = Report.tick, []

        def interrupts(self, logged):
            tick(self, logged)
            seen.append(logged)
            if len(seen) == 13:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Report, "tick", interrupts)
        with pytest.raises(Interrupted) as caught:
            quick(sparse=AUTO, run_dir=tmp_path / "run", clean=CLEAN)
        best = caught.value.result.chosen
        assert [each.iterations for each in best.raced] == [8, 5, 0] and best.raced[2].value is None
        assert best.value == min(each.value for each in best.raced[:2])
        monkeypatch.setattr(Report, "tick", tick)
        assert same(quick(sparse=AUTO, run_dir=tmp_path / "run", clean=CLEAN), quick(sparse=AUTO, clean=CLEAN))

    @pytest.mark.parametrize("config", [AUTO, sparse(0.5)], ids=["race", "one k"])
    def test_an_interruption_in_the_middle_of_an_iteration(self, config, monkeypatch):
        see = Restoration._see

        def interrupted(self, output):
            see(self, output)
            if self.iteration == 6:
                raise KeyboardInterrupt

        monkeypatch.setattr(Restoration, "_see", interrupted)
        with pytest.raises(Interrupted) as caught:
            quick(sparse=config, stop="heldout")
        result = caught.value.result
        assert result.iterations == 5 and result.chosen.iteration <= 6 and 0 < result.chosen.value < 1

    def test_one_that_diverges_is_left_behind(self, monkeypatch):
        step, broken = Restoration.step, {0.5}

        def diverges(self, measure):
            if self.attachment.regularizer.k in broken and self.iteration == 5:
                raise DivergedError("the loss is no finite number in iteration 6")
            step(self, measure)

        monkeypatch.setattr(Restoration, "step", diverges)
        result = quick(sparse=AUTO)
        assert result.chosen.k[0] != 0.5 and "0.5 (diverged)" in str(result.chosen)
        assert [each.value is None for each in result.chosen.raced] == [False, True, False]
        broken |= {1.0, 0.25}
        with pytest.raises(DivergedError, match="no finite number"):
            quick(sparse=AUTO)

    @pytest.mark.parametrize("iteration", [12, 25])
    def test_those_that_went_on_and_diverge_all_end_the_race(self, iteration, monkeypatch):
        step = Restoration.step

        def diverges(self, measure):
            if self.iteration == iteration:  # of three candidates two came so far, or one
                raise DivergedError(f"the loss is no finite number in iteration {iteration + 1}")
            step(self, measure)

        monkeypatch.setattr(Restoration, "step", diverges)
        with pytest.raises(DivergedError, match=f"no finite number in iteration {iteration + 1}"):
            quick(sparse=AUTO)

    def test_of_several_regularizers_one_may_choose(self):
        own = {"k": "auto", "sites": "encoders.1:output"}
        for config, k in ((composed({"k": 0.5}, {"k": "auto"}), 2), (composed({"k": 0.5}, own), 1)):
            result = quick(sparse=config)
            assert len(result.chosen.k) == k
            assert all(share <= 0.5 for share in result.curves.density[40])
        section = {**own, "k": result.chosen.k[0]}
        assert same(result, quick(sparse=composed({"k": 0.5}, section), stop="heldout"))

    @pytest.mark.parametrize(
        ("image", "task"),
        [(CLEAN * MASK[..., None], Inpaint(MASK)), (CLEAN, Upscale(2))],
        ids=["inpaint", "upscale"],
    )
    def test_other_tasks(self, image, task):
        result = quick(image, task, sparse=sparse("auto", "l0"))
        assert result.chosen.criterion == "heldout" and 0 < result.chosen.iterations <= 80
        assert result.chosen.pixels == round(SHARE * int(task.known(image.shape[:2]).sum()))


WHOLE = {}
FEW = np.zeros(CLEAN.shape[:2], bool)
FEW[:20, :30] = True


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stop": "wmv"}, "k is auto and the rule 'wmv' is to stop: only the error at held-out pixels tells one k from another; leave"),
        ({"stop": "emv"}, "k is auto and the rule 'emv' is to stop"),
        ({"stop": None}, "k is auto and no rule is to stop"),
        ({"iterations": 39}, "k is auto and 39 iterations are too few to tell one k from another; give 40 or more, or a k"),
        ({"sparse": sparse({"auto": 0.4})}, "a restoration races one k of one regularizer for all scales, so that shares, steps, lists"),
        ({"sparse": sparse({"auto": 0.5, "measure": 5, "steps": 9})}, "write k: auto once and nothing beside it"),
        ({"sparse": sparse(["auto", 0.5])}, "a restoration races one k of one regularizer for all scales"),
        ({"sparse": composed({"k": "auto"}, {"k": "auto"})}, "races one k of one regularizer"),
        ({"sparse": composed({"k": 0.5}, {"k": {"auto": 0.5}})}, "races one k of one regularizer"),
        ({"task": Inpaint(FEW)}, "600 pixels are known, of which 5 % would be held out: 30, where 32 or more can tell; give an image with 640"),
        ({"image": NOISY[:20, :30]}, "600 pixels are known"),
        ({"image": NOISY[:20, :30], "task": Upscale(2)}, "600 pixels are known"),
        ({"image": NOISY[:20, :30], "sparse": None, "stop": "heldout"}, "600 pixels are known"),
    ],
)
def test_bad_input(changes, said, tmp_path):
    assert LEAST == 32
    with pytest.raises(ConfigError, match=said) as caught:
        quick(**{"sparse": AUTO, "run_dir": tmp_path / "run", **changes})
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


class TestCommand:
    @pytest.fixture
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Image.fromarray((255 * CLEAN).round().astype(np.uint8)).save("a.png")
        return tmp_path

    def run(self, *args):
        small = ["--width", "0.0625", "--scales", "2", "--sparse", "l0_inf", "--set", "sparse.k=auto"]
        return CliRunner().invoke(cli, ["restore", *map(str, args), "-o", "out.png", *small])

    def test_what_was_chosen_is_said_and_recorded(self, here):
        done = self.run("denoise", "a.png", "--iterations", 40)
        assert done.exit_code == 0, done.output
        said = json.loads((here / "out.png.run/result.json").read_text())["chosen"]
        assert f"chosen: k = {said['k'][0]:g} at 2 scales, iteration {said['iteration']} by the error at 58 held-out" in done.stdout
        assert f"{said['iterations']} iterations in all" in done.stdout and said["criterion"] == "heldout"
        assert said["value"] == min(each["value"] for each in said["raced"]) and "chosen k = " in done.stderr
        again = self.run("denoise", "a.png", "--iterations", 40)
        assert again.exit_code == 0 and again.stdout == done.stdout

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["--iterations", 40, "--stop", "wmv"], "k is auto and the rule 'wmv' is to stop"),
            (["--iterations", 40, "--stop", "none"], "k is auto and no rule is to stop"),
            (["--iterations", 10], "10 iterations are too few"),
        ],
    )
    def test_refusals(self, args, said, here):
        refused = self.run("denoise", "a.png", *args)
        assert refused.exit_code == 2 and said in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
        assert sorted(path.name for path in here.iterdir()) == ["a.png"]
