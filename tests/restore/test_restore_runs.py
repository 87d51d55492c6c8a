"""`restore` over time: seeds, interruptions, runs that go on, iterations that are taken back."""

import threading

import numpy as np
import pytest
import torch
from restorations import CLEAN, quick, same, sparse

from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.measurements.log import read
from sparse_plugin.restore import Denoise, Interrupted, add_noise
from sparse_plugin.restore.report import RestorationReport as Report
from sparse_plugin.restore.restoration import Restoration


class TestRuns:
    def test_a_seed_is_a_result(self):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first = quick(clean=CLEAN, seed=3)
        assert torch.get_rng_state().equal(before)
        torch.manual_seed(6)
        assert same(quick(clean=CLEAN, seed=3), first)
        assert quick(seed=4).curves.loss != first.curves.loss
        assert quick(seed=3).curves.loss == first.curves.loss  # a clean image decides nothing

    def test_the_noise_is_of_the_seed(self):
        flat = np.full((100, 100), 0.5, np.float32)
        assert np.array_equal(add_noise(flat, 25, 0), add_noise(flat, 25, 0))
        assert not np.array_equal(add_noise(flat, 25, 0), add_noise(flat, 25, 1))
        assert float(add_noise(flat, 25, 0).std()) == pytest.approx(25 / 255, rel=0.03)
        assert add_noise(flat, 200, 0).min() == 0 and add_noise(flat, 200, 0).max() == 1

    @pytest.mark.parametrize(
        ("config", "stop"), [(sparse("l0", k=0.5), "wmv"), (sparse("l1", weight=0.1), "emv"), (None, None)]
    )
    def test_what_was_killed_goes_on_to_the_same_bits(self, config, stop, tmp_path, monkeypatch):
        options = {"sparse": config, "stop": stop, "clean": CLEAN, "iterations": 9, "checkpoint_every": 4}
        whole = quick(**options)
        tick = Report.tick

        def dies(self, logged):
            tick(self, logged)
            if self.restoration.iteration == 7:
                raise MemoryError

        monkeypatch.setattr(Report, "tick", dies)
        with pytest.raises(MemoryError):
            quick(**options, run_dir=tmp_path / "run")
        monkeypatch.setattr(Report, "tick", tick)
        assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == ["step-0000004"]
        assert same(quick(**options, run_dir=tmp_path / "run"), whole)
        logged = list(read(tmp_path / "run/log.jsonl"))
        assert [record["step"] for record in logged] == [1, 2, 4, 6, 8, 9]
        assert logged[-1]["loss"] == whole.curves.loss[-1]
        assert logged[-1]["psnr_average"] == whole.curves.psnr_average[-1] and logged[-1]["ssim_single"] <= 1
        assert logged[-1]["sparsity"] == [round(100 * share, 4) for share in whole.curves.density[9]]

        def never(self, measure):
            raise AssertionError("nothing is left to do")

        monkeypatch.setattr(Restoration, "step", never)
        again = quick(**options, run_dir=tmp_path / "run")
        assert same(again, whole) and again.scales == whole.scales and again.stopped == whole.stopped

    def test_another_configuration_is_refused(self, tmp_path):
        quick(run_dir=tmp_path / "run", iterations=1)
        for changes, said in (
            ({"seed": 2}, "seed is 0 there and 2 here"),
            ({"image": CLEAN}, "image.sha256 is"),
            ({"task": Denoise(50)}, r"task.sigma is 25.0 there and 50 here"),
            ({"sparse": sparse("l0", k=0.5)}, "sparse.k is None there and 0.5 here"),
        ):
            with pytest.raises(ConfigError, match=said):
                quick(**{"run_dir": tmp_path / "run", "iterations": 1, **changes})
        (tmp_path / "run/checkpoints/step-0000001/seen.safetensors").write_bytes(b"x")
        with pytest.raises(CheckpointError, match=r"seen.safetensors: .*delete that folder to start again"):
            quick(run_dir=tmp_path / "run", iterations=1)

    def test_an_interruption_carries_the_best_so_far(self, tmp_path, monkeypatch):
        import signal

        tick = Report.tick

        def interrupts(self, logged):
            tick(self, logged)
            if self.restoration.iteration == 3:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Report, "tick", interrupts)
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            quick(run_dir=tmp_path / "run")
        assert signal.getsignal(signal.SIGINT) is before
        monkeypatch.setattr(Report, "tick", tick)
        assert isinstance(caught.value, KeyboardInterrupt)
        part = quick(iterations=3)
        assert np.array_equal(caught.value.result.image, part.image) and caught.value.result.iterations == 3
        assert same(quick(run_dir=tmp_path / "run"), quick())

    def test_a_second_interruption_stops_at_once(self, monkeypatch):
        import signal

        step = Restoration.step

        def interrupted(self, measure):
            if self.iteration == 2:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGINT)
            step(self, measure)

        monkeypatch.setattr(Restoration, "step", interrupted)
        with pytest.raises(Interrupted) as caught:
            quick()
        assert caught.value.result.iterations == 2

    def test_in_another_thread(self):
        results = []
        thread = threading.Thread(target=lambda: results.append(quick()))
        thread.start()
        thread.join()
        assert same(results[0], quick())

    def test_a_loss_that_jumps_goes_back_to_the_weights_before(self, monkeypatch):
        seen = {}
        step = Restoration.step

        def disturbed(self, measure):
            if self.iteration == 3:
                with torch.no_grad():
                    self.fit.network.image[0].bias.add_(100)  # a white image
            step(self, measure)
            seen[self.iteration] = [p.detach().clone() for p in self.fit.network.parameters()]

        monkeypatch.setattr(Restoration, "step", disturbed)
        result = quick(clean=CLEAN)
        assert result.curves.backtracked == [4]
        assert result.curves.loss[3] > 3 * max(result.curves.loss[2], result.curves.loss[4])
        # The fourth iteration left the weights that the third was computed with, before its own update.
        assert all(a.equal(b) for a, b in zip(seen[4], seen[2], strict=True))
        assert result.curves.psnr_average[3] == result.curves.psnr_average[2]

    def test_a_schedule_goes_back_with_the_weights(self, tmp_path, monkeypatch):
        """So that what is resumed there goes on to the same bits."""
        import signal

        step, tick = Restoration.step, Report.tick

        def disturbed(self, measure):
            if self.iteration == 3:
                with torch.no_grad():
                    self.fit.network.image[0].bias.add_(100)  # a white image
            step(self, measure)

        def interrupts(self, logged):
            tick(self, logged)
            if self.restoration.iteration == 4:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Restoration, "step", disturbed)
        annealed = {"sparse": sparse("l0_inf", k={"start": 1.0, "end": 0.25, "steps": 6}), "iterations": 8, "stop": None}
        whole = quick(**annealed)
        assert whole.curves.backtracked == [4]
        monkeypatch.setattr(Report, "tick", interrupts)
        with pytest.raises(Interrupted):
            quick(run_dir=tmp_path / "run", **annealed)
        monkeypatch.setattr(Report, "tick", tick)
        assert same(quick(run_dir=tmp_path / "run", **annealed), whole)

    def test_progress_is_said(self, capfd):
        quick(progress=True, clean=CLEAN, title="cat.png", iterations=3)
        said = capfd.readouterr().err
        assert said.startswith("cat.png: denoise 41x35, a network of ")
        assert "iterations/s, PSNR" in said and "iteration 3 of 3" in said and "left" in said
        quick(iterations=1)
        assert capfd.readouterr().err == ""
