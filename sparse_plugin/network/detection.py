"""Automatic site detection: D1 is found by following one forward pass.

By execution, never by registration order: the modules that own a convolution kernel are watched through a forward, and
among those whose output has the image's shape, the one that the image is computed from is D1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.errors import SiteError, module_of
from sparse_plugin.network import readers
from sparse_plugin.network.images import blocks, flat_of, image_of, images_of, makes, rival_of
from sparse_plugin.network.once_more import OnceMore
from sparse_plugin.network.probe import forward, learning, unseen
from sparse_plugin.network.sites import (
    CHILD,
    Site,
    climb,
    filters,
    inside,
    kernel_owners,
    own_kernel,
    shape,
    takes_an_image,
)
from sparse_plugin.support import advice, capture


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


def trace(generator: nn.Module, *args: Any, grad: bool = True, **kwargs: Any) -> Detection:
    """Follow one undisturbed forward pass of generator on these inputs to D1.

    Returns every candidate and the chosen site, or none with the reason in `why`.
    """
    return trace_call(generator, generator, args, kwargs, grad)


def trace_call(
    generator: nn.Module, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], grad: bool = True
) -> Detection:
    """`trace`, of a call of run: generator, or a method of it or of a part of it, such as its `decode`."""
    candidates = {path: Candidate(path, module) for path, module in kernel_owners(generator)}
    fired: dict[str, Candidate] = {path: Candidate(path, module) for path, module in generator.named_modules()}
    clock = iter(range(1 << 60))

    def given(path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            gamma = next((t for t in inputs if isinstance(t, Tensor)), None)
            fired[path].source = None if gamma is None else readers.source(gamma)

        return hook

    def watch(path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            seen = fired[path]
            seen.calls, seen.order = seen.calls + 1, next(clock)
            gamma = next((t for t in inputs if isinstance(t, Tensor)), None)
            seen.by_keyword = gamma is None and any(isinstance(t, Tensor) for t in named.values())
            if gamma is not None:
                seen.gamma = tuple(gamma.shape)
                if path in candidates and capture.readable(gamma):
                    seen.density = float((gamma.detach() != 0).float().mean()) if gamma.numel() else 0.0
            image = image_of(output)
            if image is not None:
                seen.output = tuple(image.shape)
                # Taken now: an in-place tanh would put its own node into the tensor.
                seen.nodes.append(image.grad_fn)

        return hook

    with unseen(generator), ExitStack() as before:
        for path, module in generator.named_modules():
            if CHILD not in path.split(".") and not isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                before.callback(module.register_forward_pre_hook(given(path), prepend=True).remove)
                before.callback(module.register_forward_hook(watch(path), with_kwargs=True).remove)
        with learning(generator):
            output = forward(generator, args, kwargs, grad, run)
    images = images_of(output)
    rival = rival_of(images[0], output) if images else None
    if not images and (flat := flat_of(output)) is not None:
        images = [flat]
    # A kernel whose module never ran was called behind its back by a wrapper: the nearest ancestor that ran stands in.
    for path in list(candidates):
        at = path
        while at and not fired[at].calls:
            at = at.rpartition(".")[0]
        del candidates[path]
        if at or path == "":
            candidates[at] = fired[at]
    detection = _choose(generator, candidates, fired, images, OnceMore(generator, run, args, kwargs))
    for seen in fired.values():
        seen.nodes.clear()
        seen.source = None
    if rival is not None and rival.grad_fn is not None and not _is_below(rival.grad_fn, images):
        why = f"it returns {shape(images[0].shape)} and {shape(rival.shape)}, and either may be the image"
        return replace(detection, sites=(), makers=(), idle=(), why=why)
    return detection


def _is_below(node: Any, images: Sequence[Tensor]) -> bool:
    """Whether one of images is computed from what this autograd node made, as from features."""
    todo: list[Any] = [image.grad_fn for image in images]
    seen: set[Any] = {None}
    while todo:
        at = todo.pop()
        if at is node:
            return True
        if at not in seen:
            seen.add(at)
            todo.extend(parent for parent, _ in at.next_functions)
    return False


def _choose(
    generator: nn.Module,
    candidates: dict[str, Candidate],
    fired: dict[str, Candidate],
    images: Sequence[Tensor],
    again: OnceMore,
) -> Detection:
    ran = tuple(sorted((c for c in candidates.values() if c.calls), key=lambda c: c.order))
    # A module around another candidate owns a kernel by accident; what it makes, the inner one makes.
    ran = tuple(c for c in ran if not any(o is not c and inside(o.path, c.path) for o in ran))
    if not images:
        role = advice.setting("role", "discriminator")
        return Detection(ran, (), (), f"it returned no image, a tensor of shape (N, channels, H, W); of a discriminator say {role}")
    size = tuple(images[0].shape)
    if not ran:
        return Detection(ran, size, (), "no module with a convolution kernel ran, so that Γ is the input of none")
    # Beside images that were computed, one without a graph was handed through: an autoencoder returns its input too.
    computed = [image for image in images if image.grad_fn is not None] or images[:1]
    able = [
        _able(generator, ran, size, image, again, makes) or _able(generator, ran, size, image, again, blocks) for image in computed
    ]
    makers = tuple(c for c in ran if any(c in found for found in able))
    idle = tuple(c for c in ran if c.idle and c not in makers)
    for c in ran:
        if c in makers:
            c.verdict = ""
    chosen: dict[str, Candidate] = {}
    around: set[str] = set()
    for image, found in zip(computed, able, strict=True):
        at = climb(generator, found[0].path) if found else ""
        if len(found) > 1 or (found and _beside(image, fired[at], found)):
            path = _synthesis(found, fired, image, again)
            if path is not None:
                chosen[path] = found[0]
                around.add(path)
                continue
        if len(found) != 1:
            return Detection(ran, size, (), _why_not(len(found), size, capture.readable(images[0])), makers, idle)
        if found[0].calls != 1:
            found[0].verdict = f"called {found[0].calls} times in one forward"
            return Detection(ran, size, (), f"{found[0].path} is {found[0].verdict}", makers, idle)
        if _beside(image, fired[at], [*found, *idle]):  # with a head that is faded in between, it is that head which reads Γ
            found[0].verdict = "what it consumes goes into the image by another way too"
            return Detection(ran, size, (), f"of {found[0].path}, {found[0].verdict}", makers, idle)
        chosen[at] = found[0]
    for path, d1 in chosen.items():
        if not again.takes_its_input(path if path in around else d1.path):
            d1.verdict = "its input is not what the convolution takes that makes the image in it"
            return Detection(ran, size, (), f"of {path}, {d1.verdict}", makers, idle)
        where = f"at {path}, {'all of which is one dictionary' if path in around else 'before its padding'}"
        d1.verdict = "D1" + (f"; Γ is read {where}" if path != d1.path else "")
        if r := blocks(d1.output, size):
            d1.verdict += f"; its channels are laid out in blocks of {r}x{r} pixels"
        if takes_an_image(d1.module):
            d1.verdict += "; it takes no more channels than it makes, and may refine an image"
    why = "the only convolution that makes the image" if len(chosen) == 1 else "each makes an image of its own"
    return Detection(ran, size, tuple(Site(path) for path in chosen), why, makers, idle)


def _beside(image: Tensor, at: Candidate, past: Sequence[Candidate]) -> bool:
    """Whether image is computed from what the module at consumes by a way past these candidates too."""
    if at.source is None or any(c.hidden for c in past):
        return False  # nothing tells
    nodes = {node for c in past for node in c.nodes}
    return readers.reaches(image, at.source, nodes.__contains__)


def _synthesis(found: Sequence[Candidate], fired: dict[str, Candidate], image: Tensor, again: OnceMore) -> str | None:
    """The module in which all of several convolutions of one Γ are summed, as an adapter (LoRA) does with the one that it stands
    around: together they are one dictionary. None where there is no such module.
    """
    for path in sorted((path for path in fired if path and all(inside(c.path, path) for c in found)), key=len, reverse=True):
        module = fired[path]
        reads_gamma = module.source is not None and any(c.source == module.source for c in found)
        if module.calls == 1 and reads_gamma and not module.hidden and not _beside(image, module, [module]) and again.is_linear(path):
            return path
    return None


def _why_not(makers: int, size: tuple[int, ...], readable: bool) -> str:
    if not makers:
        return f"no convolution gives the image, {shape(size)}, as its output"
    if readable:
        return f"{makers} convolutions make the image together"
    why = f"{makers} convolutions make an image, and without values nothing tells which of them is it"
    return f"{why}; attach with an example input that has values"


def _able(
    generator: nn.Module,
    ran: Sequence[Candidate],
    size: tuple[int, ...],
    image: Tensor,
    again: OnceMore,
    has_shape: Callable[[Sequence[int], Sequence[int]], Any],
) -> list[Candidate]:
    """The candidates that can be D1 of this image; the others get their verdict. has_shape: whether an output has the image's, in
    itself or in blocks, for which those are looked at once more that were refused.
    """
    makers = _makers(image, ran)
    for c in ran:
        weight = own_kernel(c.module)
        if filters(c.module):
            c.verdict = "it makes an image of an image, pixel by pixel or channel by channel"
        elif not has_shape(c.output, size):
            c.verdict = (has_shape is blocks and c.verdict) or "output has not the image's shape"
        elif c.by_keyword:
            c.verdict = "it is given its input by keyword, and a hook has positional arguments: give it as the first of them"
        elif len(c.gamma) < (4 if weight is None else min(weight.dim(), 4)):
            c.verdict = "its input has no two spatial dimensions, so it is no representation"
        elif makers is not None and c not in makers and not c.hidden:
            c.verdict = "the image is not computed from its output directly"
        elif c.path == "":
            c.verdict = "the whole generator: its convolution is no module"
        else:
            c.verdict = ""
    able = [c for c in ran if not c.verdict]
    if (len(able) > 1 or (makers is not None and any(c.hidden for c in able))) and capture.readable(image):
        for c in able:
            if not again.matters(c.path):
                c.verdict = "the image is the same without it"
                c.idle = c.idle or makers is not None
        able = [c for c in able if not c.verdict]
    return able


def _makers(image: Tensor, ran: Sequence[Candidate]) -> list[Candidate] | None:
    """The candidates that the image is computed from with no other candidate between; None where there is no graph."""
    if image.grad_fn is None:
        return None
    owner = {node: c for c in ran if not filters(c.module) for node in c.nodes}
    found: list[Candidate] = []
    todo: list[Any] = [image.grad_fn]
    seen: set[Any] = {None}  # the nodes themselves: the id of one that nobody holds is soon another's
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in owner:
            found.append(owner[node])
        else:
            todo.extend(parent for parent, _ in node.next_functions)
    return found


def detect(generator: nn.Module, *args: Any, **kwargs: Any) -> Site:
    """The site of Γ_1: the input of the last synthesis convolution before the image.

    generator is run once on args and kwargs (its own inputs), and left as it was. Raises SiteError with the table of
    candidates where D1 cannot be told, and where the generator makes several images, each by a D1 of its own.
    """
    module_of(generator, "detect")
    found = heads(generator, *args, **kwargs)
    if len(found) > 1:
        raise SiteError(
            f"{type(generator).__name__} makes {len(found)} images, each by a D1 of its own: "
            f"{', '.join(site.path for site in found)}; attach() takes them all, detection.heads() lists them"
        )
    return found[0]


def heads(generator: nn.Module, *args: Any, **kwargs: Any) -> tuple[Site, ...]:
    """The sites of Γ_1, one for each image that generator returns: a coupled GAN makes two. Otherwise as `detect`."""
    return told(generator, trace(generator, *args, **kwargs))


def told(generator: nn.Module, found: Detection) -> tuple[Site, ...]:
    """The sites that were found. Raises SiteError with the table of candidates where there are none."""
    if not found.sites:
        scripted = [path for path, module in generator.named_modules() if isinstance(module, torch.jit.ScriptModule)]
        unseen_in = f"; inside {scripted[0]}, which is TorchScript, no hook runs" if scripted else ""
        raise SiteError(
            f"cannot tell where the representation of {type(generator).__name__} is: {found.why}{unseen_in}. "
            f"Name the module whose input it is, as in {advice.sites()}. What ran:\n{found.table()}"
        )
    return found.sites
