"""`Extractor`: a network that turns images into the vectors that distances are measured on; one file each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from sparse_plugin.errors import ConfigError
from sparse_plugin.support.files import sha256

Features = tuple[Tensor, Tensor | None]
Given = Mapping[str, "str | os.PathLike[str]"]


@dataclass(frozen=True)
class Weights:
    """The file of an extractor's weights, which is given and never downloaded.

    what: what they are, for people. file: what the file is called, and who has it. sha256: its hash, told before anything
    reads it; None where any file of the right entries will do. variable: the environment variable that may name it.
    """

    what: str
    file: str
    sha256: str | None = None
    variable: str = ""


class Extractor(nn.Module):
    """A frozen network: images (N, 3, H, W), uint8, of any size -> features (N, dimensions) and logits (N, classes) or
    None, float32. Derive from it, set what is set here, and define `forward`.

    protocol: all that its features depend on, besides the images: for people, and to tell stored features apart.
    batch: how many images at once are fastest on a CPU. weights: the file that its constructor takes as a Path, where
    there is one to be given; else the constructor takes nothing.
    """

    dimensions: int = 0
    protocol: str = ""
    batch: int = 16
    weights: ClassVar[Weights | None] = None

    def forward(self, images: Tensor) -> Features:
        """The features and logits of a batch."""
        raise NotImplementedError


def variable(name: str, weights: Weights) -> str:
    """The environment variable that names the file of an extractor's weights: SPARSE_PLUGIN_WEIGHTS_CLIP_VIT_B_32."""
    return weights.variable or f"SPARSE_PLUGIN_WEIGHTS_{re.sub('[^A-Z0-9]', '_', name.upper())}"


def given(name: str, weights: Weights, files: Given) -> Path | None:
    """The file of an extractor's weights: of files by name, else in its environment variable, else None; its hash is verified.

    Raises ConfigError where it is missing or is another file.
    """
    path = os.fspath(files[name]) if name in files else os.environ.get(variable(name, weights))
    return verified(Path(path).expanduser(), weights) if path else None


def verified(path: Path, weights: Weights) -> Path:
    """The path. Raises ConfigError where the file cannot be read, or has another hash."""
    digest = hash_of(path, weights.what)
    if weights.sha256 is not None and digest != weights.sha256:
        raise ConfigError(
            f"{path} is not {weights.what}: its SHA-256 starts with {digest[:8]}, theirs with {weights.sha256[:8]}; "
            "give the right file, whole"
        )
    return path


def hash_of(path: Path, what: str) -> str:
    """The SHA-256 of a file. Raises ConfigError where it cannot be read; what: it holds."""
    try:
        return sha256(path)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read from {path}: {error.strerror}") from None


def make(name: str, cls: type[Extractor], files: Given, metric: str) -> Extractor:
    """An extractor, for a metric. Raises ConfigError where its weights are to be given and are not, or are other ones."""
    if cls.weights is None:
        return cls()
    path = given(name, cls.weights, files)
    if path is None:
        how = "" if name == "inception" else f" by --weights {name}=FILE"
        raise ConfigError(
            f"{metric} needs {cls.weights.what.partition(' of ')[0]}, which are not downloaded: give their file{how} "
            f"({cls.weights.file}) or set {variable(name, cls.weights)}; FD-lite0 and KID-lite0 need no file"
        )
    return cls(path)
