"""Image data: every source gives the same images, subsets are balanced."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_data import CLASSES, GOOD, parquet, png, stylegan, write_folder, write_zip
from PIL import Image

from sparse_plugin.data import DataError, Images, load, to_uint8
from sparse_plugin.data.images import choose
from sparse_plugin.errors import ConfigError

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10-train.zip"

SOURCES = {
    "zip of class folders": lambda path, files, pixels, labels: write_zip(path / "a.zip", files),
    "deflated zip": lambda path, files, pixels, labels: write_zip(path / "a.zip", files, zipfile.ZIP_DEFLATED),
    "StyleGAN zip": lambda path, files, pixels, labels: write_zip(path / "a.zip", stylegan(files, classes=CLASSES)),
    "folder": lambda path, files, pixels, labels: write_folder(path / "a", files),
    "StyleGAN folder": lambda path, files, pixels, labels: write_folder(path / "a", stylegan(files, classes=CLASSES)),
    "npz, channels last": lambda path, files, pixels, labels: _npz(path, pixels, labels),
    "npz, channels first": lambda path, files, pixels, labels: _npz(
        path, pixels.transpose(0, 3, 1, 2), labels[:, None]
    ),
    "parquet": lambda path, files, pixels, labels: parquet(path / "a.parquet", files),
    "parquet of CIFAR's column": lambda path, files, pixels, labels: parquet(path / "a.parquet", files, "img"),
}


def _npz(path, images, labels):
    np.savez_compressed(path / "a.npz", images=images, labels=labels, classes=np.array(CLASSES))
    return str(path / "a.npz")


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_images(source, tmp_path, files, pixels, labels):
    path = SOURCES[source](tmp_path, files, pixels, labels)
    data = load(path, 8)
    assert data.images.dtype == torch.uint8 and data.images.is_contiguous() and len(data) == 30
    assert np.array_equal(data.images.permute(0, 2, 3, 1), pixels)
    assert data.labels.dtype == torch.int64 and data.labels.tolist() == labels.tolist()
    assert data.classes == CLASSES and data.size == (8, 8) and data.name == Path(path).name
    reference = Images(torch.from_numpy(pixels.transpose(0, 3, 1, 2)), torch.from_numpy(labels), CLASSES, "reference")
    assert data.fingerprint == reference.fingerprint

    some = load(path, 8, 0.3, seed=5)
    assert some.labels.bincount().tolist() == [3, 3, 3] and some.name == f"0.3 of {data.name} (seed 5)"
    assert some.fingerprint == data.subset(0.3, 5).fingerprint != data.fingerprint


def test_nothing_is_written(tmp_path, files, monkeypatch):
    path = write_zip(tmp_path / "a.zip", files)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    load(path, 8)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip"]


def test_labels_without_names_and_images_without_labels(tmp_path, files, pixels):
    numbered = load(write_zip(tmp_path / "numbers.zip", stylegan(files)), 8)
    assert numbered.classes == ("0", "1", "2")
    flat = {name.replace("/", "-"): content for name, content in files.items()}
    none = {**flat, "dataset.json": b'{"labels": null}'}
    np.savez(tmp_path / "a.npz", pixels)
    for path in (
        write_zip(tmp_path / "flat.zip", flat),
        write_zip(tmp_path / "null.zip", none),
        write_folder(tmp_path / "flat", flat),
        str(tmp_path / "a.npz"),
    ):
        data = load(path, 8)
        assert data.labels is None and data.classes is None and len(data) == 30
        assert len(load(path, 8, 0.2)) == 6


def test_subsets_are_balanced_nested_and_seeded(pixels, labels):
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2))
    data = Images(images, torch.from_numpy(labels), CLASSES, "x")
    rows = [set(map(bytes, data.subset(f, 1).images.flatten(1).numpy())) for f in (0.1, 0.2, 0.5, 1.0)]
    assert [len(r) for r in rows] == [3, 6, 15, 30]
    assert rows[0] < rows[1] < rows[2] < rows[3]
    assert data.subset(0.2, 1).images.equal(data.subset(0.2, 1).images)
    assert not data.subset(0.2, 1).images.equal(data.subset(0.2, 2).images)
    assert data.subset(0.001).labels.tolist() == [0, 1, 2]  # one of each at least
    # The stream is numpy's legacy one, which never changes: these are the same everywhere and for ever.
    assert choose(30, labels, 0.2, 0).tolist() == [2, 8, 13, 15, 22, 23]
    for fraction in (0, -1, 1.5, float("nan")):
        with pytest.raises(DataError, match=r"the fraction of the data is .*; give one in \(0, 1\]"):
            data.subset(fraction)
    for seed in (-1, 2**32):
        with pytest.raises(DataError, match=rf"a share of the data is chosen by the seed {seed}; give one from 0 to 4294967295"):
            data.subset(0.5, seed)
        assert len(data.subset(1.0, seed)) == len(data)


def test_only_what_is_chosen_is_decoded(tmp_path, files):
    chosen = load(write_zip(tmp_path / "a.zip", files), 8, 0.2)
    kept = {bytes(image) for image in chosen.images.flatten(1).numpy()}
    spoilt = {}
    for name, content in files.items():
        image = np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
        spoilt[name] = content if image.tobytes() in kept else b"spoilt"
    assert load(write_zip(tmp_path / "b.zip", spoilt), 8, 0.2).fingerprint == chosen.fingerprint


def test_sizes(tmp_path, files, pixels):
    path = write_folder(tmp_path / "a", files)
    assert load(path, None).size == (8, 8)
    with pytest.raises(
        DataError, match=r"^a: cat/00\.png is 8x8 and 32x32 was asked; ask for the size .*, or for resizing"
    ):
        load(path)
    resized = load(path, 4, resize=True)
    expected = np.asarray(Image.fromarray(pixels[0]).resize((4, 4), Image.Resampling.LANCZOS))
    assert np.array_equal(resized.images[0].permute(1, 2, 0), expected)

    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "w.png").write_bytes(png(wide))
    with pytest.raises(DataError, match=r"wide: w\.png is 8x4, which is no square; name a size and ask for resizing"):
        load(str(tmp_path / "wide"), None)
    assert load(str(tmp_path / "wide"), 4, resize=True).images.unique().tolist() == [200]  # its central square

    np.savez(tmp_path / "a.npz", pixels)
    assert load(str(tmp_path / "a.npz"), None).size == (8, 8)
    assert load(str(tmp_path / "a.npz"), 4, resize=True).images.equal(resized.images)
    with pytest.raises(DataError, match=r"a\.npz: image 0 is 8x8 and 32x32 was asked"):
        load(str(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", pixels[:, :4])
    with pytest.raises(DataError, match=r"b\.npz is of 8x4, which is no square"):
        load(str(tmp_path / "b.npz"), None)


def test_pixels_of_other_modes(tmp_path):
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    colour = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8))
    content = {
        "a.png": png(grey),
        "b.png": png(colour.convert("RGBA")),
        "c.png": png(colour.quantize(16)),
        "d.jpg": png(colour.convert("CMYK"), "JPEG"),
        "e.webp": png(colour, "WEBP", lossless=True),
        "f.bmp": png(colour, "BMP"),
    }
    images = load(write_zip(tmp_path / "a.zip", content), 8).images
    assert images[0, 0].equal(images[0, 2]) and images[0, 1].flatten().tolist() == list(range(64))
    assert images[1].equal(images[4]) and images[4].equal(images[5])
    deep = {"deep.png": png(Image.fromarray(np.zeros((8, 8), np.uint16)))}
    with pytest.raises(DataError, match=r"deep\.png has pixels of mode I;16; convert it to 8 bits a channel"):
        load(write_zip(tmp_path / "b.zip", deep), 8)


def test_what_file_managers_leave_behind_is_passed_over(tmp_path, files):
    litter = {".DS_Store": b"x", "__MACOSX/cat/._00.png": b"x", "cat/Thumbs.db": b"x", ".git/config": b"x"}
    for path in (write_zip(tmp_path / "a.zip", {**litter, **files}), write_folder(tmp_path / "a", {**litter, **files})):
        assert len(load(path, 8)) == 30


def test_sources_that_are_missing_or_empty(tmp_path, files):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for path, said in (
        (str(tmp_path / "empty"), "^empty holds no images; name a folder"),
        (write_zip(tmp_path / "empty.zip", {}), r"^empty\.zip holds no images"),
        (write_zip(tmp_path / "json.zip", {"dataset.json": '{"labels": []}'}), r"^json\.zip holds no images"),
        (str(tmp_path / "none.zip"), r"there is no file or folder .*none\.zip"),
        ("cifer10", "there is no file or folder cifer10; the data are cifar10, a folder, or"),
        (str(tmp_path / "notes.txt"), r"notes\.txt is no data set; the data are cifar10, a folder, or a \.zip"),
        (
            write_folder(tmp_path / "mixed", {**files, "loose.png": GOOD}),
            r"class folders \(cat\) and images beside them \(loose",
        ),
    ):
        with pytest.raises(DataError, match=said):
            load(path, 8)
    with pytest.raises(DataError, match="a has no splits, and 'test' was asked"):
        load(write_folder(tmp_path / "a", files), 8, split="test")


def test_parquet_of_the_hub(tmp_path, files, monkeypatch):
    (tmp_path / "set" / "data").mkdir(parents=True)
    half = dict(list(files.items())[::2])
    parquet(tmp_path / "set" / "data" / "train-00000-of-00002.parquet", half)
    parquet(tmp_path / "set" / "data" / "train-00001-of-00002.parquet", half)
    parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet", files)
    assert len(load(str(tmp_path / "set"), 8)) == 30
    test = load(str(tmp_path / "set"), 8, split="test")
    assert test.labels.bincount().tolist() == [10, 10, 10]
    plain = load(parquet(tmp_path / "plain.parquet", files, names=None), 8, 0.2)
    assert plain.classes == ("0", "1", "2") and plain.images.equal(test.subset(0.2).images)
    unlabelled = load(parquet(tmp_path / "none.parquet", files, names=None, label="score"), 8)
    assert unlabelled.labels is None
    with pytest.raises(DataError, match=r"plain\.parquet has no test-\*\.parquet"):
        load(str(tmp_path / "plain.parquet"), 8, split="test")
    monkeypatch.setattr("sparse_plugin.support.optional.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"reading parquet needs pyarrow, not installed here; run `pip install 'sparse-pl"
    ):
        load(str(tmp_path / "plain.parquet"), 8)


def make_cifar10(root, monkeypatch):
    """torchvision's CIFAR-10 with 20 random images a batch, its checksums replaced by theirs."""
    from hashlib import md5

    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return name, md5((folder / name).read_bytes()).hexdigest()

    def batch(name):
        images = rng.integers(0, 256, (20, 3072), np.uint8)
        return write(name, {"data": images, "labels": [i % 10 for i in range(20)]})

    monkeypatch.setattr(CIFAR10, "train_list", [list(batch(f"data_batch_{i}")) for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [list(batch("test_batch"))])
    name, digest = write("batches.meta", {"label_names": list("0123456789")})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": digest})
    return folder


def test_cifar10_by_torchvision(tmp_path, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("nothing may be downloaded unasked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(
        DataError, match=r"CIFAR-10 is not in .*cache.data, or not whole; name the folder that holds cifar-10"
    ):
        load("cifar10")
    folder = make_cifar10(tmp_path / "cache" / "data", monkeypatch)
    data = load("cifar10")
    assert data.images.shape == (100, 3, 32, 32) and data.labels.bincount().tolist() == [10] * 10
    raw = pickle.loads((folder / "data_batch_1").read_bytes())["data"]
    assert np.array_equal(data.images[0].flatten(), raw[0]) and data.classes == tuple("0123456789")
    assert load("cifar10", fraction=0.2).labels.bincount().tolist() == [2] * 10
    test = load("cifar10", split="test")
    assert len(test) == 20 and test.name == "the test images of CIFAR-10"
    assert load(str(folder)).fingerprint == load(str(folder.parent)).fingerprint == data.fingerprint
    with pytest.raises(DataError, match="CIFAR-10: image 0 is 32x32 and 64x64 was asked"):
        load("cifar10", 64)
    (folder / "data_batch_3").write_bytes(b"spoilt")
    with pytest.raises(DataError, match="or not whole"):
        load("cifar10")
    monkeypatch.setattr(
        "torchvision.datasets.CIFAR10.download", lambda self: (_ for _ in ()).throw(OSError("no network"))
    )
    with pytest.raises(DataError, match="CIFAR-10 cannot be downloaded: no network"):
        load("cifar10", download=True)


def test_the_built_in_photographs_are_those_of_the_demo():
    from sparse_plugin.demo.result import crops

    data = load(None)
    assert data.images.shape == (4096, 3, 32, 32) and data.name == "4096 built-in photograph crops"
    assert data.classes == ("astronaut", "cat", "coffee", "motorcycle", "rocket")
    assert data.labels.bincount(minlength=5).min() > 700
    assert data.images[:256].equal(crops(256, 0).add(1).mul(127.5).round().to(torch.uint8))
    assert load(None, 64).size == (64, 64) and len(load(None, 16, 0.1)) == pytest.approx(410, abs=3)
    with pytest.raises(DataError, match="cut at 8x8 to 128x128, and 256x256 was asked"):
        load(None, 256)
    with pytest.raises(DataError, match="the built-in photographs have no splits"):
        load(None, split="train")


@pytest.mark.skipif(not CIFAR.exists(), reason="needs shared data: cifar10-train.zip")
def test_a_tenth_of_cifar10():
    data = load(str(CIFAR), fraction=0.1, seed=1)
    assert data.images.shape == (5000, 3, 32, 32) and data.labels.bincount().tolist() == [500] * 10
    assert data.classes[:3] == ("airplane", "automobile", "bird")


def test_images_by_hand():
    with pytest.raises(DataError, match=r"x: the images are \(2, 1, 8, 8\), torch.uint8; give \(N, 3, H, W\)"):
        Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), None, None, "x")
    with pytest.raises(DataError, match="the labels go from 0 to 2, and there are 2 classes"):
        Images(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 2]), ("a", "b"), "x")
    one = Images(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), None, None, "x")
    assert one.fingerprint != Images(torch.zeros(2, 3, 4, 16, dtype=torch.uint8), None, None, "x").fingerprint


def test_to_uint8():
    images = torch.tensor([-2.0, -1.0, -1 + 1 / 255.1, 0.0, 1.0, 7.0])
    assert to_uint8(images).tolist() == [0, 0, 0, 128, 255, 255]
    assert to_uint8(torch.tensor([0.0, 0.5, 1.0]), low=0).tolist() == [0, 128, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert to_uint8(every.float() / 127.5 - 1).equal(every)
    assert images.tolist()[0] == -2.0  # untouched
    for bad in (float("nan"), float("inf")):
        with pytest.raises(DataError, match="the generator's images are not finite"):
            to_uint8(torch.tensor([0.0, bad]))
