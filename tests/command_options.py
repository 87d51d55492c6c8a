"""Commands called with options, and what tells whether an option did something."""

import numpy as np
from click.testing import CliRunner
from PIL import Image

from sparse_plugin.commands.cli import cli


def call(*args, code=0):
    done = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert done.exit_code == code, (args, done.output, done.exception)
    return done.output


def images(folder, count=12, side=32, seed=0):
    """A folder of two classes."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        path = folder / ("a", "b")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return folder

# (options, the entry of config.json and its value); the weights, too, come out as others.
TRAIN = {
    "width": (["--width", 0.125], "width", 0.125),
    "batch": (["--batch", 6], "batch", 6),
    "accumulation": (["--accumulation", 2], "accumulation", 2),
    "steps": (["--steps", 3], "steps", 3),
    "seed": (["--seed", 1], "seed", 1),
    "precision": (["--precision", "bfloat16"], "precision", "bfloat16"),
    "fraction": (["--fraction", 0.5], "data.images", 6),
    "sparse": (["--sparse", "l0_inf"], "sparse.regularizer", "l0_inf"),
    "assignments": (["--sparse", "l0", "--set", "sparse.k=0.03"], "sparse.k", 0.03),
    "size": (["--size", 64, "--resize"], "size", 64),
}


def found(arguments, name):
    """An argument, or what a Source, a GeneratorSpec or a SparsityConfig among them says."""
    for value in arguments.values():
        if hasattr(value, name) and type(value).__name__ in ("Source", "GeneratorSpec", "SparsityConfig"):
            return getattr(value, name)
    return arguments.get(name)

