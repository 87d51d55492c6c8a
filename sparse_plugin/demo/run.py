"""`sparse-plugin demo`: train twice, look at both generators, write the page and the picture."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from sparse_plugin.demo.training import Training, train
from sparse_plugin.errors import ConfigError
from sparse_plugin.support.console import say
from sparse_plugin.support.files import make_folder, write
from sparse_plugin.support.version import __version__

PAGE, PICTURE, MARK = "index.html", "demo.png", "demo.json"
SCRIPT = Path(__file__).with_name("train.py")

# What the training script and the page import, beyond the plugin's own requirements.
NEEDED = ("torch_mimicry", "torchvision", "tensorboard", "skimage", "matplotlib", "jinja2", "PIL")


def make_demo(steps: int, folder: str, *, width: int = 32, flags: Sequence[str] = ()) -> str:
    """Train mimicry's SNGAN-32 twice for so many steps, without and with l0_inf, and compare them on a page in folder.

    width: channels of both nets; a quarter of them is kept in every needle. flags: more for the training script.
    Returns a sentence that says where the page is. A folder that holds a demo is left as it is, and the next free
    number is put behind its name. Raises ConfigError for a folder that holds anything else, or where a package is
    missing, and TrainingError where a run fails.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the demo needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed; "
            "run `pip install 'sparse-plugin[demo]'` and `pip install --no-deps torch_mimicry`"
        )
    place = _place(folder)
    script = (SCRIPT.name, "--steps", str(steps), "--width", str(width), *flags)
    vanilla = Training("vanilla", 1.0, script)
    sparse = Training("l0_inf", max(1, width // 4), script)
    make_folder(place)
    made = {"sparse_plugin": __version__, "steps": steps, "commands": [vanilla.command, sparse.command]}
    write(place / MARK, json.dumps(made, indent=1) + "\n")
    write(place / SCRIPT.name, SCRIPT.read_bytes())
    train((vanilla, sparse), steps, place)
    say("both runs are done; sampling the generators and drawing the page, some ten seconds")

    from sparse_plugin.demo import page

    html, picture = page.make(vanilla, sparse, steps, width, place)
    write(place / PICTURE, picture)
    write(place / PAGE, html)
    return f"The page is {place / PAGE}, the picture {place / PICTURE}."


def _place(folder: str) -> Path:
    """Where this demo goes: folder, or the next number behind its name where it holds a demo."""
    wanted = place = Path(folder)
    number = 1
    while (place / MARK).is_file():
        number += 1
        place = wanted.with_name(f"{wanted.name}-{number}")
    if place.exists() and not place.is_dir():
        raise ConfigError(f"{place} is a file; name a folder, as in `sparse-plugin demo --out demo`")
    if place.is_dir() and any(place.iterdir()):
        raise ConfigError(
            f"the folder {place} holds something that is no demo; name a new or an empty one with --out, nothing is written over"
        )
    if place != wanted:
        say(f"{wanted} holds an earlier demo, which stays; this one goes to {place}")
    return place
