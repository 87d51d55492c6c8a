"""Pictures and small networks for the tests of restoration."""

from importlib.resources import files

import numpy as np
from PIL import Image

# A network of three scales whose iterations take a few hundredths of a second.
SMALL = {"width": 1 / 16, "scales": 3, "progress": False}


def photograph(width=41, height=35, grey=False):
    """A part of a photograph that lies in scikit-image's package, float32 in [0, 1]."""
    with files("skimage.data").joinpath("astronaut.png").open("rb") as file:
        image = Image.open(file).convert("L" if grey else "RGB").crop((100, 0, 356, 256))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), np.float32) / 255
