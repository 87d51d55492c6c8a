"""Atoms of an attached generator's D1, and effective atoms of D_eff = D1 D2 .. DL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from sparse_plugin.attachment.handle import Attachment
from sparse_plugin.attachment.synthesis_at import effective
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import AttachmentError
from sparse_plugin.registry.dictionaries import Dictionary


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
    return effective(d1, dictionaries).atoms


def _d1(generator: nn.Module) -> tuple[SynthesisOperator, list[Dictionary]]:
    attachment = Attachment.of(generator)
    if attachment is None:
        raise AttachmentError(f"nothing is attached to this {type(generator).__name__}; attach() a regularizer first")
    return attachment.kernel(), list(_dictionaries(attachment.inserted()))


def _dictionaries(inserted: Sequence[nn.Module]) -> Iterator[Dictionary]:
    for child in inserted:
        yield from (m for m in child.modules() if isinstance(m, Dictionary))
