"""Pictures in files: every kind in and out, and what is refused."""

import logging
import zlib

import numpy as np
import png
import pytest
import tifffile
from PIL import Image, ImageCms
from restore_images import photograph

from sparse_plugin.data import DataError
from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.pictures import check_writable, encode, read
from sparse_plugin.support.files import write

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
        write(tmp_path / f"out{other}", encode(picture, other))
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


def pair(path, colours, clear=False, **options):
    """A TIFF of 8 and one of 16 bits with the same values, by tifffile."""
    eight = (255 * planes(colours, clear)).round().astype(np.uint8)
    eight = eight if eight.shape[2] > 1 else eight[..., 0]
    for bits, values in (("8", eight), ("16", eight.astype(np.uint16) * 257)):
        values = values.transpose(2, 0, 1) if options.get("planarconfig") == "separate" else values
        tifffile.imwrite(path / f"{bits}.tif", values, **options)
    return read(path / "8.tif"), read(path / "16.tif")


def same(one, other, atol=1e-6):
    np.testing.assert_allclose(one.pixels, other.pixels, atol=atol)
    assert (one.alpha is None) == (other.alpha is None) and one.profile == other.profile
    if one.alpha is not None:
        np.testing.assert_allclose(one.alpha, other.alpha, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_files_are_turned_as_others(orientation, tmp_path):
    for colours, clear in ((True, False), (False, False), (True, True)):
        options = {"photometric": "rgb" if colours else "minisblack", "extratags": [(274, "H", 1, orientation, True)]}
        same(*pair(tmp_path, colours, clear, **options, **({"extrasamples": ["unassalpha"]} if clear else {})))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray((255 * COLOUR).astype(np.uint8))
    image.save(tmp_path / "8.png", exif=exif, icc_profile=b"a profile")
    whole = (tmp_path / "8.png").read_bytes()
    chunks = [whole[whole.index(kind) - 4 :] for kind in (b"iCCP", b"eXIf")]
    taken = b"".join(chunk[: int.from_bytes(chunk[:4], "big") + 12] for chunk in chunks)
    with open(tmp_path / "16.png", "wb") as file:
        rows = (np.asarray(image).astype(np.uint16) * 257).reshape(len(COLOUR), -1)
        png.Writer(*image.size, greyscale=False, bitdepth=16).write(file, rows)
    deep = (tmp_path / "16.png").read_bytes()
    (tmp_path / "16.png").write_bytes(deep[:33] + taken + deep[33:])
    same(read(tmp_path / "8.png"), read(tmp_path / "16.png"))
    assert read(tmp_path / "16.png").profile == b"a profile"


def test_deep_files_have_the_colours_of_others(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same(*pair(tmp_path, False, photometric="miniswhite"))
    white = read(tmp_path / "16.tif").pixels
    np.testing.assert_allclose(white, 1 - GREY, atol=0.003)
    same(*pair(tmp_path, True, photometric="rgb", planarconfig="separate", iccprofile=srgb))
    assert read(tmp_path / "16.tif").profile == srgb
    for kind in ("unassalpha", "assocalpha", "unspecified"):
        rounding = 1 / 255 if kind == "assocalpha" else 1e-6  # PIL divides in 8 bits
        same(*pair(tmp_path, True, True, photometric="rgb", extrasamples=[kind]), rounding)
    assert read(tmp_path / "16.tif").alpha is None  # whatever an unspecified sample is, it is no transparency
    cmyk = srgb[:16] + b"CMYK" + srgb[20:]
    for profile in (None, cmyk):
        one, other = pair(tmp_path, True, True, photometric="separated", iccprofile=profile)
        np.testing.assert_allclose(one.pixels, other.pixels, atol=1 / 255)  # PIL rounds on its way
        assert one.profile == other.profile and (one.profile is None) == (profile is None)
        assert one.alpha is None and (one.profile is None or one.profile[16:20] == b"RGB ")
    grey_profile = srgb[:16] + b"GRAY" + srgb[20:]
    for profile, kept in ((grey_profile, True), (srgb, False)):
        one, other = pair(tmp_path, False, photometric="minisblack", iccprofile=profile)
        assert (one.profile == profile) == (other.profile == profile) == kept


def test_deep_files_of_other_kinds(tmp_path):
    for values in (COLOUR, COLOUR.astype(np.float64), GREY.astype(np.float16), GREY.astype(np.float64)):
        tifffile.imwrite(tmp_path / "f.tif", values, photometric="rgb" if values.ndim == 3 else "minisblack")
        np.testing.assert_allclose(read(tmp_path / "f.tif").pixels, values, atol=1e-6)
    Image.fromarray((65535 * GREY).astype(np.uint16)).save(tmp_path / "z.tif", compression="tiff_lzw")
    np.testing.assert_allclose(read(tmp_path / "z.tif").pixels, GREY, atol=2e-5)
    turned = {"compression": "tiff_lzw", "tiffinfo": {274: 6}}
    Image.fromarray((65535 * GREY).astype(np.uint16)).save(tmp_path / "z.tif", **turned)
    np.testing.assert_allclose(read(tmp_path / "z.tif").pixels, np.rot90(GREY, -1), atol=2e-5)
    shifted = (COLOUR * 4095).round().astype(np.uint16) << 4
    with open(tmp_path / "s.png", "wb") as file:
        png.Writer(*GREY.shape[::-1], greyscale=False, bitdepth=16).write(file, shifted.reshape(len(GREY), -1))
    content = (tmp_path / "s.png").read_bytes()
    chunk = b"sBIT" + bytes([12, 12, 12])
    chunk = (3).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "s.png").write_bytes(content[:33] + chunk + content[33:])
    np.testing.assert_allclose(read(tmp_path / "s.png").pixels, COLOUR, atol=2e-4)  # not a sixteenth of it
    (tmp_path / "p.pgm").write_bytes(b"P5 41 35 65535\n" + (65535 * GREY).astype(">u2").tobytes())
    np.testing.assert_allclose(read(tmp_path / "p.pgm").pixels, GREY, atol=2e-5)


def test_a_profile_is_written_at_every_depth(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for picture in pair(tmp_path, True, photometric="rgb", iccprofile=srgb):
        for ending in (".png", ".tif"):
            write(tmp_path / f"o{ending}", encode(picture, ending))
            again = read(tmp_path / f"o{ending}")
            assert again.profile == srgb and again.depth == picture.depth
            assert np.array_equal(again.pixels, picture.pixels)
            with Image.open(tmp_path / f"o{ending}") as image:
                assert image.info["icc_profile"] == srgb


def test_pages_and_frames_beyond_the_first_are_said(tmp_path, caplog):
    first, *more = (Image.fromarray((255 * np.roll(COLOUR, i, 0)).astype(np.uint8)) for i in range(3))
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {}
        first.save(tmp_path / name, save_all=True, append_images=more, **options)
    with tifffile.TiffWriter(tmp_path / "d.tif") as writer:
        for i in range(3):
            writer.write((65535 * np.roll(COLOUR, i, 0)).astype(np.uint16), photometric="rgb")
    with caplog.at_level(logging.WARNING):
        for name in ("a.gif", "a.webp", "a.png", "a.tif", "d.tif"):
            assert np.abs(read(tmp_path / name).pixels - COLOUR).mean() < 0.05
            assert caplog.messages.pop() == f"{tmp_path / name} holds 3 pages or frames; the first is read"
            caplog.clear()
        first.save(tmp_path / "one.tif")
        read(tmp_path / "one.tif")
    assert not caplog.messages


def test_deep_files_that_are_not_read_say_why(tmp_path):
    deep = (65535 * COLOUR).astype(np.uint16)
    for name, options, values, said in (
        (
            "five.tif",
            {"photometric": "minisblack", "planarconfig": "contig"},
            np.zeros((8, 8, 9), np.uint16),
            "9 samples",
        ),
        ("lab.tif", {"photometric": "cielab"}, deep, r"3 samples of 16 bits a pixel \(8\); give one picture"),
        ("cube.tif", {"photometric": "minisblack", "volumetric": True}, np.zeros((4, 16, 16), np.uint16), "samples"),
    ):
        tifffile.imwrite(tmp_path / name, values, **options)
        with pytest.raises(DataError, match=said):
            read(tmp_path / name)
    tifffile.imwrite(tmp_path / "l.tif", deep, photometric="rgb", rowsperstrip=len(deep))
    with tifffile.TiffFile(tmp_path / "l.tif") as file:
        at = file.pages[0].tags[259].valueoffset
    content = bytearray((tmp_path / "l.tif").read_bytes())
    content[at] = 5
    (tmp_path / "l.tif").write_bytes(content)
    if not _has_imagecodecs():
        with pytest.raises(
            DataError, match=r"l\.tif is compressed by LZW, and 16 bits of 3 channels .* imagecodecs: install"
        ):
            read(tmp_path / "l.tif")
    (tmp_path / "p.ppm").write_bytes(b"P6 41 35 65535\n" + deep.astype(">u2").tobytes())
    with pytest.raises(DataError, match=r"p\.ppm is PPM of 16 bits a channel; convert it to PNG or TIFF"):
        read(tmp_path / "p.ppm")


def _has_imagecodecs():
    from importlib.util import find_spec

    return find_spec("imagecodecs") is not None


@pytest.mark.parametrize(("side", "said"), [(10_000, "10000x10000"), (40_000, "more than 178,956,970")])
@pytest.mark.parametrize("depth", [8, 16])
def test_pictures_beyond_pillows_limit_are_one_sentence(side, said, depth, tmp_path):
    written(tmp_path / "a.png", True, False, depth)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.png claims {said} pixels; it is not decoded, give a smaller one$"):
        read(tmp_path / "a.png")


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
        write(tmp_path / "a.png", b"after")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"]
