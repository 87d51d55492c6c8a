"""The official hyperparameters of the nine GANs, as named recipes. Where the released codes differ, the source says which
one was taken.

Batch sizes, steps and learning rates are those of the sources for CIFAR-10 (32 pixels), CelebA or ImageNet (64, 128).
A step is one update of the generator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sparse_plugin.errors import ConfigError, one_of

# Images of CIFAR-10's training set, by which its sources count epochs.
CIFAR10 = 50_000


@dataclass(frozen=True)
class MultiClassMinimax:
    """The weights of SSGAN*'s losses (see `ssgan`).

    discriminator, generator: of the classification of rotations; penalty: of the gradient penalty; reconstructed: the
    share of reconstructed images among those taken as real, in the first half of training; latent: of the data-latent
    distance in the encoder's loss.
    """

    discriminator: float = 0.5
    generator: float = 0.1
    penalty: float = 0.5
    reconstructed: float = 0.05
    latent: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How one GAN is trained on images of one size.

    arch, title: the name to ask for, and the one in the paper's tables. source: where the numbers come from. channels: the
    network's base width at width 1. z, noise: dimensions and distribution of the noise, N(0, 1) or U(-1, 1). conditional:
    whether G and D take class labels. low: images lie in [low, 1], -1 behind tanh and 0 behind a sigmoid.

    loss: of D's logits. gradient_penalty, mode_seeking, consistency: the weights of these terms, 0 for none. augment,
    consistency_augment: policies of `augment`. minimax: the weights of SSGAN*'s game, which has losses of its own.

    batch: images in an update of D, over all processes and accumulated passes. accumulation: passes to one update.
    discriminator_steps: updates of D to one of G. shared_fakes: D and G are updated on the same batch and the same fakes,
    of one forward pass of G. joint: real and generated images pass through D as one batch. flips: horizontal, at random.

    lr_generator, lr_discriminator, betas, eps, weight_decay: of Adam. schedule: of the learning rate after the share t of
    all steps, "constant", "linear" (1 - t), or "late" (min(1 - t, 1/2)). ema, ema_start: decay of the averaged generator, 0
    for none, and the step at which averaging begins. batch_statistics: samples are normalised by their own batch, as
    where the released code evaluates without switching G to evaluation mode.
    """

    arch: str
    title: str
    source: str
    channels: int
    steps: int
    size: int = 32
    z: int = 128
    noise: Literal["normal", "uniform"] = "normal"
    conditional: bool = False
    low: Literal[-1, 0] = -1
    loss: Literal["bce", "hinge", "wasserstein"] = "hinge"
    gradient_penalty: float = 0.0
    mode_seeking: float = 0.0
    consistency: float = 0.0
    augment: tuple[str, ...] = ()
    consistency_augment: tuple[str, ...] = ()
    minimax: MultiClassMinimax | None = None
    batch: int = 64
    accumulation: int = 1
    discriminator_steps: int = 1
    shared_fakes: bool = False
    joint: bool = False
    flips: bool = False
    lr_generator: float = 2e-4
    lr_discriminator: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "late"] = "constant"
    ema: float = 0.0
    ema_start: int = 0
    batch_statistics: bool = False

    def rate(self, step: int, steps: int) -> float:
        """The factor of the learning rate in a step, the first of which is 0."""
        left = 1 - step / steps
        return {"constant": 1.0, "linear": left, "late": min(left, 0.5)}[self.schedule]


DCGAN = Recipe(
    arch="dcgan",
    title="DCGAN",
    # The paper's appendix A shows a head of 128 atoms of 4x4x3, which among the released codes only HelenMao/MSGAN's
    # network has; rates, loss and one shared forward pass are those of pytorch/examples dcgan/main.py. 200 epochs as
    # csinva's port of it to CIFAR-10.
    source="HelenMao/MSGAN DCGAN-Mode-Seeking/networks.py without labels; pytorch/examples dcgan/main.py",
    channels=128,
    z=100,
    loss="bce",
    shared_fakes=True,
    steps=200 * (CIFAR10 // 64),
)

CGAN = Recipe(
    arch="cgan",
    title="cGAN",
    # The conditional DCGAN that mode seeking is measured against: the same code without its term.
    source="HelenMao/MSGAN DCGAN-Mode-Seeking, without the mode-seeking term",
    channels=128,
    z=100,
    conditional=True,
    loss="bce",
    batch=32,
    shared_fakes=True,
    weight_decay=1e-4,
    steps=200 * (CIFAR10 // 32),
)

MSGAN = replace(
    CGAN,
    arch="msgan",
    title="MSGAN",
    source="HelenMao/MSGAN DCGAN-Mode-Seeking: options.py, model.py",
    mode_seeking=1.0,
)

WGAN_GP = Recipe(
    arch="wgan_gp",
    title="WGAN-GP",
    # The authors' unconditional CIFAR-10 script. Their ResNet script is conditional by default (AC-GAN), and the ports of
    # it are other networks; this one has the head of the paper's appendix A up to its 5x5 kernel, and is the cheapest.
    source="igul222/improved_wgan_training gan_cifar.py",
    channels=128,
    loss="wasserstein",
    gradient_penalty=10.0,
    discriminator_steps=5,
    lr_generator=1e-4,
    lr_discriminator=1e-4,
    betas=(0.5, 0.9),
    steps=200_000,
    batch_statistics=True,
)

SNGAN = Recipe(
    arch="sngan",
    title="SNGAN",
    source="kwotsin/mimicry: README, nets/sngan/sngan_32.py",
    channels=256,
    discriminator_steps=5,
    betas=(0.0, 0.9),
    schedule="linear",
    steps=100_000,
)

SAGAN = Recipe(
    arch="sagan",
    title="SAGAN",
    # mimicry has the network at this size but no hyperparameters for it; StudioGAN has both, the same ResNet.
    source="kwotsin/mimicry nets/sagan/sagan_32.py; POSTECH-CVLab/PyTorch-StudioGAN configs/CIFAR10/SAGAN.yaml",
    channels=256,
    conditional=True,
    discriminator_steps=5,
    eps=1e-6,
    flips=True,
    steps=100_000,
)

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

BIGGAN = Recipe(
    arch="biggan",
    title="BigGAN",
    source="ajbrock/BigGAN-PyTorch scripts/launch_cifar_ema.sh",
    channels=64,
    conditional=True,
    batch=50,
    discriminator_steps=4,
    joint=True,
    betas=(0.0, 0.999),
    ema=0.9999,
    ema_start=1000,
    batch_statistics=True,
    steps=500 * CIFAR10 // (50 * 4),
)

DIFFCRBIGGAN = replace(
    BIGGAN,
    arch="diffcrbiggan",
    title="DiffCRBigGAN",
    source="mit-han-lab/data-efficient-gans DiffAugment-biggan-cifar/scripts/DiffAugment-cr-biggan-cifar10.sh",
    augment=("cutout",),
    consistency=10.0,
    consistency_augment=("flip", "translation"),
    flips=True,
    steps=1000 * CIFAR10 // (50 * 4),
)

SIZES = (
    replace(
        DCGAN,
        size=64,
        # The script itself, whose network is for 64 pixels. Its 25 epochs are of a data set it leaves open.
        source="pytorch/examples dcgan/main.py",
        channels=64,
        steps=100_000,
    ),
    replace(DCGAN, size=128, source="pytorch/examples dcgan/main.py, one stage more", channels=64, steps=100_000),
    replace(SNGAN, size=64, source="kwotsin/mimicry: README (CelebA), nets/sngan/sngan_64.py", channels=1024),
    replace(
        SNGAN,
        size=128,
        source="kwotsin/mimicry: README (CelebA), nets/sngan/sngan_128.py",
        channels=1024,
        discriminator_steps=2,
        schedule="constant",
    ),
    replace(
        SAGAN,
        size=64,
        # No released ResNet has this size: mimicry's SNGAN-64 with attention at 32x32, as its SAGAN-128.
        source="kwotsin/mimicry nets/sagan/sagan_128.py, one block less; heykeetae/Self-Attention-GAN parameter.py",
        channels=1024,
        discriminator_steps=1,
        lr_generator=1e-4,
        lr_discriminator=4e-4,
        betas=(0.0, 0.9),
        eps=1e-8,
        steps=1_000_000,
    ),
    replace(
        SAGAN,
        size=128,
        source="kwotsin/mimicry nets/sagan/sagan_128.py; POSTECH-CVLab/PyTorch-StudioGAN configs/ImageNet/SAGAN.yaml",
        channels=1024,
        batch=256,
        discriminator_steps=1,
        lr_generator=1e-4,
        lr_discriminator=4e-4,
        betas=(0.0, 0.999),
        steps=1_000_000,
    ),
    *(
        replace(
            BIGGAN,
            size=size,
            # Hierarchical noise and a shared embedding, as everywhere but on CIFAR. The script is for 128 pixels.
            source="ajbrock/BigGAN-PyTorch scripts/launch_BigGAN_bs256x8.sh",
            channels=96,
            z=120,
            batch=2048,
            accumulation=8,
            discriminator_steps=1,
            lr_generator=1e-4,
            lr_discriminator=4e-4,
            eps=1e-6,
            ema_start=20_000,
            batch_statistics=False,
            steps=150_000,
        )
        for size in (64, 128)
    ),
)

_ALL = {(r.arch, r.size): r for r in (DCGAN, CGAN, WGAN_GP, MSGAN, SNGAN, SAGAN, SSGAN, BIGGAN, DIFFCRBIGGAN, *SIZES)}
ARCHITECTURES = tuple(dict.fromkeys(arch for arch, _ in _ALL))


def recipe(arch: str, size: int = 32, fraction: float = 1.0) -> Recipe:
    """The recipe of an architecture for images of size x size pixels.

    fraction: the share of CIFAR-10 that there is, in (0, 1]. Below 1, BigGAN and DiffCRBigGAN take their limited-data
    recipes, which run 5000 epochs: the scripts *-cifar10-0.2.sh and *-cifar10-0.1.sh of mit-han-lab/data-efficient-gans.
    Raises ConfigError for what there is not, with what there is.
    """
    if arch not in ARCHITECTURES:
        raise ConfigError(one_of("architecture", arch, ARCHITECTURES))
    if (arch, size) not in _ALL:
        there = [str(s) for a, s in _ALL if a == arch]
        others = ", ".join(a for a in ARCHITECTURES if (a, size) in _ALL)
        raise ConfigError(
            f"{arch} is there for {' and '.join(there)} pixels, and {size} were asked for"
            + (f"; {others} are there for {size}" if others else "; sizes are 32, 64 and 128")
        )
    found = _ALL[arch, size]
    if fraction < 1 and size == 32 and arch in ("biggan", "diffcrbiggan"):
        kind = "DiffAugment-cr-biggan" if arch == "diffcrbiggan" else "biggan"
        found = replace(
            found,
            source=f"mit-han-lab/data-efficient-gans DiffAugment-biggan-cifar/scripts/{kind}-cifar10-0.*.sh",
            flips=True,
            steps=max(1, round(5000 * CIFAR10 * fraction / (50 * 4))),
        )
        if found.consistency:  # against the real batch as it is
            found = replace(found, augment=("translation", "cutout"), consistency_augment=())
    return found
