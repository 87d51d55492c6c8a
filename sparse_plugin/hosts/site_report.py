"""Looking at a generator that can be imported: what `sparse-plugin sites` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparse_plugin.errors import ConfigError, SiteError
from sparse_plugin.hosts.build import build, draw, input_shapes
from sparse_plugin.network import adapters, detection, encoders, sites


def inspect(
    generator: str, arguments: Sequence[str], inputs: Sequence[str], imports: Sequence[str] = ()
) -> dict[str, Any]:
    """Build the class that "module:Class" names, run it, and tell what ran, where Γ would be read, and its encoder scales.

    Raises ConfigError for a class that cannot be imported or built, or an input it does not take.
    """
    made = build(generator, arguments, imports)
    shapes = input_shapes(made, inputs, 2, generator)
    example = [draw(text) for text in shapes]
    try:
        found = detection.trace(made, *example)
    except Exception as error:
        raise ConfigError(f"{generator} does not run on {', '.join(shapes)}: {type(error).__name__}: {error}") from None
    known = adapters.find(made, None)
    chosen, why = found.sites, found.why
    if known is not None:
        chosen, why = known.sites(made), f"adapter {known.name}"
    try:
        scales = [str(scale) for scale in encoders.detect(made, *example)]
    except SiteError:  # it is no encoder-decoder
        scales = []
    if scales:
        why += f"; with adapter encoder_scales {', '.join(scales)}"
    return {
        "generator": type(made).__name__,
        "image": sites.shape(found.image),
        "site": ", ".join(map(str, chosen)) or None,
        "why": why,
        "scales": scales,
        "candidates": [
            {
                "path": c.path or "(root)",
                "kernel": c.kernel,
                "input": sites.shape(c.gamma),
                "output": sites.shape(c.output),
                "calls": c.calls,
                "density": round(c.density, 3),
                "verdict": c.verdict,
            }
            for c in found.candidates
        ],
    }
