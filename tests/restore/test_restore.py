"""`restore`: from an array to the result."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from restorations import CLEAN, NOISY, quick, same, sparse
from restore_images import photograph

from sparse_plugin.errors import CheckpointError, ConfigError, DivergedError, SiteError
from sparse_plugin.restore import Denoise, Inpaint, Upscale
from sparse_plugin.restore.downsample import downsample, kernel
from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.scores import psnr, ssim


class TestTasks:
    def test_denoising_takes_the_noise_out(self):
        result = quick(
            NOISY, clean=CLEAN, width=1 / 8, iterations=300, log_every=100, stop=None, sparse=sparse("l0", k=0.5)
        )
        scores, curves = result.scores, result.curves
        assert scores["psnr_given"] < 21
        assert scores["psnr_average"] > scores["psnr_given"] + 1.5
        assert scores["best_average"] == max(curves.psnr_average) >= scores["psnr_average"]
        best, at = curves.best("psnr_single")
        assert curves.psnr_single[at - 1] == best == scores["best_single"]
        assert len(curves.loss) == len(curves.psnr_single) == len(curves.psnr_average) == 300 == result.iterations
        assert list(curves.density) == [1, 100, 200, 300]
        assert scores["psnr_average"] == pytest.approx(curves.psnr_average[-1], abs=1e-4)
        # The loss ends near the noise's own power: the image is learned, the noise is not yet.
        power = float(np.square(NOISY - CLEAN).mean())
        assert power / 2 < curves.loss[-1] < 2 * power

    def test_inpainting_keeps_what_is_known(self):
        mask = np.random.default_rng(0).random(CLEAN.shape[:2]) > 0.3
        broken = CLEAN * mask[..., None]
        result = quick(broken, Inpaint(mask), clean=CLEAN, width=1 / 8, iterations=200, stop=None)
        assert np.array_equal(result.image[mask], CLEAN[mask]) and np.array_equal(result.single[mask], CLEAN[mask])
        assert result.scores["psnr_average"] > result.scores["psnr_given"] + 6

    def test_what_is_missing_decides_nothing(self):
        mask = np.random.default_rng(0).random(CLEAN.shape[:2]) > 0.3
        black, white = (np.where(mask[..., None], CLEAN, value).astype(np.float32) for value in (0, 1))
        assert np.array_equal(quick(black, Inpaint(mask)).image, quick(white, Inpaint(mask)).image)

    @pytest.mark.parametrize("factor", [2, 3])
    def test_upscaling(self, factor):
        large = photograph(factor * 21, factor * 20)
        small = downsample(torch.from_numpy(large.transpose(2, 0, 1))[None], factor)[0].permute(1, 2, 0).numpy()
        result = quick(small.clip(0, 1), Upscale(factor), clean=large, width=1 / 8, iterations=250, stop=None)
        assert result.image.shape == large.shape and "psnr_given" not in result.scores
        nearest = small.repeat(factor, 0).repeat(factor, 1)
        assert result.scores["psnr_average"] > psnr(torch.from_numpy(nearest), torch.from_numpy(large))

    @pytest.mark.parametrize(
        "image",
        [
            photograph(33, 57, grey=True),
            photograph(16, 16)[..., :1],
            (255 * CLEAN).astype(np.uint8),
            (65535 * CLEAN).astype(np.uint16),
            CLEAN.astype(np.float64),
        ],
        ids=["grey", "one channel", "8 bits", "16 bits", "float64"],
    )
    def test_any_size_and_depth(self, image):
        result = quick(image)
        assert result.image.shape == (image.shape[:2] if image.shape[-1] != 3 else image.shape)
        assert result.image.dtype == np.float32 and result.image.min() > 0 and result.image.max() < 1

    def test_the_official_settings(self):
        assert (Denoise().settings.iterations, Denoise().settings.input_noise, Denoise(50).settings.input_noise) == (
            3000,
            1 / 30,
            1 / 20,
        )
        four, eight, fill = Upscale(4).settings, Upscale(8).settings, Inpaint(np.eye(3)).settings
        assert (four.iterations, four.input_noise, eight.iterations, eight.input_noise) == (2000, 0.03, 4000, 0.05)
        assert (fill.upsample, fill.skip, fill.input_noise) == ("nearest", None, 0.03)


class TestDownsampler:
    @given(st.sampled_from([2, 3, 4, 6, 8]), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
    @settings(max_examples=30, deadline=None)
    def test_it_is_the_sum_of_products_with_the_continued_image(self, factor, height, width, seed):
        image = torch.from_numpy(np.random.default_rng(seed).random((1, 2, factor * height, factor * width)))
        small = downsample(image, factor)
        assert small.shape == (1, 2, height, width)
        taps = kernel(factor).numpy()
        rows, columns = (
            [(factor * i + (factor - 1) / 2 - (len(taps) - 1) / 2 + np.arange(len(taps))).astype(int) for i in range(n)]
            for n in (height, width)
        )
        i, j = seed % height, seed % width
        rows, columns = rows[i].clip(0, image.shape[2] - 1), columns[j].clip(0, image.shape[3] - 1)
        expected = taps @ image[0, 1].numpy()[rows][:, columns] @ taps
        assert float(small[0, 1, i, j]) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("factor", [2, 3, 4, 6, 8])
    def test_constants_and_centres_are_kept(self, factor):
        assert len(kernel(factor)) == 4 * factor - factor % 2
        assert kernel(factor).equal(kernel(factor).flip(0)) and float(kernel(factor).sum()) == pytest.approx(1)
        ramp = torch.arange(20 * factor, dtype=torch.float64).expand(1, 1, 8 * factor, -1)
        inner = downsample(ramp, factor)[0, 0, 0, 3:-3]
        centres = torch.arange(3, 17) * factor + (factor - 1) / 2
        torch.testing.assert_close(inner, centres.double(), rtol=1e-6, atol=1e-6)


class TestSparsity:
    @pytest.mark.parametrize(
        ("config", "bound"),
        [(sparse("l0", k=0.25), 0.25), (sparse("l0_inf", k=0.5), 0.5), (None, 1.0)],
        ids=["l0", "l0_inf", "vanilla"],
    )
    def test_every_scale_is_held(self, config, bound):
        result = quick(sparse=config)
        assert list(result.curves.density) == [1, 2, 4, 6]
        for densities in result.curves.density.values():
            assert len(densities) == 3
            assert all(bound - 0.02 < density <= bound for density in densities)
        assert result.scales == ((20, 24), (10, 12), (5, 6))

    def test_a_density_for_each_scale(self):
        result = quick(sparse=sparse("l0", k=[0.5, 0.25, 0.75]))
        assert result.curves.density[6] == pytest.approx([0.5, 0.25, 0.75], abs=0.02)

    def test_dictionaries_have_no_place_at_an_output(self, tmp_path):
        with pytest.raises(SiteError, match="inserts dictionaries before a convolution"):
            quick(sparse=sparse("ml_csc", k=0.5), run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_everything_kept_is_the_vanilla_run(self):
        assert same(quick(sparse=sparse("l0", k=1.0)), quick())
        assert same(quick(sparse=sparse("l0", k=0.2, enabled=False)), quick())

    def test_a_penalty_acts(self, caplog):
        weak, strong = (quick(sparse=sparse("l1", weight=weight), iterations=30) for weight in (0.0, 10.0))
        assert same(weak, quick(iterations=30))
        assert strong.curves.loss[-1] != weak.curves.loss[-1]
        assert not caplog.records

    def test_sites_may_be_named(self):
        result = quick(sparse=sparse("l0", k=0.25, sites=["encoders.1:output"]))
        assert [density < 0.3 for density in result.curves.density[6]] == [False, True, False]


class TestRefusals:
    @pytest.mark.parametrize(
        ("image", "changes", "said"),
        [
            (np.zeros((20, 20, 4), np.float32), {}, r"the image has the shape \(20, 20, 4\); give"),
            (np.zeros((0, 20), np.float32), {}, "the image has the shape"),
            (np.zeros((20, 20), np.int32), {}, "the image is of int32; give uint8"),
            (np.full((20, 20), np.nan), {}, "the image holds NaN or infinity"),
            (np.full((20, 20), 2.0), {}, "the image has values from 2 to 2; scale them to 0 to 1"),
            (CLEAN, {"clean": CLEAN[:30]}, "the clean image is 41x30, RGB and the restored one will be 41x35, RGB"),
            (CLEAN, {"clean": CLEAN[..., 0]}, "the clean image is 41x35, grey and"),
            (CLEAN, {"clean": np.full_like(CLEAN, np.inf)}, "the clean image holds NaN"),
            (CLEAN[:10], {}, "the restored image is 41x10 and a network of 3 scales reaches over 16 pixels"),
            (CLEAN, {"iterations": 0}, "iterations is 0; give 1 or more"),
            (CLEAN, {"scales": 0}, "scales is 0; give 1 or more"),
            (CLEAN, {"width": 0}, "width is 0; give a factor above 0"),
            (CLEAN, {"patience": 0}, "patience is 0; give iterations"),
            (CLEAN, {"stop": "emw"}, "there is no stopping rule 'emw'; there are emv, heldout, wmv. Did you mean 'emv'"),
            (CLEAN, {"precision": "float16"}, "there is no precision 'float16'; there are bfloat16, float32"),
            (CLEAN, {"device": "tpu9"}, "the device is 'tpu9'; give cpu"),
            (CLEAN, {"task": Inpaint(np.eye(20))}, "the mask is 20x20 and the image 41x35; give a mask of the image's"),
        ],
    )
    def test_bad_input(self, image, changes, said, tmp_path):
        with pytest.raises(ConfigError, match=said) as caught:
            quick(image, run_dir=tmp_path / "run", **changes)
        assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: Denoise(-1), "sigma is -1; give the noise's deviation"),
            (lambda: Denoise(float("nan")), "sigma is nan; give"),
            (lambda: Upscale(5), "the factor 5 is not supported; give one of 2, 3, 4, 6, 8"),
            (lambda: Inpaint(np.zeros((4, 4))), "the mask is all zeros"),
            (lambda: Inpaint(np.ones((4, 4))), "the mask has no zeros"),
            (lambda: Inpaint(np.ones((4, 4, 3))), r"the mask has the shape \(4, 4, 3\)"),
        ],
    )
    def test_bad_tasks(self, make, said):
        with pytest.raises(ConfigError, match=said):
            make()

    def test_a_loss_that_is_not_finite(self, monkeypatch, tmp_path):
        step = Restoration.step

        def broken(self, measure):
            if self.iteration == 3:
                with torch.no_grad():
                    self.fit.network.image[0].bias.fill_(float("nan"))
            step(self, measure)

        monkeypatch.setattr(Restoration, "step", broken)
        with pytest.raises(DivergedError, match="no finite number in iteration 4; give another seed"):
            quick(run_dir=tmp_path / "run", checkpoint_every=2)
        assert json.loads((tmp_path / "run/checkpoints/step-0000002/checkpoint.json").read_text())["step"] == 2

    @pytest.mark.parametrize(
        ("name", "value"),
        [("kept", ...), ("kept", 2), ("fallbacks", ...), ("fallbacks", 7), ("sizes", [3]), ("chosen", {"k": 1}), ("good_loss", "x"), ("sha256", {})],
    )
    def test_a_checkpoint_that_lacks_something(self, name, value, tmp_path, monkeypatch):
        step = Restoration.step
        monkeypatch.setattr(Restoration, "step", lambda self, m: 1 / 0 if self.iteration == 3 else step(self, m))
        with pytest.raises(ZeroDivisionError):
            quick(run_dir=tmp_path / "run", checkpoint_every=2)
        path = tmp_path / "run/checkpoints/step-0000002/checkpoint.json"
        values = json.loads(path.read_text()) | {name: value}
        path.write_text(json.dumps({key: each for key, each in values.items() if each is not ...}))
        with pytest.raises(CheckpointError, match=r"step-0000002 is damaged: checkpoint.json: .*; delete that folder to start again"):
            quick(run_dir=tmp_path / "run", checkpoint_every=2)


def test_compiled_is_the_same_function(monkeypatch):
    compiled = []

    def compile(module):
        compiled.append(module)
        return real(module, backend="eager")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", compile)
    options = {"sparse": sparse("l0", k=0.25), "iterations": 3, "log_every": 2}
    one, other = quick(**options), quick(compiled=True, **options)
    assert len(compiled) == 1 and one.curves.density == other.curves.density
    np.testing.assert_allclose(one.single, other.single, atol=1e-4)


def test_mixed_precision_learns_the_same_image():
    options = {"clean": CLEAN, "sparse": sparse("l0", k=0.5), "iterations": 60, "width": 1 / 8}
    one, other = quick(**options), quick(precision="bfloat16", **options)
    assert one.curves.loss != other.curves.loss and other.single.dtype == np.float32
    assert other.scores["psnr_single"] == pytest.approx(one.scores["psnr_single"], abs=1.5)
    assert all(density <= 0.5 for density in other.curves.density[60])


@pytest.mark.parametrize(("name", "k"), [("l0", 0.25), ("l0_inf", 0.1)])
def test_a_constraint_without_k_takes_ours(name, k):
    ours, asked = (quick(sparse=config, iterations=1, width=1 / 8) for config in (sparse(name), sparse(name, k=k)))
    assert ours.curves.density == asked.curves.density and all(share < k + 0.1 for share in ours.curves.density[1])


def test_the_average_is_exponential_with_weights_that_sum_to_one():
    outputs = [quick(iterations=n, stop=None).single.astype(np.float64) for n in (1, 2, 3)]
    weights = 0.99 ** np.arange(2, -1, -1)
    expected = sum(w * x for w, x in zip(weights / weights.sum(), outputs, strict=True))
    np.testing.assert_allclose(quick(iterations=3, stop=None).image, expected, atol=1e-6)


def test_measuring_changes_nothing():
    often, seldom = (quick(log_every=every, iterations=8, sparse=sparse("l0", k=0.5)) for every in (1, 8))
    assert often.curves.loss == seldom.curves.loss and len(often.curves.density) == 8


def test_figures_of_merit():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 20, 30, 3)).astype(np.float32)
    expected = 10 * np.log10(1 / np.square(a.astype(np.float64) - b).mean())
    assert psnr(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-5)
    assert psnr(torch.from_numpy(a), torch.from_numpy(a)) == float("inf")
    assert ssim(a, a) == pytest.approx(1) and ssim(a[..., 0], b[..., 0]) < 0.2 and np.isnan(ssim(a[:5], b[:5]))
