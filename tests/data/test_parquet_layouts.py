"""Parquet files and arrays as others lay them out: labels, columns, splits, metadata."""

import json
import random

import numpy as np
import pytest
from odd_images import CLASSED, PIXELS, PNGS, write

from sparse_plugin.data import DataError, load


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


def test_parts_of_parquet_that_are_missing_are_said(tmp_path, caplog):
    """As of a download that was cut short; a part that is named by itself is what was asked for."""
    for part in (0, 2):
        table(tmp_path / f"a/data/train-{part:05d}-of-00003.parquet", image=PNGS)
    table(tmp_path / "a/data/test-00000-of-00002.parquet", image=PNGS)
    assert len(load(str(tmp_path / "a"), 8)) == 12
    assert caplog.messages == ["a: of the 3 files train-*-of-00003.parquet there are 2; the images in the others are left out"]
    caplog.clear()
    load(str(tmp_path / "a/data/train-00000-of-00003.parquet"), 8)
    table(tmp_path / "a/data/train-00001-of-00003.parquet", image=PNGS)
    assert len(load(str(tmp_path / "a"), 8)) == 18 and not caplog.messages


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

