"""The k and λ that each network's regularizers take where nobody says."""

from __future__ import annotations

from typing import Any

from sparse_plugin.config import SparsityConfig

# By architecture, "" for all others, and regularizer; docs/results.md has the sweeps that found them: of a DCGAN for all
# GANs, of denoising for Deep Image Prior.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "deep_image_prior": {"l0": {"k": 0.25}, "l0_inf": {"k": 0.1}},
    "": {"l0": {"k": 0.25}, "l0_inf": {"k": 0.25}, "ml_csc": {"k": 0.25}, "l1": {"weight": 10.0}},
}


def settings(arch: str, regularizer: str) -> dict[str, Any]:
    """The settings of a regularizer for an architecture, or "deep_image_prior"; {} for one that has none of ours."""
    return dict(SETTINGS.get(arch, SETTINGS[""]).get(regularizer, {}))


def with_defaults(sparse: SparsityConfig, arch: str) -> SparsityConfig:
    """sparse, with the settings of `settings` where it names a regularizer and none of its settings."""
    found = {} if sparse.settings else settings(arch, str(sparse.regularizer))
    return SparsityConfig.from_mapping({**sparse.flat(), **found}) if found else sparse
