"""SSGAN*: self-supervision by rotations, as a multi-class minimax game (Tran et al. 2019), on Dist-GAN (Tran et al. 2018).

D also classifies which of four rotations an image was turned by, generated images being a fifth class; G seeks that its
rotated images are classified as well as real ones. An encoder E makes reconstructions G(E(x)), which D takes as real to a
small share. Formulas follow tntrung/msgan msdistgan.py (hinge loss, ResNet, --ss_task=2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse_plugin.gans import losses
from sparse_plugin.gans.blocks import BatchNorm, DiscriminatorBlock, Layers, average, scaled, xavier
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.objectives import Batch, Networks, Objective, Role, Update, noise
from sparse_plugin.gans.recipes import MultiClassMinimax, Recipe
from sparse_plugin.gans.resnet import ResNetDiscriminator, ResNetGenerator

SSGAN = Recipe(
    arch="ssgan",
    title="SSGAN*",
    source="tntrung/msgan msdistgan_cifar.py --nnet_type=resnet --loss_type=hinge --ss_task=2",
    channels=256,
    noise="uniform",
    low=0,
    minimax=MultiClassMinimax(),
    betas=(0.0, 0.9),
    schedule="late",
    steps=300_000,
    batch_statistics=True,
)

# Classes 0 to 3 are the rotations by 0, 90, 180, 270 degrees; class 4 is generated.
ROTATIONS = 4


class RotationDiscriminator(ResNetDiscriminator):
    """Returns the logit, the last map flattened, and the five logits of the classification."""

    def __init__(self, channels: list[int], layers: Layers) -> None:
        def strided(channels: int) -> nn.Module:
            return layers.conv(channels, channels, 1, 2)

        super().__init__(channels, 2, layers, wide=True, halve=strided)
        self.classify = layers.linear(64 * channels[-1], ROTATIONS + 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """images: (N, 3, 32, 32) in [0, 1]. Returns (N,), (N, 64 C), (N, 5)."""
        h = self.features(images)
        return self.linear(h.sum((2, 3)))[:, 0], h.flatten(1), self.classify(h.flatten(1))


class Encoder(nn.Module):
    """Images (N, 3, 32, 32) to what should be their noise (N, Z)."""

    def __init__(self, channels: int, z: int, layers: Layers) -> None:
        super().__init__()

        def block() -> nn.Module:
            return DiscriminatorBlock(channels, channels, channels, layers, halve=average, norm=BatchNorm, slope=0.2)

        self.blocks = nn.Sequential(layers.conv(3, channels), block(), block(), block())
        self.norm = nn.BatchNorm2d(channels)
        self.linear = layers.linear(16 * channels, z)

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, 3, 32, 32) in [0, 1]. Returns (N, Z)."""
        z: Tensor = self.linear(F.leaky_relu(self.norm(self.blocks(images)), 0.2).flatten(1))
        return z


def networks(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The networks of SSGAN*: G, D, E. No spectral normalisation anywhere."""
    del classes
    layers = Layers(lambda weight, gain: xavier(weight, 1.0), zero_bias=True)
    channels, half = scaled(recipe.channels, width), scaled(recipe.channels / 2, width)
    generator = ResNetGenerator(recipe.z, [channels] * 4, BatchNorm, layers, sigmoid=True)
    return generator, RotationDiscriminator([3, *[half] * 4], layers), Encoder(channels, recipe.z, layers)


def rotated(images: Tensor) -> Tensor:
    """All images turned by 0, then all by 90, 180 and 270 degrees: (4N, C, S, S) of (N, C, S, S)."""
    return torch.cat([images.rot90(k, (2, 3)) for k in range(ROTATIONS)])


class MultiClassObjective(Objective):
    """E, then D, then G, each on a fresh batch. Where a formula has σ(D) in it, so has the released code."""

    @property
    def updates(self) -> tuple[Update, ...]:
        """One update each."""
        return Update("encoder", 0, 0), Update("discriminator", 1, 1), Update("generator", 2, 2)

    def terms(self, role: Role, networks: Networks, real: Batch, progress: float) -> dict[str, Tensor]:
        """The weighted terms, by name, whose sum role minimises. progress: the share of all steps done, in [0, 1)."""
        z = noise(self.recipe, len(real.images), real.images.device)
        if role == "encoder":
            return self._encoder_terms(networks, real.images, z)
        if role == "discriminator":
            return self._discriminator_terms(networks, real.images, z, progress)
        return self._generator_terms(networks, real.images, z)

    def _encoder_terms(self, networks: Networks, real: Tensor, z: Tensor) -> dict[str, Tensor]:
        """E (f(x) - f(x̂))², and λ_r (E[f(x̂) - f(G(z))] - λ_w E[E(x) - z])², λ_w² = dim z / dim f; f: D's last map."""
        assert networks.encoder is not None and self.recipe.minimax is not None
        with torch.no_grad():
            found, fake = (networks.discriminator(x)[1].float() for x in (real, networks.generator(z)))
        encoded = networks.encoder(real)
        again = networks.discriminator(networks.generator(encoded))[1].float()
        scale = (z.shape[1] / found.shape[1]) ** 0.5
        distance = again.mean() - fake.mean() - scale * (encoded.float() - z).mean()
        return {
            "reconstruction": (found - again).square().mean(),
            "latent": self.recipe.minimax.latent * distance.square(),
        }

    def _discriminator_terms(self, networks: Networks, real: Tensor, z: Tensor, progress: float) -> dict[str, Tensor]:
        """Hinge losses of σ(D), the classification of rotations and of generated images, and the gradient penalty.

        The penalty's sign is that of the released code, which subtracts it. With the root of the *mean* square over pixels
        as the norm, slopes are far below 1, and subtracting E (s - 1)² draws them towards 0; adding it would draw every
        gradient up to an Euclidean norm of 55.
        """
        assert networks.encoder is not None and self.recipe.minimax is not None
        weights = self.recipe.minimax
        with torch.no_grad():
            fake, again = networks.generator(z), networks.generator(networks.encoder(real))
        logit, _, _ = networks.discriminator(real)
        fake_logit, _, _ = networks.discriminator(fake)
        again_logit, _, _ = networks.discriminator(again)
        # μ rises from 0 to the reconstructed share between the middle and the end of training.
        share = max(0.0, weights.reconstructed - max(0.0, 0.2 * progress - 0.1))
        hinge = (
            (1 - share) * F.relu(1 - logit.float().sigmoid()).mean()
            + share * F.relu(1 - again_logit.float().sigmoid()).mean()
            + F.relu(1 + fake_logit.float().sigmoid()).mean()
        )
        norms = losses.gradient_norms(lambda x: networks.discriminator(x)[0], real, fake, mean=True)
        return {
            "adversarial": hinge,
            "classification": weights.discriminator * self._mixed(networks, real, fake),
            "gradient_penalty": -weights.penalty * losses.gradient_penalty(norms),
        }

    def _mixed(self, networks: Networks, real: Tensor, fake: Tensor) -> Tensor:
        """The cross entropy of N images out of the 4N rotated real ones and the N generated ones."""
        n = len(real)
        chosen = torch.randperm((ROTATIONS + 1) * n, device=real.device)[:n]
        _, _, classes = networks.discriminator(torch.cat((rotated(real), fake))[chosen])
        return F.cross_entropy(classes.float(), chosen // n)

    def _generator_terms(self, networks: Networks, real: Tensor, z: Tensor) -> dict[str, Tensor]:
        """|E σ(D(x)) - E σ(D(G(z)))|, and λ_g |CE of rotated fakes - CE of rotated real images|, turned alike."""
        assert self.recipe.minimax is not None
        fake, n = networks.generator(z), len(real)
        chosen = torch.randperm(ROTATIONS * n, device=real.device)[:n]
        with torch.no_grad():
            logit, _, _ = networks.discriminator(real)
            _, _, classes = networks.discriminator(rotated(real)[chosen])
            level = F.cross_entropy(classes.float(), chosen // n)
        fake_logit, _, _ = networks.discriminator(fake)
        _, _, classes = networks.discriminator(rotated(fake)[chosen])
        difference = F.cross_entropy(classes.float(), chosen // n) - level
        return {
            "adversarial": (logit.float().sigmoid() - fake_logit.float().sigmoid()).mean().abs(),
            "classification": self.recipe.minimax.generator * difference.abs(),
        }


GAN = Gan(recipes=(SSGAN,), networks=networks, objective=MultiClassObjective)
