"""Atoms of an attached generator's D1, and effective atoms of D_eff = D1 D2 .. DL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from sparse_plugin.attachment.handle import Attachment
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import AttachmentError
from sparse_plugin.registry.dictionaries import Dictionary

_SYNTHESIS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def atoms(generator: nn.Module) -> Tensor:
    """The atoms of an attached generator's D1: (C, image channels, height, width).

    Atom c is what a unit coefficient of channel c paints. Raises AttachmentError where nothing is attached.
    """
    return _d1(generator)[0].atoms


def effective_atoms(generator: nn.Module) -> Tensor:
    """The atoms of D_eff = D1 D2 .. DL of a generator attached with ml_csc: (C, image channels, height, width).

    Atom c is what a unit coefficient of channel c of Γ_L paints when nothing is projected between the levels: with a
    3x3 D2 before a 4x4 D1 of stride 2 it is 8x8 (paper, appendix A). Raises AttachmentError where no dictionaries are.
    """
    d1, dictionaries = _d1(generator)
    if not dictionaries:
        raise AttachmentError("this generator has no inserted dictionaries; attach it with 'ml_csc', or use atoms()")
    painted = d1.atoms
    stride, dilation = d1.stride, d1.dilation
    for dictionary in dictionaries:  # D2 first: each lays its own atoms over what the ones below paint
        weight = dictionary.weight.detach()
        flat = tuple(range(2, weight.dim()))
        codes = weight.flip(flat).transpose(0, 1)  # (C of Γ_l, C of Γ_(l-1), ...): the code of one unit coefficient
        painted = _SYNTHESIS[len(flat)](codes, painted.to(codes), stride=stride, dilation=dilation)
        # A step on the grid of Γ_l is a step on that of Γ_1, which D1 lays out with its stride; what is painted by now
        # is dense, so the next level's synthesis has D1's stride and no dilation.
        dilation = (1,) * len(flat)
    return painted


def _d1(generator: nn.Module) -> tuple[SynthesisOperator, list[Dictionary]]:
    attachment = Attachment.of(generator)
    if attachment is None:
        raise AttachmentError(f"nothing is attached to this {type(generator).__name__}; attach() a regularizer first")
    return attachment.kernel(), list(_dictionaries(attachment.inserted()))


def _dictionaries(inserted: Sequence[nn.Module]) -> Iterator[Dictionary]:
    for child in inserted:
        yield from (m for m in child.modules() if isinstance(m, Dictionary))
