"""The features of Inception-v3, which FID and IS are defined on."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from sparse_plugin.metrics.extractor import Extractor, Features, Weights
from sparse_plugin.support.optional import need

# weights-inception-2015-12-05-6726825d.pth of torch-fidelity 0.2 to 0.4, and pt_inception-2015-12-05-6726825d.pth of
# pytorch-fid: TensorFlow's network of 2015-12-05.
WEIGHTS = Weights(
    "the Inception weights of FID and IS",
    "weights-inception-2015-12-05-6726825d.pth of torch-fidelity",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "SPARSE_PLUGIN_INCEPTION",
)


class Inception(Extractor):
    """TensorFlow's Inception-v3 of 2015-12-05 as torch-fidelity has it: 2,048 features, and logits without biases for IS.

    path: a file that was verified; it is a pickle. Images are scaled to 299x299 as TensorFlow 1
    does, bilinear without antialiasing. Raises ConfigError where torch-fidelity is not installed.
    """

    dimensions = 2048
    weights = WEIGHTS
    protocol = (
        f"Inception-v3 of 2015-12-05 (weights sha256 {WEIGHTS.sha256}) by torch-fidelity, images scaled to 299x299, "
        "bilinear as TensorFlow 1 does, 2048 features"
    )

    def __init__(self, path: Path) -> None:
        super().__init__()
        need("FID", "metrics", "torch_fidelity")
        from torch_fidelity import FeatureExtractorInceptionV3

        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
        )

    def forward(self, images: Tensor) -> Features:
        """The features and logits of a batch."""
        features, logits = self.network(images)
        return features, logits
