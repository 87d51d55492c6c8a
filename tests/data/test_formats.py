"""A form of data of somebody else's: one file and an entry point."""

import textwrap

import numpy as np
import pytest
from PIL import Image

from sparse_plugin.data import DataError, load
from sparse_plugin.data.format import FORMATS, formats, forms

CODE = """
    from contextlib import contextmanager
    import numpy as np
    from sparse_plugin.data.arrays import Arrays
    from sparse_plugin.data.format import Format, no_columns

    @contextmanager
    def opened(path, asked):
        no_columns(f"{path.name} has", asked)
        closed.append(False)
        images = np.fromfile(path / "pixels" if path.is_dir() else path, np.uint8).reshape(-1, 8, 8, 3)
        yield Arrays(path.name, images, np.arange(len(images)) % 2, ("even", "odd"))
        closed[-1] = True

    closed = []
    RAW = Format.of_files(".raw", opened)
    RECORD = Format(lambda path: (path / "pixels").is_file(), opened, word="a folder of pixels")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    def installed(code=CODE):
        info = tmp_path / "their_formats-4.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-formats\nVersion: 4.2\n")
        (info / "entry_points.txt").write_text("[sparse_plugin.formats]\nraw = their_formats:RAW\nrecord = their_formats:RECORD\n")
        (tmp_path / "their_formats.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(FORMATS, "_installed", None)
        monkeypatch.setattr(FORMATS, "_warned", set())
        monkeypatch.delitem(__import__("sys").modules, "their_formats", raising=False)

    return installed


def test_a_package_adds_formats(install, tmp_path):
    install()
    pixels = np.random.default_rng(0).integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "x.raw").write_bytes(pixels.tobytes())
    record = tmp_path / "record"  # a folder, which the format of any folder would take
    record.mkdir()
    (record / "pixels").write_bytes(pixels.tobytes())
    for path, name in ((tmp_path / "x.raw", "x.raw"), (record, "record")):
        found = load(path, 8)
        assert found.name == name and found.classes == ("even", "odd") and found.labels.tolist() == [0, 1, 0, 1, 0]
        assert np.array_equal(found.images.permute(0, 2, 3, 1).numpy(), pixels)
        assert len(load(str(path), 4, 0.4, resize=True)) == 2
    import their_formats

    assert their_formats.closed == [True] * 4
    with pytest.raises(DataError, match="record has no columns, and 'c' was asked"):
        load(record, 8, label_column="c")
    assert forms() == "cifar10, a folder of pixels, a folder, or a .zip, .npz, .parquet or .raw file"
    (tmp_path / "x.text").write_text("x")
    with pytest.raises(DataError, match="x.text is no data set; the data are cifar10, a folder of pixels, .* or .raw file"):
        load(tmp_path / "x.text")


def test_one_that_is_broken_costs_a_warning(install, tmp_path, caplog):
    install("1 / 0")
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    assert len(load(folder, 8)) == 1
    said = sorted(record.getMessage() for record in caplog.records)
    assert len(said) == 2 and said[0].startswith("format 'raw' from their-formats 4.2 (entry point their_formats:RAW) does not import: Zero")


def test_the_built_in_ones():
    assert forms() == "cifar10, a folder, or a .zip, .npz or .parquet file"
    assert [found.endings for found in formats()][-1] == ()  # the folder is asked last
