"""Small pictures, as files of any kind and in the folders and archives of any layout."""

import io
import zipfile

import numpy as np
from PIL import Image

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

