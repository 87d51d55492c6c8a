"""The dictionaries of an attached generator and the representations that they synthesize from, for the theory's report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from sparse_plugin.attachment import hooks
from sparse_plugin.attachment.child import SparseChild
from sparse_plugin.attachment.synthesis_at import effective, read
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import AttachmentError, SiteError
from sparse_plugin.network import sites
from sparse_plugin.network.probe import forward
from sparse_plugin.network.sites import Site
from sparse_plugin.registry.dictionaries import Dictionary
from sparse_plugin.theory.bounds import reach
from sparse_plugin.theory.counts import Counts
from sparse_plugin.theory.layer import Layer, layer
from sparse_plugin.theory.report import Theory

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass
class _Head:
    """One D1, what is counted of its Γ_1 and, with inserted dictionaries, of the Γ_2 .. Γ_L before it."""

    site: Site
    module: nn.Module  # at which Γ_1 is read
    convolution: nn.Module
    d1: SynthesisOperator
    dictionaries: list[Dictionary]
    gammas: list[Tensor] = field(default_factory=list)  # of the running forward, from Γ_1 on
    made: list[Tensor] = field(default_factory=list)  # what D2 .. DL made of them
    image: Tensor | None = None
    calls: int = 0

    def __post_init__(self) -> None:
        deep = [_of(dictionary) for dictionary in self.dictionaries]
        self.operators = [self.d1, *deep, *([effective(self.d1, self.dictionaries)] if deep else [])]
        self.counts = [Counts(reach(operator)) for operator in self.operators]
        self.norms = [[0.0, 0.0] for _ in deep]  # of what the projection behind each took away, and of what there was
        self.cut = False

    def count(self) -> None:
        """Count what the forward that has just ended showed."""
        if self.image is None or len(self.gammas) != 1 + len(self.dictionaries):
            return
        size = self.image.shape[1:].numel()
        if not all(bool(gamma.isfinite().all()) for gamma in self.gammas):
            raise AttachmentError(
                f"Γ at the {self.site} has values that are no finite numbers, so that nothing can be said of it; take weights from before "
                "training diverged"
            )
        self.cut = self.cut or _cuts(self.d1, self.gammas[0], self.image)
        known = [size] * len(self.image)
        for gamma, counts in zip(self.gammas, self.counts, strict=False):
            counts.add(gamma, known)
            known = (gamma != 0).flatten(1).sum(1).tolist()
        if self.dictionaries:
            self.counts[-1].add(self.gammas[-1], [size] * len(self.image))
        for norms, made, gamma in zip(self.norms, self.made, self.gammas, strict=False):
            norms[0] += float((made.double() - gamma.double()).square().sum())
            norms[1] += float(made.double().square().sum())

    def layers(self, alone: bool) -> Iterator[Layer]:
        """What there is to say of them."""
        where = f"{self.site.path or 'the generator'}"
        names = ["D1", *(f"D{level}" for level in range(2, 2 + len(self.dictionaries)))]
        for place, (name, operator, counts) in enumerate(zip(names, self.operators, self.counts, strict=False)):
            taken, whole = self.norms[place - 1] if place else (0.0, 0.0)
            gap = None if not place else (taken / whole) ** 0.5 if whole else 0.0
            yield layer(name if alone else f"{name} at {where}", where, operator, counts, cut=self.cut or bool(place), gap=gap)
        if self.dictionaries:
            yield layer("D_eff", " ".join(names), self.operators[-1], self.counts[-1], cut=True)


def examine(generator: nn.Module, regularizer: str, batches: Iterable[Inputs]) -> Theory:
    """The report on an attached generator, over the forwards of these inputs, undisturbed and without gradients.

    Raises AttachmentError where no forward went through a site, SiteError where D1 is no one convolution of Γ.
    """
    heads: list[_Head] = []
    for args, kwargs in batches:
        if not heads:
            _run(generator, args, kwargs)  # which a site that is not known yet is found by
            heads = list(_heads(generator))
        with _watched(heads):
            _run(generator, args, kwargs)
        for head in heads:
            head.count()
    used = [head for head in heads if head.counts[0].samples]
    if not used:
        raise AttachmentError(
            f"no forward of {type(generator).__name__} on what was given went through a site of its regularizer, so there is no Γ to "
            "count; give the inputs of a forward that makes an image"
        )
    layers = tuple(each for head in used for each in head.layers(len(used) == 1))
    return Theory(type(generator).__name__, regularizer, layers)


def _run(generator: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    forward(generator, args, dict(kwargs))


def _heads(generator: nn.Module) -> Iterator[_Head]:
    seen: set[nn.Module] = set()
    for path, module, hook in hooks.find(generator, hooks.SiteHook):
        if module in seen:
            continue
        seen.add(module)
        site = Site(path, hook.site.side, hook.site.level)
        operator = read(generator, site)
        convolution = sites.convolution(generator, site)
        if convolution != site.path and any(isinstance(part, nn.Upsample) for part in generator.get_submodule(site.path).modules()):
            raise SiteError(
                f"Γ at the {site} is scaled up before its convolution, so that D1 is no one convolution and has no atoms; name that "
                f"convolution as the site, {convolution!r}, to attach there"
            )
        child = hook.child(module)
        held = child.dictionaries if isinstance(child, SparseChild) else None
        inserted = [] if held is None else [part for part in held.modules() if isinstance(part, Dictionary)]
        yield _Head(site, module, generator.get_submodule(convolution), operator, inserted)


@contextmanager
def _watched(heads: list[_Head]) -> Iterator[None]:
    """See what passes D1 and the inserted dictionaries: behind the regularizer's own hooks, which were there before."""
    handles: list[Any] = []
    for head in heads:
        head.gammas, head.made, head.image = [], [], None

        def consumed(module: nn.Module, args: tuple[Any, ...], head: _Head = head) -> None:
            head.gammas.insert(0, args[0].detach())

        def synthesized(module: nn.Module, args: tuple[Any, ...], output: Tensor, head: _Head = head) -> None:
            head.image = output.detach()

        def made(module: nn.Module, args: tuple[Any, ...], output: Tensor, head: _Head = head) -> None:
            head.made.insert(0, output.detach())

        handles.append(head.module.register_forward_pre_hook(consumed))
        handles.append(head.convolution.register_forward_hook(synthesized))
        for dictionary in head.dictionaries:
            handles.append(dictionary.register_forward_pre_hook(consumed))
            handles.append(dictionary.register_forward_hook(made))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _of(dictionary: Dictionary) -> SynthesisOperator:
    """D_l, which is a correlation: one coefficient of Γ_l paints the flipped filter."""
    weight = dictionary.weight.detach()
    flat = tuple(range(2, weight.dim()))
    return SynthesisOperator(weight.flip(flat).transpose(0, 1), (1,) * len(flat), (1,) * len(flat))


def _cuts(d1: SynthesisOperator, gamma: Tensor, image: Tensor) -> bool:
    """Whether atoms at the border are not whole in the image: then it is smaller than all of them together."""
    sides = zip(gamma.shape[2:], image.shape[2:], d1.atoms.shape[2:], d1.stride, d1.dilation, strict=True)
    return any(has < step * (length - 1) + spread * (side - 1) + 1 for length, has, side, step, spread in sides)
