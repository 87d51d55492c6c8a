"""diffusers: where Γ is in its autoencoders, whose scripts call `decode` and `encode` and never the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparse_plugin.network.adapters import Adapter

if TYPE_CHECKING:
    from torch import nn


def _last_of_decoder(autoencoder: nn.Module) -> str:
    """The last convolution of a decoder that is one Sequential."""
    from sparse_plugin.network.sites import kernel_owners

    return [path for path, _ in kernel_owners(autoencoder) if path.startswith("decoder.")][-1]


# Defined in diffusers.models.autoencoders, handed on by diffusers.
ADAPTER = Adapter(
    "diffusers",
    {
        "diffusers:AutoencoderKL": "decoder.conv_out",
        "diffusers:AsymmetricAutoencoderKL": "decoder.conv_out",
        "diffusers:VQModel": "decoder.conv_out",
        "diffusers:AutoencoderTiny": _last_of_decoder,
    },
)
