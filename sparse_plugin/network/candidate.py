"""What one forward pass showed of the modules that may be D1, and what was chosen of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sparse_plugin.network import readers
from sparse_plugin.network.sites import Site, own_kernel, shape


@dataclass
class Candidate:
    """A module that owns a convolution kernel, as one forward pass saw it."""

    path: str
    module: nn.Module
    calls: int = 0
    order: int = -1  # position of its last call among all calls; -1 where it never ran
    gamma: tuple[int, ...] = ()  # shape of its input
    output: tuple[int, ...] = ()
    density: float = 0.0  # of its input, before any regularizer
    verdict: str = ""
    by_keyword: bool = False  # whether it was given tensors, and none of them as a positional argument
    idle: bool = False  # whether an image may be computed from its output, and is the same without it
    nodes: list[Any] = field(default_factory=list, repr=False)  # the autograd nodes of its outputs, while tracing
    source: readers.Source | None = field(default=None, repr=False)  # what made its input, while tracing

    @property
    def hidden(self) -> bool:
        """Whether it ran without a graph, as inside a reentrant checkpoint."""
        return not any(node is not None for node in self.nodes)

    @property
    def kernel(self) -> str:
        """The kernel's owner and shape, for people."""
        weight = own_kernel(self.module)
        return type(self.module).__name__ + (f" {'x'.join(map(str, weight.shape))}" if weight is not None else "")


@dataclass(frozen=True)
class Detection:
    """What one forward pass showed: every candidate in order of execution, and the sites that were chosen.

    sites: one for each image that the generator returns; none where it cannot be told. makers: the candidates that make
    an image, whether or not they were chosen. idle: those which the image is computed from too, and that leave nothing in
    it on these inputs, such as a head that is faded in from 0.
    """

    candidates: tuple[Candidate, ...]
    image: tuple[int, ...]
    sites: tuple[Site, ...]
    why: str
    makers: tuple[Candidate, ...] = ()
    idle: tuple[Candidate, ...] = ()

    @property
    def site(self) -> Site | None:
        """The site of the first image, if any."""
        return self.sites[0] if self.sites else None

    def table(self) -> str:
        """The candidates, one a line, for an error message."""
        if not self.candidates:
            return "  (no module with a convolution kernel ran)"
        head = ("path", "kernel", "input (Γ)", "output", "calls", "verdict")
        rows = [
            (c.path or "(root)", c.kernel, shape(c.gamma), shape(c.output), str(c.calls), c.verdict)
            for c in self.candidates
        ]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        return "\n".join(
            "  " + "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in (head, *rows)
        )
