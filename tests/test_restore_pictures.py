"""Pictures in files: every kind in and out, and what is refused."""

import numpy as np
import png
import pytest
import tifffile
from PIL import Image
from restore_images import photograph

from sparse_plugin.data import DataError
from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.pictures import check_writable, encode, read, store

COLOUR, GREY = photograph(), photograph(grey=True)
ALPHA = np.linspace(0, 1, GREY.size, dtype=np.float32).reshape(GREY.shape)


def planes(colours, clear):
    image = COLOUR if colours else GREY[..., None]
    return np.concatenate([image, ALPHA[..., None]], 2) if clear else image


def written(path, colours, clear, depth):
    """A file of that kind, by another writer than ours where there is one; its values."""
    values = (planes(colours, clear).astype(np.float64) * (2**depth - 1)).round()
    values = values.astype(np.uint16 if depth == 16 else np.uint8)
    flat = values[..., 0] if values.shape[2] == 1 else values
    if path.suffix == ".tif":
        tifffile.imwrite(path, flat, photometric="rgb" if colours else "minisblack", planarconfig="contig",
                         extrasamples=["unassalpha"] if clear else None)  # fmt: skip
    else:
        with open(path, "wb") as file:
            writer = png.Writer(*flat.shape[1::-1], greyscale=not colours, alpha=clear, bitdepth=depth)
            writer.write(file, values.reshape(len(values), -1))
    return values


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("clear", [False, True], ids=["opaque", "alpha"])
@pytest.mark.parametrize("colours", [False, True], ids=["grey", "RGB"])
def test_all_of_it_goes_in_and_out(colours, clear, depth, ending, tmp_path):
    values = written(tmp_path / f"in{ending}", colours, clear, depth)
    picture = read(tmp_path / f"in{ending}")
    top = 2**depth - 1
    assert picture.depth == depth and picture.pixels.dtype == np.float32
    expected = values[..., :3] if colours else values[..., 0]
    np.testing.assert_allclose(picture.pixels * top, expected, atol=1e-2)
    assert (picture.alpha is not None) == clear
    for other in (".png", ".tif"):
        check_writable(tmp_path / f"out{other}", picture)
        store(tmp_path / f"out{other}", encode(picture, other))
        again = read(tmp_path / f"out{other}")
        assert again.depth == depth and np.array_equal(again.pixels, picture.pixels)
        assert not clear or np.array_equal(again.alpha, picture.alpha)
        assert (again.alpha is not None) == clear


def test_other_kinds(tmp_path):
    image = Image.fromarray((255 * COLOUR).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # taken on the side
    image.save(tmp_path / "a.jpg", exif=exif, quality=95, icc_profile=b"a profile")
    turned = read(tmp_path / "a.jpg")
    assert turned.pixels.shape == (41, 35, 3) and turned.profile == b"a profile"
    assert np.abs(turned.pixels - np.rot90(COLOUR, -1)).mean() < 0.02
    assert b"a profile" in encode(turned, ".tif")
    image.quantize(32).save(tmp_path / "p.png")
    assert read(tmp_path / "p.png").pixels.shape == (35, 41, 3) and read(tmp_path / "p.png").alpha is None
    image.quantize(32).save(tmp_path / "t.png", transparency=3)
    assert set(np.unique(read(tmp_path / "t.png").alpha)) == {0, 1}
    Image.fromarray(GREY > 0.5).save(tmp_path / "1.png")
    assert np.array_equal(read(tmp_path / "1.png").pixels, (GREY > 0.5).astype(np.float32))
    image.convert("CMYK").save(tmp_path / "c.jpg")
    assert read(tmp_path / "c.jpg").pixels.shape == (35, 41, 3)
    tifffile.imwrite(tmp_path / "f.tif", GREY)
    assert np.array_equal(read(tmp_path / "f.tif").pixels, GREY)
    Image.fromarray((65535 * GREY).astype(np.int32)).save(tmp_path / "i.tif")
    np.testing.assert_allclose(read(tmp_path / "i.tif").pixels, GREY, atol=2e-5)


def test_transparency_is_scaled_with_the_pixels(tmp_path):
    written(tmp_path / "a.png", True, True, 8)
    large = read(tmp_path / "a.png").with_pixels(np.zeros((70, 82, 3), np.float32))
    assert large.alpha.shape == (70, 82) and 0 <= large.alpha.min() < 0.01 and 0.99 < large.alpha.max() <= 1
    assert np.abs(large.alpha[::2, ::2] - ALPHA).max() < 0.05


def test_what_is_no_picture_is_refused(tmp_path):
    def refused(name, said, content=None):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=said) as caught:
            read(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)

    refused("none.png", "cannot be read: No such file or directory; name an image file")
    (tmp_path / "folder").mkdir()
    refused("folder", "cannot be read: Is a directory")
    refused("text.png", "is not an image that can be read: it is no JPEG", b"hello")
    refused("empty.png", "is not an image that can be read", b"")
    for depth in (8, 16):
        written(tmp_path / "a.png", True, False, depth)
        refused("cut.png", "is not an image that can be read: it is damaged", (tmp_path / "a.png").read_bytes()[:900])
    huge = bytearray((tmp_path / "a.png").read_bytes())
    huge[16:24] = (9000).to_bytes(4, "big") * 2
    import zlib

    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    refused("huge.png", "claims 9000x9000 pixels; it is not decoded", bytes(huge))
    for name, values, said in (
        ("nan.tif", np.where(GREY > 0.5, np.nan, GREY), "holds NaN or infinity"),
        ("range.tif", 255 * GREY, r"has values from [\d.]+ to [\d.]+; scale them to 0 to 1"),
        ("deep.tif", (2e6 * GREY).astype(np.int32), r"has values from \d+ to \d+; give 8 or 16 bits"),
    ):
        tifffile.imwrite(tmp_path / name, values)
        refused(name, said)


def test_what_cannot_be_written_is_refused(tmp_path):
    written(tmp_path / "a.png", True, True, 8)
    written(tmp_path / "b.png", True, False, 16)
    clear, deep = read(tmp_path / "a.png"), read(tmp_path / "b.png")
    for name, picture, said in (
        ("x.gif", clear, "the ending '.gif'; give one of .png, .tif"),
        ("x", clear, "the ending ''; give"),
        ("x.jpg", clear, "would be JPEG, and the image has transparency; write .png or .tif"),
        ("x.JPEG", deep, "has 16 bits a channel; write"),
        ("none/x.png", deep, "is not there; make it"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_writable(tmp_path / name, picture)


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    import os

    (tmp_path / "a.png").write_bytes(b"before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store(tmp_path / "a.png", b"after")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"]
