"""Features of many images, and the real images' features kept on disk."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from torch import Tensor

from sparse_plugin.data import Images
from sparse_plugin.errors import ConfigError, OutputError
from sparse_plugin.metrics.extractor import Extractor, Features
from sparse_plugin.support.cache import directory
from sparse_plugin.support.files import make_folder, writing
from sparse_plugin.support.progress import track

log = logging.getLogger("sparse_plugin")

# Of the stored files; a change of what is computed, without a change of the extractor's protocol, changes it.
VERSION = 1


def extract(extractor: Extractor, images: Tensor, what: str = "features") -> Features:
    """The features and logits of all images, (N, 3, H, W), uint8: on the CPU, float32. what: the progress bar's name.

    Raises ConfigError where there are not as many features an image as the extractor says.
    """
    device = next((parameter.device for parameter in extractor.parameters()), torch.device("cpu"))
    size = extractor.batch if device.type == "cpu" else 256
    parts: list[Features] = []
    with torch.inference_mode():
        for batch in track(torch.split(images, size), what, len(images), size):
            features, logits = extractor(batch.to(device))
            if tuple(features.shape) != (len(batch), extractor.dimensions):
                raise ConfigError(
                    f"{type(extractor).__name__} makes features {tuple(features.shape)} of {len(batch)} images, and its "
                    f"class says {extractor.dimensions} dimensions; return (N, dimensions)"
                )
            parts.append((features.float().cpu(), None if logits is None else logits.cpu()))
    logits = [part for _, part in parts if part is not None]
    return torch.cat([part for part, _ in parts]), torch.cat(logits) if logits else None


def of_real(extractor: Extractor, real: Images, cache: Path | None = None) -> Tensor:
    """The features of real images, (N, dimensions), from disk where they were computed before.

    A file is found by a digest of the images' pixels, the extractor's protocol, weights included, and VERSION. cache: the
    folder; by default `features` in $SPARSE_PLUGIN_CACHE, else in sparse_plugin of the user's cache. A file that is
    damaged is written anew, and a folder that cannot be written is said and done without.
    """
    key = hashlib.sha256(f"{VERSION}\n{extractor.protocol}\n{real.fingerprint}".encode()).hexdigest()
    folder = directory() / "features" if cache is None else cache
    path = folder / f"{key[:32]}.pt"
    stored = _stored(path, (len(real), extractor.dimensions))
    if stored is not None:
        return stored
    features, _ = extract(extractor, real.images, f"features of {real.name}")
    try:
        make_folder(folder)
        with writing(path, also=(RuntimeError,)) as file:
            torch.save({"features": features, "of": real.name, "by": extractor.protocol}, file)
    except OutputError as error:
        log.warning("the features of %s cannot be kept in %s: %s", real.name, folder, error)
    return features


def _stored(path: Path, shape: tuple[int, int]) -> Tensor | None:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)["features"]
    except Exception:  # the reader may raise anything over a damaged file
        return None
    return found if isinstance(found, Tensor) and found.shape == shape and found.dtype == torch.float32 else None
