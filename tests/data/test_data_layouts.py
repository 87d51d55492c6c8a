"""Image data as people keep them: wrapping folders, splits, tables of other columns, arrays of other layouts, odd files."""

import io
import json
import logging
import zipfile
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from odd_images import CLASSED, PIXELS, PNGS, encoded, write
from PIL import Image

from sparse_plugin.commands.cli import cli
from sparse_plugin.data import DataError, Source, load
from sparse_plugin.data.labels import classes_of
from sparse_plugin.evaluate.evaluation import evaluate

LITTER = ("__MACOSX/pets/cat/._0.png", "pets/.DS_Store", "pets/cat/Thumbs.db", "pets/dog/THUMBS.DB", "pets/Icon\r")


@pytest.mark.parametrize("wrapper", ["pets/", "pets/2024/", "train/", "a b/c/d/"])
def test_folders_that_wrap_everything(wrapper, tmp_path):
    for path in write(tmp_path / "a", [wrapper + name for name in CLASSED], LITTER if wrapper == "pets/" else ()):
        data = load(path, 8)
        assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 1]
        assert np.array_equal(data.images.permute(0, 2, 3, 1), PIXELS[:3])
    for path in write(tmp_path / "flat", [f"{wrapper}{i}.png" for i in range(3)]):
        assert load(path, 8).labels is None  # one folder is no class
    labels = json.dumps({"labels": [[f"00000/{i}.png", i % 2] for i in range(3)]}).encode()
    _, path = write(tmp_path / "style", [f"{wrapper}00000/{i}.png" for i in range(3)])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{wrapper}dataset.json", labels)
    assert load(path, 8).labels.tolist() == [0, 1, 0]

SPLITS = {
    "train and test": ("train/cat/0.png", "train/dog/1.png", "test/cat/2.png", "test/dog/3.png"),
    "wrapped": ("pets/Train/cat/0.png", "pets/Train/dog/1.png", "pets/Test/cat/2.png", "pets/Test/dog/3.png"),
    "numbered": ("train2017/cat/0.png", "train2017/dog/1.png", "test1/cat/2.png", "test1/dog/3.png"),
    "worded": ("x_train_HR/cat/0.png", "x_train_HR/dog/1.png", "x_test_HR/cat/2.png", "x_test_HR/dog/3.png"),
    "in each class": ("cat/train/0.png", "dog/train/1.png", "cat/test/2.png", "dog/test/3.png"),
    "beside others": (
        "train/cat/0.png",
        "train/dog/1.png",
        "testing/a/cat/2.png",
        "testing/a/dog/3.png",
        "extra/4.png",
    ),
}


@pytest.mark.parametrize("layout", SPLITS)
def test_splits_are_asked_for(layout, tmp_path):
    for path in write(tmp_path / "a", SPLITS[layout]):
        with pytest.raises(DataError, match=r"^a(\.zip)? holds the splits test, train beside .* with --split train"):
            load(path, 8)
        for split, places in (("train", (0, 1)), ("test", (2, 3))):
            data = load(path, 8, split=split)
            assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 1]
            assert np.array_equal(data.images.permute(0, 2, 3, 1), PIXELS[list(places)])
            assert data.name.startswith(f"the {split} images of a") and data.reading == {"split": split}
        with pytest.raises(DataError, match=r"^a(\.zip)? has no split 'val'; it has test, train"):
            load(path, 8, split="val")


def test_names_of_splits(tmp_path):
    path, _ = write(tmp_path / "a", [f"{name}/0.png" for name in ("train", "validation", "test")])
    for alias in ("val", "valid", "dev", "Validation"):
        assert load(path, 8, split=alias).reading == {"split": "val"} and len(load(path, 8, split=alias)) == 1
    path, _ = write(tmp_path / "b", ["trainA/0.png", "trainB/1.png", "testA/2.png", "testB/3.png"])
    with pytest.raises(DataError, match="holds the splits test, train"):
        load(path, 8)
    assert load(path, 8, split="train").classes == ("trainA", "trainB")  # two domains, not one set
    path, _ = write(tmp_path / "c", ["bullet_train/0.png", "test_tube/1.png", "car/2.png"])
    assert load(path, 8).classes == ("bullet_train", "car", "test_tube")
    path, _ = write(tmp_path / "d", ["train/0.png", "car/1.png", "bus/2.png"])
    assert load(path, 8).classes == ("bus", "car", "train")  # a train is a vehicle


def test_labels_that_skip_a_class_are_said(caplog):
    with caplog.at_level(logging.WARNING):
        labels, classes = classes_of("x", np.array([1, 2, 3]))
    assert labels.tolist() == [1, 2, 3] and len(classes) == 4
    assert caplog.messages == ["x: no image has the class 0, of 0 to 3"]


@pytest.mark.parametrize("before", ["", "pets/", "train/"])
def test_class_folders_that_hold_nothing_are_said(before, tmp_path, caplog):
    litter = ("__MACOSX/cat/._0.png", f"{before}.cache/x")
    for path in write(tmp_path / "a", [before + name for name in CLASSED] + (["val/cat/9.png"] if before == "train/" else []), litter):
        caplog.clear()
        if path.endswith(".zip"):
            with zipfile.ZipFile(path, "a") as archive:
                for name in ("horse/", "cow/inside/", "cat/", ".hidden/"):
                    archive.writestr(before + name, b"")
        else:
            for name in ("horse", "cow/inside", ".hidden"):
                (tmp_path / "a" / before / name).mkdir(parents=True)
        found = load(path, 8, split="train" if before == "train/" else None)
        assert found.classes == ("cat", "dog")
        said = [message for message in caplog.messages if "hold nothing" in message]
        listed = "horse" if path.endswith(".zip") else "cow, horse"  # a zip need not name a folder that holds a folder
        assert [message.partition(": ")[2] for message in said] == [f"folders that hold nothing are no classes: {listed}"]
    for path in write(tmp_path / "whole", CLASSED):
        caplog.clear()
        load(path, 8)
        assert not caplog.messages


def test_files_of_other_kinds(tmp_path, caplog):
    image = Image.fromarray(PIXELS[0])
    more = [Image.fromarray(pixels) for pixels in PIXELS[1:3]]
    exif = Image.Exif()
    exif[0x0112] = 6
    half = image.convert("RGBA")
    half.putalpha(128)
    files = {
        "00.png": encoded(image, exif=exif),
        "01.gif": encoded(image.quantize(16), "GIF", save_all=True, append_images=more),
        "02.webp": encoded(image, "WEBP", lossless=True, save_all=True, append_images=more),
        "03.tif": encoded(image, "TIFF", save_all=True, append_images=more),
        "04.png": encoded(half),
        "05.png": encoded(image.convert("LA")),
        "06.png": encoded(image.convert("1")),
        "07.tif": encoded(image.convert("CMYK"), "TIFF"),
        "08.png": encoded(image.convert("RGBA")),
    }
    (tmp_path / "a").mkdir()
    for name, content in files.items():
        (tmp_path / "a" / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        images = load(str(tmp_path / "a"), 8).images.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(images[0], np.rot90(PIXELS[0], -1))
    for i in (2, 3, 4, 8):
        assert np.array_equal(images[i], PIXELS[0])
    assert np.array_equal(images[5], np.asarray(image.convert("L").convert("RGB")))
    assert set(np.unique(images[6])) <= {0, 255}
    assert sorted(caplog.messages) == [
        "a: 1 of 9 images have transparent pixels, whose transparency is left out (a: 04.png)",
        "a: 3 of 9 images hold more pages or frames than the first, which alone is taken (a: 01.gif)",
    ]


def test_files_that_hold_more_than_8_bits(tmp_path):
    import png
    import tifffile

    deep = (PIXELS[0].astype(np.uint16) << 8) + 7
    rows = io.BytesIO()
    png.Writer(8, 8, greyscale=False, bitdepth=16).write(rows, deep.reshape(8, -1))
    tiff, floats = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(tiff, deep, photometric="rgb")
    tifffile.imwrite(floats, PIXELS[0, ..., 0] / np.float32(255))
    for name, content, said in (
        ("a.png", rows.getvalue(), "16 bits a channel"),
        ("a.tif", tiff.getvalue(), "16 bits a channel"),
        ("a.ppm", b"P6 8 8 65535\n" + deep.astype(">u2").tobytes(), "16 bits a channel"),
        ("a.tif", floats.getvalue(), "mode F"),
    ):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(DataError, match=rf"{name} has pixels of {said}; convert it to 8 bits a channel"):
            load(str(tmp_path / "a.zip"), 8)


def huge(side):
    """A PNG whose header, with a right checksum, claims side x side pixels."""
    content = bytearray(PNGS[0])
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("side", "said"), [(9000, "9000x9000"), (10_000, "10000x10000"), (30_000, r"more than 178,956,970")]
)
def test_pictures_beyond_pillows_limit_are_one_sentence(side, said, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", huge(side))
    with pytest.raises(DataError, match=rf"^a\.zip: a\.png claims {said} pixels; it is not decoded, take it out$"):
        load(str(tmp_path / "a.zip"), 8)


def test_archives_with_odd_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "A.ZIP", "w") as archive:
        archive.writestr("a.png", PNGS[0])
    assert len(load(str(tmp_path / "A.ZIP"), 8)) == 1
    for text in (
        '{"labels": [["a.png", 0], ["a.png", 1]]}',
        '{"labels": [["a.png", null]]}',
        '{"labels": [["a.png", 0.5]]}',
    ):
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr("a.png", PNGS[0])
            archive.writestr("dataset.json", text)
        with pytest.raises(
            DataError, match=r"b\.zip: dataset\.json (labels a\.png twice|has no \"labels\" of the form)"
        ):
            load(str(tmp_path / "b.zip"), 8)


def test_options_reach_every_command(tmp_path, monkeypatch):
    names = [f"train/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(12)] + ["test/cat/0.png"]
    path, _ = write(tmp_path / "pets", names)
    train = ["train", "dcgan", "--run", str(tmp_path / "run"), "--data", path, "--steps", "1", "--batch", "8"]
    train += ["--width", "0.0625", "--device", "cpu"]
    refused = CliRunner().invoke(cli, train)
    assert refused.exit_code == 2 and "ask for one with --split" in refused.output
    wrong_size = CliRunner().invoke(cli, [*train, "--split", "train"])
    assert wrong_size.exit_code == 2 and "or for resizing (--resize)" in wrong_size.output
    assert not (tmp_path / "run").exists()
    done = CliRunner().invoke(cli, [*train, "--split", "train", "--resize"])
    assert done.exit_code == 0, done.output
    config = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert (config["split"], config["resize"], config["images"]) == ("train", True, 24) and "label_column" not in config
    other = CliRunner().invoke(cli, [*train, "--resize", "--split", "test", "--batch", "1"])
    assert other.exit_code == 2 and "data.split is 'train' there and 'test' here" in other.output
    seen = {}
    monkeypatch.setattr(
        "sparse_plugin.experiments.gan_grid.run_gan_table", lambda name, out, data, **_: (seen.update(it=data), ("", 0))[1]
    )
    asked = ["--data", path, "--split", "val", "--label-column", "y", "--image-column", "x", "--resize", "--download"]
    assert CliRunner().invoke(cli, ["experiment", "table1", *asked]).exit_code == 0
    assert seen["it"] == Source(path, "val", "x", "y", True, True)
    measured = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "run"), "--data", path])
    assert measured.exit_code == 2 and "ask for one with --split" in measured.output
    with pytest.raises(DataError, match="beside each other, which are not taken together; name the folder of the one"):
        evaluate(path, path, split="train")
    with pytest.raises(DataError, match="split was given beside a Source"):
        load(Source(path), 8, split="train")
    missing = CliRunner().invoke(
        cli, ["train", "dcgan", "--run", "x", "--data", "cifar10"], env={"SPARSE_PLUGIN_CACHE": str(tmp_path)}
    )
    assert missing.exit_code == 2 and "(--download)" in missing.output

