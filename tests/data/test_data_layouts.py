"""Image data as people keep them: wrapping folders, splits, tables of other columns, arrays of other layouts, odd files."""

import io
import json
import logging
import random
import zipfile
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sparse_plugin.commands.cli import cli
from sparse_plugin.data import DataError, Source, load
from sparse_plugin.data.labels import classes_of
from sparse_plugin.evaluate.evaluation import evaluate

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


PNGS = [encoded(pixels) for pixels in PIXELS]


def write(path, names, litter=()):
    """A folder, and a zip of it beside: the i-th name has the i-th image."""
    files = {name: PNGS[i % len(PNGS)] for i, name in enumerate(names)} | dict.fromkeys(litter, b"litter")
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return str(path), str(path.with_suffix(".zip"))


CLASSED = ("cat/0.png", "cat/1.png", "dog/2.png")
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


def table(path, **columns):
    pyarrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    metadata = columns.pop("metadata", None)
    made = pyarrow.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(made if metadata is None else made.replace_schema_metadata({"huggingface": metadata}), path)
    return str(path)


STRUCTS = [{"bytes": content, "path": "x"} for content in PNGS]


def test_labels_of_every_kind_in_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    expected = [2, 0, 1, 0, 2, 1]
    names = ["newt", "cat", "dog", "cat", "newt", "dog"]
    for kind, labels in {
        "strings": names,
        "categories": pyarrow.array(names).dictionary_encode(),
        "bytes": [name.encode() for name in names],
        "integers": expected,
        "floats": list(map(float, expected)),
        "unsigned": pyarrow.array(expected, pyarrow.uint64()),
        "one-hot": np.eye(3, dtype=np.int64)[expected].tolist(),
    }.items():
        data = load(table(tmp_path / "a.parquet", image=PNGS, label=labels), 8)
        assert data.labels.tolist() == expected, kind
        named = ("cat", "dog", "newt") if kind in ("strings", "categories", "bytes") else ("0", "1", "2")
        assert data.classes == named, kind
    assert load(table(tmp_path / "a.parquet", image=PNGS, label=[-1] * 6), 8).labels is None
    for said, labels in {
        "image 2 has no label": [0, 1, None, 0, 1, 2],
        "image 1 has the label 0.5, which is no class number": [0, 0.5, 1, 1, 1, 1],
        "image 3 has no label": ["a", "b", "a", "", "a", "b"],
        "which are not one-hot": [[1, 1]] * 6,
        "lists of several lengths": [[1], [0, 1], [1], [1], [1], [1]],
        "no class numbers": [2**40] * 6,
        "a label is longer than 200 characters": ["x" * 201] * 6,
        "no UTF-8": [b"\xff"] * 6,
        "which tells no class": [{"a": 1}] * 6,
    }.items():
        with pytest.raises(DataError, match=rf"a\.parquet.*{said}"):
            load(table(tmp_path / "a.parquet", image=PNGS, label=labels), 8)


def test_columns_are_named_where_they_cannot_be_told(tmp_path):
    fine, coarse = [0, 1, 2, 3, 4, 5], ["a", "a", "b", "b", "a", "b"]
    path = table(tmp_path / "a.parquet", photo=STRUCTS, mask=PNGS[::-1], kind=coarse, fine=fine)
    with pytest.raises(DataError, match="several columns of images: photo, mask; name one by --image-column"):
        load(path, 8)
    data = load(path, 8, image_column="mask", label_column="kind")
    assert data.classes == ("a", "b") and data.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert np.array_equal(data.images.permute(0, 2, 3, 1), PIXELS[::-1])
    assert data.reading == {"image_column": "mask", "label_column": "kind"}
    assert load(path, 8, image_column="photo").labels is None
    for columns, said in (
        ({"image_column": "fine"}, r"the image column fine is int64; name one of photo, mask"),
        ({"image_column": "no"}, "the image column no is not there; name one of photo, mask"),
        ({"image_column": "mask", "label_column": "no"}, "has no column no; its columns are photo, mask, kind, fine"),
    ):
        with pytest.raises(DataError, match=said):
            load(path, 8, **columns)
    classes = {"_type": "ClassLabel", "names": list("uvwxyz")}
    described = json.dumps({"info": {"features": {"fine": classes, "rough": classes, "img": {"_type": "Image"}}}})
    path = table(tmp_path / "b.parquet", img=STRUCTS, thumb=PNGS, fine=fine, rough=fine[::-1], metadata=described)
    with pytest.raises(DataError, match="several columns of labels: fine, rough; name one by --label-column"):
        load(path, 8)
    data = load(path, 8, label_column="rough")
    assert data.labels.tolist() == fine[::-1] and data.classes == tuple("uvwxyz")
    for name, images, said in (
        ("image", ["0.png"] * 6, r"no column of encoded images; its columns are image \(image is string; write the"),
        ("pixels", PIXELS.reshape(6, -1).tolist(), "no column of encoded images; its columns are pixels"),
        ("image", [{"bytes": None, "path": "../../etc/passwd"}] * 6, "image is struct<bytes: null, path: string>"),
        ("image", [STRUCTS[0], {"bytes": None, "path": "../../etc/passwd"}], "row 1 holds no image file, only a path"),
    ):
        with pytest.raises(DataError, match=said):
            load(table(tmp_path / "c.parquet", **{name: images}), 8)
    for other in ({"labels": fine}, {"label": coarse}):
        table(tmp_path / "two" / "0.parquet", image=PNGS, label=fine)
        table(tmp_path / "two" / "1.parquet", image=PNGS, **other)
        with pytest.raises(DataError, match=r"two: (1\.parquet has no one column label|the labels are int, str)"):
            load(str(tmp_path / "two"), 8)
    for path, columns in ((write(tmp_path / "f", CLASSED)[0], {"label_column": "x"}), (None, {"image_column": "x"})):
        with pytest.raises(DataError, match="no columns, and 'x' was asked; columns are those of parquet and npz"):
            load(path, 8, **columns)


@pytest.mark.parametrize(
    "names",
    [
        ("train.parquet", "test.parquet"),
        ("d/train/0.parquet", "d/test/0.parquet"),
        ("train_0.parquet", "test_0.parquet"),
    ],
)
def test_splits_of_parquet(names, tmp_path):
    for i, name in enumerate(names):
        table(tmp_path / "set" / name, image=PNGS[3 * i : 3 * i + 3], label=[0, 1, 2])
    path = str(tmp_path / "set")
    for split, first in ((None, 0), ("train", 0), ("test", 3)):
        assert np.array_equal(load(path, 8, split=split).images.permute(0, 2, 3, 1), PIXELS[first : first + 3])
    assert load(path, 8, split="test").name == "the test images of set"
    with pytest.raises(DataError, match=r"set has no val-\*\.parquet, but test, train"):
        load(path, 8, split="val")
    table(tmp_path / "set" / "dev" / "x.parquet", image=PNGS)
    (tmp_path / "set" / names[0]).unlink()
    with pytest.raises(DataError, match="set holds the splits test, val beside each other"):
        load(path, 8)


def test_arrays_of_other_layouts(tmp_path):
    path, grey = tmp_path / "a.npz", PIXELS[..., 0]
    for images in (grey, grey[..., None], grey[:, None]):
        np.savez(path, images=images, label=np.array(["b", "a", "b", "a", "b", "c"]))
        data = load(str(path), 8)
        assert np.array_equal(data.images, grey[:, None].repeat(3, 1)) and data.classes == ("a", "b", "c")
        assert len(load(str(path), 4, resize=True)) == 6
    for labels in (np.eye(3)[[2, 0, 1, 0, 2, 1]], np.array([2.0, 0, 1, 0, 2, 1])):
        np.savez(path, images=PIXELS, labels=labels, classes=np.array([b"x", b"y", b"z"]))
        data = load(str(path), 8)
        assert data.labels.tolist() == [2, 0, 1, 0, 2, 1] and data.classes == ("x", "y", "z")
    for arrays in (
        {"x_train": PIXELS[:4], "y_train": [0, 1, 2, 0], "x_test": PIXELS[4:], "y_test": [1, 0]},
        {
            "train_images": PIXELS[:4],
            "train_labels": [[0], [1], [2], [0]],
            "test_images": PIXELS[4:],
            "test_labels": [[1], [0]],
        },
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=r"a\.npz holds the splits test, train beside each other"):
            load(str(path), 8)
        assert load(str(path), 8, split="train").labels.tolist() == [0, 1, 2, 0]
        assert load(str(path), 8, split="test").name == "the test images of a.npz"
        with pytest.raises(DataError, match=r"a\.npz has no split 'val'; it has test, train"):
            load(str(path), 8, split="val")
    np.savez(path, x=PIXELS, other=PIXELS[::-1], kind=np.arange(6), age=np.arange(6))
    data = load(str(path), 8, image_column="other", label_column="kind")
    assert np.array_equal(data.images.permute(0, 2, 3, 1), PIXELS[::-1]) and data.labels.tolist() == list(range(6))
    with pytest.raises(DataError, match=r"has no array kine \(--label-column\); it has x, other, kind, age"):
        load(str(path), 8, image_column="x", label_column="kine")
    for images in (PIXELS.transpose(1, 2, 3, 0), PIXELS.reshape(6, -1), PIXELS / 255.0):
        np.savez(path, images=images)
        with pytest.raises(DataError, match=r"a\.npz.* \(.*\)"):
            load(str(path), 8)


def test_labels_that_skip_a_class_are_said(caplog):
    with caplog.at_level(logging.WARNING):
        labels, classes = classes_of("x", np.array([1, 2, 3]))
    assert labels.tolist() == [1, 2, 3] and len(classes) == 4
    assert caplog.messages == ["x: no image has the class 0, of 0 to 3"]


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


def shapes(depth=0):
    """Random JSON."""
    kind = random.randrange(8 if depth < 4 else 5)
    if kind < 5:
        return random.choice([None, True, -1, 1e300, "x", "\x00", "ClassLabel", "Image", 10**30])
    if kind == 5:
        return [shapes(depth + 1) for _ in range(random.randrange(4))]
    keys = ("info", "features", "label", "image", "_type", "names", "x")
    return {random.choice(keys): shapes(depth + 1) for _ in range(random.randrange(5))}


def test_no_metadata_of_parquet_is_a_traceback(tmp_path):
    """Random descriptions, and bytes of the file turned over: images as ever, or one sentence; about 2 s of it."""
    random.seed(0)
    path = tmp_path / "a.parquet"
    texts = [b"", b"{", b"\xff\xfe", b"[]", b"5", b'{"info": []}', b'{"info": {"features": 7}}', b"[" * 100_000]
    plain = [shapes() for _ in range(40)]
    plain += [{"info": {"features": {"label": shapes(), "image": shapes()}}} for _ in range(40)]
    plain += [{"info": {"features": {"label": {"_type": "ClassLabel", "names": shapes()}}}} for _ in range(40)]
    texts += [json.dumps(shape).encode() for shape in plain]
    refused = 0
    for text in texts:
        table(path, image=STRUCTS[:2], label=[0, 1], metadata=text)
        refused += _refused(path)
    assert refused < len(texts) / 4
    whole = path.read_bytes()
    for _ in range(200):
        spoilt = bytearray(whole)
        for _ in range(random.randrange(1, 4)):
            spoilt[-random.randrange(1, min(len(whole), 1500))] = random.randrange(256)
        path.write_bytes(spoilt)
        _refused(path)


def _refused(path):
    try:
        assert len(load(str(path), 8)) == 2
    except DataError as error:
        assert "\n" not in str(error) and str(error).startswith("a.parquet")
        return True
    except AssertionError:  # a turned byte may leave a table of another length
        pass
    return False


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
