"""Encoder scales: where Γ_1..Γ_K are in an encoder-decoder, found by following the image through one forward pass.

Γ_k is the last tensor of scale k from which both the next coarser scale and, where there is a skip connection, the decoder
are computed. Γ_K is the last tensor of the coarsest scale before the first block that enlarges it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import takewhile
from typing import Any

from torch import nn

from sparse_plugin.errors import SiteError
from sparse_plugin.network.adapters import Adapter
from sparse_plugin.network.dataflow import Call, Flow, Node, record
from sparse_plugin.network.nested import ancestors, outermost
from sparse_plugin.network.sites import Site, shape
from sparse_plugin.support import advice


@dataclass(frozen=True)
class EncoderScale:
    """Γ_k: its site, its shape (N, C, ...), and by how much the input was shrunk to get there."""

    site: Site
    shape: tuple[int, ...]
    factor: int

    def __str__(self) -> str:
        return f"Γ_{self.site.level} {shape(self.shape)} = {self.site}"


class EncoderScales(Adapter):
    """The sites are the encoder scales of any network that shrinks an image and enlarges it again.

    Asked for by name only: a generator that happens to have an encoder keeps its representation at D1.
    """

    follows_input = True

    def __init__(self) -> None:
        super().__init__("encoder_scales", {})

    def sites(self, generator: nn.Module, *args: Any, **kwargs: Any) -> tuple[Site, ...]:
        return tuple(scale.site for scale in detect(generator, *args, **kwargs))


ADAPTER = EncoderScales()


def detect(network: nn.Module, *args: Any, **kwargs: Any) -> tuple[EncoderScale, ...]:
    """Γ_1..Γ_K of network, from fine to coarse.

    network is run on args and kwargs (its own inputs) twice or more, and left as it was: once to find the tensors, and
    again with each of them replaced, to see that whatever read it reads the replacement. Raises SiteError where network is
    no encoder-decoder, or where a Γ_k is not what a module returns, with the modules to name instead.
    """
    name = type(network).__name__
    found = outermost(network, args, kwargs)
    if found is None:
        raise SiteError(
            f"{name} takes no image, a tensor (N, C, H, W), so it has no encoder; attach to the module in it that does, name the modules "
            f"whose outputs are Γ_1..Γ_K, as in {advice.scales()}, or leave adapter out to regularize the input of D1"
        )
    flow, images = found
    if not images:
        raise SiteError(f"the image that {name} returns is not computed from the one it takes, so it has no encoder")
    chosen = [_place(flow, spot, level) for level, spot in enumerate(_spots(name, flow, images), 1)]
    if any(place.call is None for place in chosen):
        raise SiteError(_unreachable(name, chosen))
    for _ in range(len(chosen) + 1):
        past = _read_past(network, args, kwargs, chosen)
        if not past:
            return tuple(
                EncoderScale(Site(place.path, "output", place.level), place.node.shape, place.node.scale)
                for place in chosen
            )
        chosen = [_earlier(flow, place) if place.level in past else place for place in chosen]
        lost = next((place for place in chosen if place.call is None), None)
        if lost is not None:
            raise SiteError(
                f"Γ_{lost.level} of {name}, {shape(lost.node.shape)}, is the {Site(lost.path, 'output')}, but "
                f"{past.get(lost.level)} reads it past that module, where no hook can change it; name other modules as in "
                f"{advice.scales()}, or, without :output, those that Γ enters before anything else reads it"
            )
    raise SiteError(f"the encoder scales of {name} change from one forward to the next; name them by {advice.scales()}")


@dataclass(frozen=True)
class _Spot:
    """Where a scale's Γ is in the flow: the tensors that all else passes through, last first.

    strict: whether only the first of them will do.
    """

    nodes: tuple[Node, ...]
    strict: bool


@dataclass(frozen=True)
class _Place:
    """A Γ, and the call of the module that returns it; None where none does. path: of that, or of the nearest one."""

    level: int
    node: Node
    path: str
    call: Call | None


def _spots(name: str, flow: Flow, images: list[Node]) -> list[_Spot]:
    """The scales of an encoder, from fine to coarse."""
    alive = ancestors(images)
    nodes = [node for node in flow.nodes if node in alive]
    shrinks = [(parent, node) for node in nodes for parent in node.parents if node.scale > parent.scale]
    if not shrinks:
        raise SiteError(
            f"{name} never shrinks its input, so it has no encoder scales; leave adapter out to regularize the "
            "input of D1"
        )
    grows = [(parent, node) for node in nodes for parent in node.grows if not parent.grown]
    if not grows:
        raise SiteError(
            f"{name} never enlarges what it has shrunk, so it is no encoder-decoder; name its sites by {advice.scales()}"
        )
    for parent, node in (*shrinks, *grows):
        if parent.tokens:
            raise SiteError(
                f"{name} changes the scale of tokens, in {node.code or 'its own code'}, not of images (N, C, H, W); name the "
                f"modules whose outputs are Γ_1..Γ_K, as in {advice.scales()}"
            )
    coarsest = max(parent.scale for parent, _ in grows)
    leads = _leads_to_decoder(nodes)
    spots = []
    for scale in sorted({parent.scale for parent, _ in shrinks if parent.learned and parent.scale < coarsest}):
        through = _passages(nodes, scale, [p for p, _ in shrinks if p.scale == scale and p.learned])
        shared = tuple(node for node in through if node in leads) or through
        if not shared or shared[0].learned:  # else it is the input itself that skips
            spots.append(_Spot(tuple(node for node in shared if node.learned), strict=True))
    begin = _decoder_begins(
        flow, [node for _, node in shrinks], min((n for p, n in grows if p.scale == coarsest), key=lambda n: n.order)
    )
    read = [p for n in nodes for p in n.parents if n.order > begin >= p.order and p.scale == coarsest and not p.grown]
    through = _passages(nodes, coarsest, [max(read, key=lambda node: node.order)])
    spots.append(_Spot(tuple(node for node in through if node.learned), strict=False))
    for level, spot in enumerate(spots, 1):
        if not spot.nodes:
            raise SiteError(
                f"scale {level} of {name} is handed on by several tensors that no one tensor makes; name the modules whose "
                f"outputs are Γ_1..Γ_K, as in {advice.scales()}"
            )
    return spots


def _leads_to_decoder(nodes: list[Node]) -> set[Node]:
    """The encoder's tensors from which the decoder computes something without a coarser scale between.

    An input that is only added to the image at the end is none.
    """
    alive, leads, convolved = set(nodes), set[Node](), set[Node]()
    for node in reversed(nodes):
        onward = [child for child in node.children if child in alive]
        if any("convolution" in child.op or child in convolved for child in onward):
            convolved.add(node)
        joins = any(child.grown and (node.learned or child in convolved) for child in onward)
        if not node.grown and (joins or any(c.scale == node.scale and c in leads for c in onward)):
            leads.add(node)
    return leads


def _passages(nodes: list[Node], scale: int, ends: Iterable[Node]) -> tuple[Node, ...]:
    """The images of this scale through which everything on the way to all ends passes, last first.

    They are the common dominators of ends in the flow graph; padded images are left out.
    """
    inside = [node for node in nodes if node.scale == scale and not node.grown]
    bit = {node: 1 << i for i, node in enumerate(inside)}
    above: dict[Node, int] = {}
    for node in inside:
        # A parent of another scale is a way in, which passes through nothing here.
        met = [above.get(parent, 0) for parent in node.parents] or [0]
        above[node] = reduce(int.__and__, met) | bit[node]
    common = reduce(int.__and__, (above[node] for node in ends))
    through = [node for node in reversed(inside) if common & bit[node]]
    # An image that tokens were laid out from, or into, is another representation.
    through = list(takewhile(lambda node: not node.tokens, through))
    return tuple(node for node in through if node.image and "pad" not in node.op)


def _decoder_begins(flow: Flow, shrunk: list[Node], grown: Node) -> int:
    """The operations after which the block begins that first enlarges: the outermost module in which nothing shrinks."""
    around = (
        call
        for call in flow.calls
        if call.enter < grown.order <= call.exit and not any(call.enter < node.order <= call.exit for node in shrunk)
    )
    return min((call.enter for call in around), default=grown.order - 1)


def _place(flow: Flow, spot: _Spot, level: int) -> _Place:
    """The last tensor of a spot that a module returns, or, where that is not enough, the nearest path beside None."""
    for i, node in enumerate(spot.nodes):
        call = _returned_by(flow, node)
        if call is not None:
            strict = spot.strict and i > 0
            return _Place(level, spot.nodes[0] if strict else node, call.path, None if strict else call)
    return _Place(level, spot.nodes[0], "", None)


def _returned_by(flow: Flow, node: Node) -> Call | None:
    """The last module to return node before anything reads it, called once; never the network itself."""
    calls = [
        call
        for call in flow.calls
        if call.returned is node
        and call.path
        and all(read > call.exit for read in node.readers)
        and sum(other.path == call.path for other in flow.calls) == 1
    ]
    return max(calls, key=lambda call: (call.exit, -call.path.count(".")), default=None)


def _earlier(flow: Flow, place: _Place) -> _Place:
    """The same tensor before it was changed in place, by an activation say."""
    node = place.node.changed
    call = None if node is None else _returned_by(flow, node)
    if node is None or call is None:
        return replace(place, call=None)
    return _Place(place.level, node, call.path, call)


def _unreachable(name: str, chosen: list[_Place]) -> str:
    lost = next(place for place in chosen if place.call is None)
    where = f"in the code of {lost.node.code}" if lost.node.code else "in its own code"
    if all(place.path for place in chosen):
        near = advice.sites(*(f"{place.path}:output" for place in chosen))
        what = f"The nearest outputs of modules are {near}; name those, or others, if they will do"
    else:
        what = f"Name modules whose outputs will do, as in {advice.scales()}"
    return (
        f"Γ_{lost.level} of {name}, {shape(lost.node.shape)}, is made {where} by `{lost.node.op}` and returned by no module "
        f"that is called once, so no hook reaches it. {what}"
    )


def _read_past(
    network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], chosen: list[_Place]
) -> dict[int, str]:
    """By level, what still reads the output of a chosen module where something else is handed on in its place."""
    found = record(network, args, kwargs, {place.path for place in chosen})
    assert found is not None
    past: dict[int, str] = {}
    for place in chosen:
        node = found[0].replaced.get(place.path)
        if node is None:
            past[place.level] = "something"
            continue
        for child in node.children:
            # The copy is made in the module's own hook, the first to read what it returned.
            if child.order > node.readers[0]:
                past[place.level] = f"`{child.op}` in {child.code or 'the network itself'}"
    return past
