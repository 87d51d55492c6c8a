"""The synthesis operator at a site of an attached generator, and that of inserted dictionaries before it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn import functional as F

from sparse_plugin.attachment.operators import unhooked_operator
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import SiteError
from sparse_plugin.network import sites
from sparse_plugin.network.sites import Site
from sparse_plugin.registry.dictionaries import Dictionary

_SYNTHESIS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def read(generator: nn.Module, site: Site) -> SynthesisOperator:
    """What synthesizes from the Γ at site. Raises SiteError where it is no one convolution."""
    synthesis = generator.get_submodule(sites.convolution(generator, site))
    if site.side != "input" or sites.own_kernel(synthesis) is None:
        raise SiteError(f"the {site} is a {type(synthesis).__name__}, which has no atoms: it is no convolution")
    return unhooked_operator(synthesis)


def effective(d1: SynthesisOperator, dictionaries: Sequence[Dictionary]) -> SynthesisOperator:
    """D_eff = D1 D2 .. DL: atom c is what a unit coefficient of channel c of Γ_L paints when nothing is projected between.

    dictionaries: D2 first, which each lay their own atoms over what the ones below paint.
    """
    painted = d1.atoms
    stride, dilation = d1.stride, d1.dilation
    for dictionary in dictionaries:
        weight = dictionary.weight.detach()
        flat = tuple(range(2, weight.dim()))
        codes = weight.flip(flat).transpose(0, 1)  # (C of Γ_l, C of Γ_(l-1), ...): the code of one unit coefficient
        painted = _SYNTHESIS[len(flat)](codes, painted.to(codes), stride=stride, dilation=dilation)
        # A step on the grid of Γ_l is a step on that of Γ_1, which D1 lays out with its stride; what is painted by now
        # is dense, so the next level's synthesis has D1's stride and no dilation.
        dilation = (1,) * len(flat)
    return SynthesisOperator(painted, stride, dilation)
