"""How well an autoencoder gives images back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparse_plugin.data.images import to_uint8
from sparse_plugin.gans.gan import gan

if TYPE_CHECKING:
    from sparse_plugin.data import Images
    from sparse_plugin.gans.trained import TrainedGenerator
    from sparse_plugin.metrics import Evaluator, Score

# Stands behind the names of distances of reconstructions; of the peak signal-to-noise ratio it is part of the name.
RECONSTRUCTION = "reconstruction"
PSNR = f"PSNR {RECONSTRUCTION}"
_BATCH = 100


def scores_of_reconstructions(trained: TrainedGenerator, evaluator: Evaluator, real: Images) -> dict[str, Score]:
    """The mean PSNR of reconstructed images in dB, and the distances that are measured at every step, to the images themselves.

    {} of a generator that reconstructs nothing. real: the images, all of which are given back.
    """
    from sparse_plugin.metrics import Score

    if gan(trained.recipe.arch).reconstruct is None:
        return {}
    back = torch.cat([_reconstructed(trained, batch) for batch in torch.split(real.images, _BATCH)])
    error = (back.double() - real.images.double()).square().flatten(1).mean(1)
    # An image that comes back exactly counts as one with an error of half a grey level in a single value.
    least = 0.25 / real.images[0].numel()
    psnr = Score(float((10 * (255.0**2 / error.clamp(min=least)).log10()).mean()))
    return {PSNR: psnr, **evaluator.score_against(back, {RECONSTRUCTION: real}, evaluator.over_steps)}


@torch.no_grad()
def _reconstructed(trained: TrainedGenerator, images: Tensor) -> Tensor:
    reconstruct, low = gan(trained.recipe.arch).reconstruct, trained.recipe.low
    assert reconstruct is not None
    scaled = images.to(trained.device, torch.float32).mul_((1 - low) / 255).add_(low)
    return to_uint8(reconstruct(trained.generator, scaled), low).cpu()
