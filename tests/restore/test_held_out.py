"""Held-out pixels as a rule that stops, and the fit to all pixels that follows."""

import signal
from typing import ClassVar

import numpy as np
import pytest
import torch
from races import AUTO, CLEAN, MASK, NOISY, WHOLE, quick, same, sparse, tensor
from restore_images import SMALL

from sparse_plugin.measurements.log import read
from sparse_plugin.restore import Denoise, Inpaint, Interrupted, Upscale
from sparse_plugin.restore.downsample import downsample
from sparse_plugin.restore.held_out import SHARE, HeldOut, count
from sparse_plugin.restore.report import RestorationReport as Report
from sparse_plugin.restore.result import Choice
from sparse_plugin.restore.run import _begin
from sparse_plugin.restore.stopping import Stopping


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
