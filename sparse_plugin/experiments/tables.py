"""The paper's four tables, and those that answer what it left open."""

from __future__ import annotations

from typing import Any

from sparse_plugin.experiments.experiment import RESTORATIONS, Experiment, gan_table
from sparse_plugin.experiments.paper import METHODS, TABLES, PaperTable

TABLE1 = gan_table(
    "table1",
    TABLES["table1"],
    "Table 1: FID of the nine GANs on CIFAR-10; without Inception's weights, FD-lite0 and KID-lite0.",
)
TABLE2 = gan_table(
    "table2",
    TABLES["table2"],
    "Table 2: IS of BigGAN and DiffCRBigGAN; without Inception's weights, FD-lite0 and KID-lite0.",
)
TABLE3 = gan_table("table3", TABLES["table3"], "Table 3: BigGAN and DiffCRBigGAN on 20 and 10 per cent of CIFAR-10.")


def _denoise(out: str, **options: Any) -> tuple[str, int]:
    from sparse_plugin.experiments.table4 import run_table4

    return run_table4(out, **options)


TABLE4 = Experiment(
    "table4",
    "Table 4: denoising by Deep Image Prior, σ = 25, best PSNR of the single and the averaged output.\n\n"
    "The same command again skips finished runs and resumes others.",
    RESTORATIONS,
    _denoise,
)

AUTOENCODER = gan_table(
    "autoencoder",
    PaperTable(0, "CIFAR-10, a variational autoencoder", "FID", ("vae",), (*METHODS, "l0_inf@first:k=0.25"), (1.0,), {}),
    "A convolutional VAE: reconstruction and samples, with sparsity at Γ of its decoder, and of its latent code.",
)
