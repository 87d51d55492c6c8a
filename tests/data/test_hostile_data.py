"""Image data that are hostile, damaged or not as they should be, refused by name."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_data import GOOD, NOISE_JPEG, TRUNCATED, parquet, write_folder, write_zip

from sparse_plugin.data import DataError, load

BOMB = GOOD.replace(struct.pack(">II", 8, 8), struct.pack(">II", 30000, 30000))  # its header claims 30000 x 30000

# Of an archive: what is in it besides good images, and what is said of it.
HOSTILE = {
    "../evil.png": (
        GOOD,
        r"the name '\.\./evil\.png' is no plain path inside an archive; it may be hostile and is refused",
    ),
    "a/../../evil.png": (GOOD, r"'a/\.\./\.\./evil\.png' is no plain path"),
    "/etc/evil.png": (GOOD, "'/etc/evil.png' is no plain path"),
    "C:/evil.png": (GOOD, "'C:/evil.png' is no plain path"),
    "new\nline.png": (GOOD, r"'new\\nline\.png' is no plain path"),
    "..\\evil.png": (GOOD, "is no plain path"),
}
NO_IMAGE = {
    "notes.txt": (
        b"hello",
        r"notes\.txt is no image \(JPEG, PNG, WEBP, BMP, PPM, GIF, TIFF\) that can be read: unknown content",
    ),
    "empty.png": (b"", r"empty\.png is no image"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", r"script\.eps is no image"),
    "cut.png": (TRUNCATED, r"cut\.png is damaged: .+"),
    "cut.jpg": (NOISE_JPEG[:-20], r"cut\.jpg is damaged: image file is truncated"),
    "bomb.png": (BOMB, r"bomb\.png (claims more than 178,956,970 pixels; it is not decoded, take it out|is no image)"),
}


@pytest.mark.parametrize(
    ("kind", "name"), [("zip", n) for n in (*HOSTILE, *NO_IMAGE)] + [("folder", n) for n in NO_IMAGE]
)
def test_hostile_files_are_refused_by_name(kind, name, tmp_path):
    content, said = {**HOSTILE, **NO_IMAGE}[name]
    files = {"good.png": GOOD, name: content}
    if kind == "folder":
        path = write_folder(tmp_path / "set", files)
    else:
        path = write_zip(tmp_path / "set.zip", files)
    with pytest.raises(DataError, match=said) as error:
        load(path, 8)
    assert str(error.value).startswith(Path(path).name) and "\n" not in str(error.value)
    assert not (tmp_path.parent / "evil.png").exists()
    with pytest.raises(DataError):
        load(path, 8, resize=True)


def test_a_link_in_a_zip(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"a\.zip: link\.png is a symbolic link; pack the image itself"):
        load(str(tmp_path / "a.zip"), 8)


def test_links_in_a_folder(tmp_path, files):
    path = write_folder(tmp_path / "set", files)
    (tmp_path / "secret.png").write_bytes(GOOD)
    os.symlink(tmp_path / "set" / "cat" / "00.png", tmp_path / "set" / "cat" / "inside.png")
    assert len(load(path, 8)) == 31
    os.symlink(tmp_path / "secret.png", tmp_path / "set" / "cat" / "outside.png")
    with pytest.raises(
        DataError, match=r"set: cat/outside\.png is a link that leads out of the folder; name the folder"
    ):
        load(path, 8)
    (tmp_path / "set" / "cat" / "outside.png").unlink()
    os.symlink(tmp_path / "set", tmp_path / "set" / "round")
    with pytest.raises(DataError, match="set: round is a link"):
        load(path, 8)
    (tmp_path / "set" / "round").unlink()
    os.mkfifo(tmp_path / "set" / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"set: cat/pipe\.png is no plain file"):
        load(path, 8)
    os.symlink(path, tmp_path / "named")  # what the user names may be a link
    (tmp_path / "set" / "cat" / "pipe.png").unlink()
    assert len(load(str(tmp_path / "named"), 8)) == 31


def test_archives_that_are_bombs_or_damaged(tmp_path, files):
    with pytest.raises(
        DataError, match=r"bomb\.zip unpacks to \d+ times its size \(z\.png alone to 20,000,000 bytes\)"
    ):
        load(write_zip(tmp_path / "bomb.zip", {**files, "z.png": bytes(20_000_000)}, zipfile.ZIP_DEFLATED), 8)
    whole = Path(write_zip(tmp_path / "whole.zip", files)).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"cut\.zip is no zip archive, or is cut short"):
        load(str(tmp_path / "cut.zip"), 8)
    spot = whole.index(files["dog/15.png"]) + 50
    (tmp_path / "bad.zip").write_bytes(whole[:spot] + bytes([whole[spot] ^ 255]) + whole[spot + 1 :])
    with pytest.raises(DataError, match=r"bad\.zip: dog/15\.png cannot be unpacked: Bad CRC-32"):
        load(str(tmp_path / "bad.zip"), 8)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a.png", GOOD)
        archive.writestr("a.png", GOOD)
    with pytest.raises(DataError, match=r"twice\.zip holds a\.png twice"):
        load(str(tmp_path / "twice.zip"), 8)
    entry = bytearray(Path(write_zip(tmp_path / "secret.zip", {"a.png": GOOD})).read_bytes())
    entry[entry.index(b"PK\1\2") + 8] |= 1  # the flag of an encrypted entry, in the directory
    (tmp_path / "secret.zip").write_bytes(entry)
    with pytest.raises(DataError, match=r"secret\.zip: a\.png is encrypted"):
        load(str(tmp_path / "secret.zip"), 8)


def test_a_file_larger_than_any_image(tmp_path, monkeypatch):
    monkeypatch.setattr("sparse_plugin.data.files.MAX_BYTES", 50)
    for path in (write_zip(tmp_path / "a.zip", {"a.png": GOOD}), write_folder(tmp_path / "a", {"a.png": GOOD})):
        with pytest.raises(DataError, match=rf"a\.png has {len(GOOD)} bytes, more than any image of a data set"):
            load(path, 8)


def test_a_set_larger_than_the_memory(tmp_path, files, monkeypatch):
    path = write_zip(tmp_path / "a.zip", files)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)  # 100 pages of 100 bytes
    with pytest.raises(
        DataError, match=r"a\.zip: 30 images of 8x8 would take 0\.0 GiB of memory; .* so take fewer images"
    ):
        load(path, 8)
    assert len(load(path, 8, 0.1)) == 3


JSON = {
    "no json": "dataset.json is no JSON",
    "[]": 'dataset.json has no "labels" of the form',
    '{"labels": [["a.png"]]}': 'has no "labels" of the form',
    '{"labels": [["a.png", 1.5]]}': 'has no "labels" of the form',
    '{"labels": [["a.png", true]]}': 'has no "labels" of the form',
    '{"labels": [["a.png", [0, 1]]]}': 'has no "labels" of the form',
    '{"labels": []}': "a.png has no label; dataset.json and the images do not fit together",
    '{"labels": [["a.png", 0], ["b.png", 0]]}': "b.png has no image",
    '{"labels": [["a.png", -1]]}': "the labels are no class numbers",
    '{"labels": [["a.png", 2000000000]]}': "the labels are no class numbers, from 0 to below 1,000,000",
    '{"labels": [["a.png", 3]], "classes": ["cat"]}': "the labels go from 3 to 3, and there are 1 classes",
    '{"labels": [["a.png", 0]], "classes": "cat"}': '"classes" of dataset.json is no list of names',
    "[" * 100000: "dataset.json is no JSON",
}


@pytest.mark.parametrize("text", JSON, ids=lambda text: text[:30])
def test_a_dataset_json_that_does_not_fit(text, tmp_path):
    with pytest.raises(DataError, match=f"^a.zip: .*{JSON[text]}"):
        load(write_zip(tmp_path / "a.zip", {"a.png": GOOD, "dataset.json": text}), 8)


def test_npz_that_is_not_as_it_should_be(tmp_path, pixels, labels):
    def refused(said, **arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=rf"^a\.npz.*{said}"):
            load(str(tmp_path / "a.npz"), 8)

    refused("has no four-dimensional uint8 array of images; it has x .* float32", x=pixels.astype(np.float32))
    refused("has several arrays that could be images: x, y; name one `images`", x=pixels, y=pixels)
    refused("has several arrays that could be labels: l, m; name one `labels`", x=pixels, l=labels, m=labels)
    refused("30 images and 29 labels", x=pixels, labels=labels[:-1])
    refused("the labels are no class numbers", x=pixels, labels=labels - 1)
    refused(r"write \(N, H, W, 3\) or \(N, 3, H, W\)", x=np.zeros((2, 8, 8, 4), np.uint8))
    refused("x.npy is no plain array", x=np.array([{}], dtype=object))
    refused("holds no images", images=pixels[:0])
    np.savez(tmp_path / "b.npz", train=pixels, images=pixels[:2], y=labels[:2], step=7)
    assert load(str(tmp_path / "b.npz"), 8).labels.tolist() == [0, 0]

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"images\.npy is no plain array"):
        load(str(tmp_path / "a.npz"), 8)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"shape": (10**6, 10**5, 10**5, 3), "fortran_order": False, "descr": "|u1"}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", file.getvalue())
    with pytest.raises(
        DataError, match=r"images\.npy is no plain array: its header says .* and it unpacks to \d+ bytes"
    ):
        load(str(tmp_path / "a.npz"), 8)
    assert not (tmp_path / "pwned").exists()


def test_parquet_that_is_not_as_it_should_be(tmp_path, files):
    pyarrow, parquet_file = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    whole = Path(parquet(path, files)).read_bytes()
    for content in (b"PAR1", whole[:-50], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.parquet is no parquet that can be read: "):
            load(str(path), 8)
    parquet_file.write_table(pyarrow.table({"text": ["x"]}), path)
    with pytest.raises(DataError, match=r"a\.parquet has no column of encoded images; its columns are text"):
        load(str(path), 8)
    parquet_file.write_table(
        pyarrow.table({"image": [{"bytes": GOOD, "path": ""}, {"bytes": None, "path": "x"}]}), path
    )
    with pytest.raises(DataError, match=r"a\.parquet: row 1 holds no image file"):
        load(str(path), 8)
    parquet_file.write_table(pyarrow.table({"image": [GOOD, TRUNCATED]}), path)
    with pytest.raises(DataError, match=r"a\.parquet: row 1 is damaged"):
        load(str(path), 8)
    spoilt = bytearray(whole)
    spoilt[100:300] = bytes(200)  # within the first column's pages
    path.write_bytes(spoilt)
    with pytest.raises(DataError, match=r"a\.parquet"):
        load(str(path), 8)


def test_what_is_no_image_is_not_taken_for_one(tmp_path, pixels):
    """Masks beside images that are floats, and one image for as many grey ones as it has rows."""
    floats, masks = (pixels / 255).astype(np.float32), pixels[..., 0]

    def refused(said, **arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        for resize in (False, True):
            with pytest.raises(DataError, match=rf"^a\.npz.*{said}"):
                load(str(tmp_path / "a.npz"), 8, resize=resize)

    beside = r"{} \(30, .*\) float32, and images are uint8, from 0 to 255; .*if {} holds the images, say it by --image-column"
    refused(beside.format("images", "masks"), images=floats, masks=masks)
    refused(beside.format("images", "masks"), images=floats[..., 0], masks=masks)
    refused(beside.format("x_train", "m"), x_train=floats, m=masks[..., None])
    refused(beside.format("x", "m"), x=floats.transpose(0, 3, 1, 2), m=masks)
    for shape in ((8, 8, 3), (32, 40, 3), (8, 8, 4)):
        refused(r"the images are \(.*\), which is one image; write \(N, H, W, 3\)", images=np.zeros(shape, np.uint8))
    np.savez(tmp_path / "b.npz", images=floats, masks=masks)
    assert len(load(str(tmp_path / "b.npz"), 8, image_column="masks")) == 30
    np.savez(tmp_path / "b.npz", x=pixels, latents=floats, noise=floats[:, 0, 0])
    assert (load(str(tmp_path / "b.npz"), 8).images.permute(0, 2, 3, 1).numpy() == pixels).all()


@pytest.mark.parametrize("kind", ["folder", "zip", "npz", "photographs"])
def test_a_download_of_what_is_there_is_refused(kind, tmp_path, files, pixels):
    np.savez(tmp_path / "a.npz", pixels)
    made = {"folder": write_folder(tmp_path / "a", files), "zip": write_zip(tmp_path / "a.zip", files), "npz": str(tmp_path / "a.npz")}
    with pytest.raises(DataError, match=r"is not downloaded, and a download was asked for, which is of cifar10 alone; .*--download"):
        load(made.get(kind), 8, download=True)


@pytest.mark.parametrize("size", [0, -1])
def test_images_without_pixels(size, tmp_path, files):
    for source in (write_zip(tmp_path / "a.zip", files), None):
        with pytest.raises(DataError, match="give 1 pixel or more"):
            load(source, size, resize=source is not None)


def test_paths_that_are_none():
    with pytest.raises(DataError, match="the data are an empty text; they are cifar10, a folder"):
        load("")
    with pytest.raises(DataError, match="there is no file or folder|cannot be looked for: File name too long"):
        load("x" * 5000)
