"""Small pictures for the page: samples side by side, maps of needle density."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

from sparse_plugin.support.files import write

# Pixels between samples, and images in a row.
GAP, ACROSS = 2, 8


def mosaic(images: Any, path: Path) -> None:
    """Write images, (N, 3, H, W) of uint8, as one PNG: eight a row."""
    import numpy as np
    from PIL import Image

    count, _, height, width = images.shape
    rows = -(-count // ACROSS)
    board = np.full((rows * (height + GAP) - GAP, min(count, ACROSS) * (width + GAP) - GAP, 3), 255, np.uint8)
    for place, image in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        top, left = (place // ACROSS) * (height + GAP), (place % ACROSS) * (width + GAP)
        board[top : top + height, left : left + width] = image
    write(path, _png(Image.fromarray(board)))


def density_map(values: Any, side: int = 192) -> str:
    """A map of needle density, rows of values from 0 to 1, as a data URI; brighter is denser."""
    import numpy as np
    from matplotlib import colormaps
    from PIL import Image

    from sparse_plugin.support.plot_style import MAP

    board = np.atleast_2d(np.asarray(values, float))
    painted = Image.fromarray((255 * colormaps[MAP](board)[..., :3]).astype(np.uint8))
    return data_uri(_png(painted.resize((side, round(side * board.shape[0] / board.shape[1])), Image.Resampling.NEAREST)))


def data_uri(picture: bytes, kind: str = "png") -> str:
    """A picture inside a page."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")


def _png(image: Any) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def newest(folder: Path, target: Path) -> None:
    """Write the latest picture below a folder as PNG, of at most 640 pixels; nothing where there is none, or one is there already."""
    from PIL import Image

    found = [path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg") and path.is_file()]
    for path in sorted(found, key=lambda each: each.stat().st_mtime_ns, reverse=True)[:1]:
        if target.exists() and target.stat().st_mtime_ns >= path.stat().st_mtime_ns:
            return
        try:
            picture = Image.open(path).convert("RGB")
        except (OSError, Image.DecompressionBombError):  # it is none, half of one, or too large for one
            return
        picture.thumbnail((640, 640))
        write(target, _png(picture))
