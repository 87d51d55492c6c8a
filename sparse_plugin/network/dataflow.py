"""The flow of an image through one forward pass: which operation made each tensor, from which others, at which scale.

Recorded below the modules, so that functional pooling, resizing and sums are seen too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparse_plugin.network.images import image_of, images_of
from sparse_plugin.network.probe import forward
from sparse_plugin.network.sites import CHILD

# The operations after which a tensor is an image again, whatever views and products came before.
_SPATIAL = ("convolution", "pool", "upsample", "batch_norm", "group_norm", "pixel_")
_PRODUCTS = ("addmm", "mm", "bmm", "baddbmm")
_SHRUNK = 1.9  # by so much at least what is made smaller by views is shrunk, and not cropped


@dataclass(eq=False)
class Node:
    """A tensor between the operation that makes it and, if any, the one that changes it in place.

    order: position of that operation among all. code: path of the module whose own code ran it. image: whether its axes
    are (N, C, ...) over space, which those of attention's tokens and of views are not. size: its spatial size, or that of
    the image it was taken from. tokens: no image, and made by a matrix product. scale: by how much the image was shrunk on
    the way, 1 at the input, 0 in the decoder. learned: whether a kernel or a matrix is on the way from the input. grown:
    whether it was computed from anything that was enlarged.
    """

    order: int
    op: str
    code: str
    shape: tuple[int, ...]
    image: bool
    size: tuple[int, ...]
    tokens: bool = False
    scale: int = 1
    learned: bool = False
    grown: bool = False
    again: bool = False  # whether it was computed from anything that was shrunk after it had been enlarged
    parents: list[Node] = field(default_factory=list, repr=False)
    grows: list[Node] = field(default_factory=list, repr=False)  # the parents that this operation enlarges
    children: list[Node] = field(default_factory=list, repr=False)
    readers: list[int] = field(default_factory=list, repr=False)  # the orders of all operations that read it
    changed: Node | None = field(default=None, repr=False)  # what it was before an operation in place


@dataclass(frozen=True)
class Call:
    """One call of a module: between which operations it ran, and what it returned where that is one tensor."""

    path: str
    enter: int
    exit: int
    returned: Node | None


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the tensors that are computed from one image, while it is on."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[Node] = []
        self.calls: list[Call] = []
        self.replaced: dict[str, Node] = {}  # by path: what a module returned, where a copy was put in its place
        self.running: list[tuple[str, int]] = []  # the modules that are being called, and since when
        self.clock = 0
        self.rank: int = image.dim()  # of the images
        self._convolved = False
        self._kept: list[Tensor] = []  # an id stands for one tensor as long as it lives
        self._at: dict[int, Node] = {}
        self._written: dict[int, list[Node]] = {}  # by storage: what was written into it
        size = tuple(image.shape[2:])
        self._add(image, Node(0, "input", "", tuple(image.shape), True, size))

    def of(self, tensor: Any) -> Node | None:
        """The node of a tensor as it is now, parts of which may have been written through views of it."""
        if not isinstance(tensor, Tensor):
            return None
        node = self._at.get(id(tensor))
        since = -1 if node is None else node.order
        written = [w for w in self._written.get(_storage(tensor), ()) if w.order > since]
        if not written:
            return node
        last = written[-1]
        made = self._made(last.op, (), tensor, written if node is None else [node, *written])
        made.order, made.code = last.order, last.code
        self._add(tensor, made)
        return made

    def close(self, node: Node, enter: int) -> None:
        """From now on all that was done since enter to make node is one operation, which neither shrinks nor enlarges."""
        before, seen, todo = set[Node](), {node}, [node]
        while todo:
            for parent in todo.pop().parents:
                if parent.order <= enter:
                    before.add(parent)
                elif parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
        if node.order <= enter or not before:
            return
        node.parents, node.grows = sorted(before, key=lambda parent: parent.order), []
        node.grown, node.again = any(p.grown for p in before), any(p.again for p in before)
        node.scale = 0 if node.grown else max(parent.scale for parent in before)
        for parent in node.parents:
            parent.children.append(node)

    def release(self) -> None:
        """Let go of the tensors; the nodes stay."""
        self._kept.clear()
        self._at.clear()
        self._written.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = func._schema.name.rpartition("::")[2]
        if op.endswith("_like") or op.startswith("new_"):  # takes the shape alone
            return func(*args, **kwargs)
        read = list(dict.fromkeys(node for t in _tensors((args, kwargs)) if (node := self.of(t)) is not None))
        out = func(*args, **kwargs)
        if not read:
            return out
        self.clock += 1
        for node in read:
            node.readers.append(self.clock)
        if "convolution" in op and not self._convolved:
            self._convolved = True
            self._images_are(read[0])
        changed = [a for a, of in zip(args, func._schema.arguments, strict=False) if of.alias_info is not None and of.alias_info.is_write]
        for tensor in _tensors(out):
            if tensor.is_floating_point() or tensor.is_complex():
                node = self._made(op, args, tensor, read)
                self._add(tensor, node)
                if any(tensor is one for one in changed):
                    self._written.setdefault(_storage(tensor), []).append(node)
        return out

    def _images_are(self, node: Node) -> None:
        """What is convolved first is an image: frames, or real and imaginary parts, were folded into other axes before."""
        if len(node.shape) != self.rank and len(node.shape) in (4, 5):
            self.rank, node.image, node.size = len(node.shape), True, node.shape[2:]

    def _add(self, tensor: Tensor, node: Node) -> None:
        node.changed = self._at.get(id(tensor))
        self._at[id(tensor)] = node
        self._kept.append(tensor)
        self.nodes.append(node)
        for parent in node.parents:
            parent.children.append(node)

    def _made(self, op: str, args: Any, tensor: Tensor, read: list[Node]) -> Node:
        size, rank = tuple(tensor.shape[2:]), self.rank
        spatial = any(part in op for part in _SPATIAL) and len(read[0].shape) == rank
        padded = "pad" in op and read[0].image
        # A smaller operand of a sum or product is a gate (squeeze and excitation): it carries no image.
        same = [node for node in read if len(node.shape) == rank and node.shape[2:] == size]
        carriers = read[:1] if spatial or padded else same
        again = size == read[0].size  # tokens that are laid out as they came
        image = tensor.dim() == rank and (spatial or padded or again or any(node.image for node in same))
        code = self.running[-1][0] if self.running else ""
        parents = (carriers or read) if image else read
        node = Node(
            self.clock,
            op,
            code,
            tuple(tensor.shape),
            image,
            size if image else read[0].size,
            tokens=not image and (op in _PRODUCTS or any(parent.tokens for parent in parents)),
            scale=max(parent.scale for parent in parents),
            learned=any(parent.learned for parent in parents) or op in _PRODUCTS or "convolution" in op,
            grown=any(parent.grown for parent in parents),
            again=any(parent.again for parent in parents),
            parents=parents,
        )
        if image:
            factors = [(p, 1.0 if padded else _factor(op, args, p, size)) for p in parents]
            node.scale = max(round(p.scale * max(1.0, factor)) for p, factor in factors)
            # An input that is enlarged first, as for super-resolution, is still the input.
            node.grows = [p for p, factor in factors if factor < 1 and p.learned]
            node.grown = node.grown or bool(node.grows)
            node.again = node.again or any(p.grown and factor >= _SHRUNK for p, factor in factors)
        if node.grown:
            node.scale = 0
        return node


def _factor(op: str, args: Any, parent: Node, after: tuple[int, ...]) -> float:
    """By how much an operation shrinks an image: above 1; below 1 where it enlarges it."""
    before = parent.size
    if len(before) != len(after):  # frames that were not folded in yet
        return 1.0
    ratio = _ratio(before, after)
    if not parent.image:  # through views: a space-to-depth by an integer, while a crop is the same scale
        return ratio if max(ratio, 1 / ratio) >= _SHRUNK else 1.0
    if "convolution" in op:
        stride, transposed = max(args[3]), bool(args[6])
        if stride > 1:
            return 1 / stride if transposed else float(stride)
        # A kernel as large as the image; any other border that is lost is no change of scale.
        whole = {*after} == {1} or {*before} == {1}
        return ratio if whole and max(ratio, 1 / ratio) >= 3 else 1.0
    if max(ratio, 1 / ratio) < 1.5:
        return 1.0
    return float(max(2, round(ratio))) if ratio > 1 else ratio


def _ratio(before: tuple[int, ...], after: tuple[int, ...]) -> float:
    ratios = [b / max(1, a) for b, a in zip(before, after, strict=True)]
    return max(ratios) if max(ratios) > 1 else max(1e-6, min(ratios))


def _storage(tensor: Tensor) -> int:
    """What its views have in common. A sparse tensor has no storage, and no views that it is written through."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else -id(tensor)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def record(
    network: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    replace: Collection[str] = (),
    whole: Collection[str] = (),
) -> tuple[Flow, list[Node]] | None:
    """The flow of one undisturbed forward without gradients, and the nodes of the images that it returned.

    The image that flows is the largest tensor of 4 or 5 dimensions among the inputs; None where there is none. replace:
    paths of modules for whose output a copy is handed on, as a hook would. whole: paths of modules that are one operation
    each, whatever they do inside. All that is computed from the image is held in memory until the forward is over.
    """
    image = image_of((*args, *kwargs.values()))
    if image is None:
        return None
    flow = Flow(image)

    def begin(path: str) -> Any:
        return lambda module, inputs: flow.running.append((path, flow.clock))

    def end(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            while flow.running and flow.running[-1][0] != path:  # one that failed inside, and was caught
                flow.running.pop()
            enter = flow.running.pop()[1] if flow.running else 0
            # Parallel wrappers replace batch norms, with their hooks.
            node = None if isinstance(module, nn.modules.batchnorm._BatchNorm) else flow.of(output)
            if path in whole and node is not None:
                flow.close(node, enter)
            flow.calls.append(Call(path, enter, flow.clock, node))
            if path in replace and node is not None:
                flow.replaced[path] = node
                return output.clone()
            return None

        return hook

    handles = []
    for path, module in network.named_modules():
        if CHILD not in path.split(".") and not isinstance(module, nn.Identity):
            handles.append(module.register_forward_pre_hook(begin(path)))
            handles.append(module.register_forward_hook(end(path)))
    try:
        with flow:
            output = forward(network, args, kwargs)
    finally:
        for handle in handles:
            handle.remove()
    returned = [node for image in images_of(output) if (node := flow.of(image)) is not None]
    flow.release()
    return flow, returned
