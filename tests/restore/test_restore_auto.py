"""k: auto in a restoration: a race of several."""

import json
import signal

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from races import AUTO, CLEAN, MASK, NOISY, WHOLE, composed, quick, same, sparse

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.measurements.log import read
from sparse_plugin.restore import Inpaint, Interrupted, Upscale, race
from sparse_plugin.restore.held_out import LEAST, SHARE
from sparse_plugin.restore.report import RestorationReport as Report
from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.result import Choice


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
