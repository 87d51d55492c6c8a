"""The extractors that are registered in torch-fidelity (`torch_fidelity.register_feature_extractor`): its own, CLIP and
DINOv2 among them, and those that users register there. Their weights are given; nothing is downloaded.
"""

from __future__ import annotations

import inspect
import pickle
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.errors import ConfigError
from sparse_plugin.metrics import dinov2
from sparse_plugin.metrics.extractor import Extractor, Features, Weights, hash_of
from sparse_plugin.support.files import reason

# Ours, of the same network.
_INCEPTION = "inception-v3-compat"


def names() -> list[str]:
    """What is registered in torch-fidelity, but for Inception, sorted."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    return sorted(FEATURE_EXTRACTORS_REGISTRY.keys() - {_INCEPTION})


def registered(name: str) -> type[Extractor]:
    """The class of extractors that measures on what torch-fidelity has under name."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    cls = FEATURE_EXTRACTORS_REGISTRY[name]
    needed = _weights(name) if "feature_extractor_weights_path" in inspect.signature(cls.__init__).parameters else None
    if needed is None:
        return type("Registered", (Registered,), {"name": name, "__init__": lambda self: Registered.__init__(self, None)})
    return type("Registered", (Registered,), {"name": name, "weights": needed})


class Registered(Extractor):
    """An extractor of torch-fidelity on the features that it has for FID.

    path: the file of its weights, which was verified where their hash is known. Raises ConfigError where they are not its
    weights, or hold more than tensors.
    """

    name = ""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        cls = FEATURE_EXTRACTORS_REGISTRY[self.name]
        self.layer = cls.get_default_feature_layer_for_metric("fid")
        if path is None:
            self.network, of = cls(self.name, [self.layer]), ""
        else:
            self.network, of = self._loaded(cls, path), f" (weights sha256 {hash_of(path, self._what)})"
        with torch.inference_mode():
            self.dimensions = int(self.forward(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))[0].shape[1])
        self.protocol = (
            f"{self.name}{of} by torch-fidelity {version('torch-fidelity')}, {self.dimensions} features of its layer {self.layer}"
        )

    @property
    def _what(self) -> str:
        return "the weights" if self.weights is None else self.weights.what

    def _loaded(self, cls: Any, path: Path) -> Any:
        try:
            if self.name in dinov2.NAMES:
                return dinov2.extractor(self.name, path)
            if self.weights is not None and self.weights.sha256 is None:
                torch.load(path, map_location="cpu", weights_only=True)  # theirs would run what a pickle says
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated")  # the form of CLIP's files
                return cls(self.name, [self.layer], feature_extractor_weights_path=str(path))
        except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path} cannot be used as {self._what}: {reason(error)[:200]}; give {self.weights and self.weights.file}"
            ) from None

    def forward(self, images: Tensor) -> Features:
        """The features of a batch."""
        (features,) = self.network(images)
        return features, None


def _weights(name: str) -> Weights:
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS

    what = f"the weights of {name}"
    if name in MODEL_METADATA:
        file = MODEL_URLS[name].rpartition("/")[2]
        return Weights(what, f"{file} of OpenAI's CLIP", MODEL_METADATA[name]["hash"])
    if name in dinov2.NAMES:
        return Weights(what, f"{dinov2.NAMES[name].file} of DINOv2")
    if name == "vgg16":
        return Weights(what, "vgg16-397923af.pth of torchvision")
    return Weights(what, "the file that its class reads")
