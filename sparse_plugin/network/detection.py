"""Automatic site detection: D1 is found by following one forward pass.

By execution, never by registration order: the modules that own a convolution kernel are watched through a forward, and
among those whose output has the image's shape, the one that the image is computed from is D1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.errors import SiteError, SparsePluginError, module_of
from sparse_plugin.network import readers
from sparse_plugin.network.candidate import Candidate, Detection
from sparse_plugin.network.choice import choose
from sparse_plugin.network.images import flat_of, image_of, images_of, rival_of
from sparse_plugin.network.inside import quiet
from sparse_plugin.network.once_more import OnceMore
from sparse_plugin.network.probe import forward, learning, unseen
from sparse_plugin.network.sites import CHILD, Site, kernel_owners, pointwise, shape
from sparse_plugin.support import advice, capture


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
        try:
            with learning(generator):
                output = forward(generator, args, kwargs, grad, run)
        except RuntimeError as error:
            if quiet() or isinstance(error, SparsePluginError):
                raise
            raise SiteError(
                f"what makes the image of {type(generator).__name__} cannot be told inside torch.func, which does not let its graph be "
                f"followed ({error}); run it once in this way outside of that, or name the site with {advice.sites()}"
            ) from error
    images = readers.apart(images_of(output))
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
    detection = choose(generator, candidates, fired, images, OnceMore(generator, run, args, kwargs))
    if detection.sites and pointwise(generator) and not readers.mixes_positions(images):
        why = (
            "it makes every pixel by itself, as an implicit network does: none of its kernels is larger than 1x1, and nothing else mixes "
            "positions, so that no atom has a shape"
        )
        detection = replace(detection, sites=(), makers=(), idle=(), why=why)
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
            f"Name the module whose input it is, as in {advice.sites()}, or {advice.returned()}. What ran:\n{found.table()}"
        )
    return found.sites
