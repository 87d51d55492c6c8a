"""MSGAN: cGAN with mode seeking (Mao et al. 2019)."""

from __future__ import annotations

from dataclasses import replace

from sparse_plugin.gans.cgan import CGAN
from sparse_plugin.gans.dcgan import networks
from sparse_plugin.gans.gan import Gan

MSGAN = replace(
    CGAN,
    arch="msgan",
    title="MSGAN",
    source="HelenMao/MSGAN DCGAN-Mode-Seeking: options.py, model.py",
    mode_seeking=1.0,
)

GAN = Gan(recipes=(MSGAN,), networks=networks, small=(0.5, 3000))
