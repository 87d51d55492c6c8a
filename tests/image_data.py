"""Sets of images as files, for several test files."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

CLASSES = ("cat", "dog", "newt")


def png(image, format="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def write_zip(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return str(path)


def stylegan(files, **more):
    """The same images under names without classes, and their dataset.json."""
    listed = {f"00000/img{i:08}.png": content for i, content in enumerate(files.values())}
    pairs = [[name, CLASSES.index(old.split("/")[0])] for name, old in zip(listed, files, strict=True)]
    return {**listed, "dataset.json": json.dumps({"labels": pairs, **more}).encode()}


def parquet(path, files, column="image", names=CLASSES, label="label"):
    pyarrow, files_of = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {
            column: [{"bytes": content, "path": name} for name, content in files.items()],
            label: [CLASSES.index(name.split("/")[0]) for name in files],
        }
    )
    if names:
        features = {column: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    files_of.write_table(table, path, row_group_size=7)
    return str(path)


GOOD = png(np.zeros((8, 8, 3), np.uint8))
NOISE = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
TRUNCATED, NOISE_JPEG = png(NOISE)[:-60], png(NOISE, "JPEG")
