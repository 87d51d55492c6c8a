"""Encoder-decoders inside of an encoder-decoder: blocks that shrink and enlarge what they take, and hand it on at its size.

The stages of a U²-Net are such, and gates that are computed at a coarser scale. Of the network around them each is one operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from sparse_plugin.errors import SiteError
from sparse_plugin.network.dataflow import Call, Flow, Node, record
from sparse_plugin.support import advice


def outermost(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Flow, list[Node]] | None:
    """`record`, in which blocks that shrink and enlarge by themselves do neither.

    Raises SiteError where several encoder-decoders follow one another.
    """
    whole = set[str]()
    while True:
        found = record(network, args, kwargs, whole=whole)
        if found is None:
            return None
        flow, images = found
        alive = ancestors(images)
        begins = [node for node in flow.nodes if node in alive and any(parent.again for parent in node.grows)]
        if not begins:
            return found
        inner = _innermost(flow, alive)
        if not inner or not _shrinks_besides(flow, alive, inner):
            raise SiteError(
                f"{type(network).__name__} enlarges in {begins[0].code or 'its own code'} what it has enlarged and shrunk before, so it "
                "holds several encoder-decoders, one after another; attach to each of them, or name the modules whose outputs are "
                f"Γ_1..Γ_K, as in {advice.scales()}"
            )
        whole |= {call.path for call in inner}


def ancestors(images: Iterable[Node]) -> set[Node]:
    """All that any of images is computed from, and themselves."""
    found: set[Node] = set()
    todo = list(images)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo.extend(node.parents)
    return found


def _innermost(flow: Flow, alive: set[Node]) -> list[Call]:
    """The calls that shrink and enlarge and return an image of the size of what they take, with no other such call inside."""
    blocks = [call for call in flow.calls if call.path and _resizes(flow, alive, call)]
    return [b for b in blocks if not any(b is not o and b.enter <= o.enter and o.exit <= b.exit and _below(o, b) for o in blocks)]


def _below(call: Call, of: Call) -> bool:
    return call.path.startswith(of.path + ".")


def _resizes(flow: Flow, alive: set[Node], call: Call) -> bool:
    made = call.returned
    if made is None or made not in alive or not made.image:
        return False
    inside = [node for node in flow.nodes if call.enter < node.order <= call.exit and node in alive]
    taken = [parent for node in inside for parent in node.parents if parent.order <= call.enter]
    shrunk = any(_shrinks(node) for node in inside)
    return shrunk and any(node.grows for node in inside) and all(node.size == made.size for node in taken if node.image)


def _shrinks_besides(flow: Flow, alive: set[Node], blocks: list[Call]) -> bool:
    """Whether anything is shrunk outside of these blocks."""
    return any(
        _shrinks(node) and not any(block.enter < node.order <= block.exit for block in blocks)
        for node in flow.nodes
        if node in alive
    )


def _shrinks(node: Node) -> bool:
    """Whether the operation that made node shrank what it was given, be that before or after anything was enlarged."""
    return any(node.scale > parent.scale or (node.again and not parent.again) for parent in node.parents)
