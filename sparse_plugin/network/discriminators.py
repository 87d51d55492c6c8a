"""Where a discriminator's last feature layer hands its representation on to the head, found by following one forward pass.

The head is the last module with weights that a score is computed from; Γ is its input. Where the scores come of Γ by several ways, as in a
projection discriminator, whose linear head and label embedding both read it, Γ is the output of the last module that all of
them go through, if nothing but sums, means and changes of shape stands between it and what reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sparse_plugin.errors import SiteError, one_of
from sparse_plugin.network.probe import forward, unseen
from sparse_plugin.network.sites import CHILD, Site, shape
from sparse_plugin.support import advice

# Names of autograd's nodes behind which a tensor is no longer what the module before handed on.
_CHANGES = (
    *("relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softplus", "threshold", "softmax"),
    *("norm", "dropout", "maxpool", "convolution"),
)


@dataclass
class _Seen:
    """A module that ran in one forward: where its first tensor came from, and what its output was made by."""

    path: str
    module: nn.Module
    calls: int = 0
    gamma: tuple[int, ...] = ()
    came: Any = None  # autograd's nodes
    made: Any = None
    order: int = -1


def last_features(discriminator: nn.Module, *args: Any, **kwargs: Any) -> tuple[Site, ...]:
    """The sites of the representation that a discriminator's last feature layer hands on: one, or one a head where each score has a
    head of its own.

    discriminator is run once on args and kwargs (its own inputs), and left as it was. Raises SiteError where it is none, or the
    representation cannot be told, with the reason and the modules that could be named.
    """
    name = type(discriminator).__name__
    leaves: list[Tensor] = []

    def followed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]

    with torch.inference_mode(False):
        args, kwargs = tree_map(followed, args), tree_map(followed, kwargs)
        images = next((leaf for leaf in leaves if leaf.dim() >= 2), None)
        if images is None:
            raise SiteError(
                f"role is discriminator, and {name} was given no images, a tensor (N, C, H, W) of floats: a discriminator makes scores of "
                "them; leave role out for a generator"
            )
        with unseen(discriminator):
            seen = _watch(discriminator)
            output = forward(discriminator, args, kwargs, grad=True)
    scores = _scores(output)
    if not scores:
        raise SiteError(f"role is discriminator, and {name} returns no score that is computed from its input; {_named()}")
    _refuse_other(name, images, scores)
    with torch.inference_mode(False), torch.enable_grad():
        sources = {leaf.view_as(leaf).grad_fn.next_functions[0][0] for leaf in leaves}  # type: ignore[union-attr]
    ran = sorted((each for each in seen if each.calls and each.order >= 0), key=lambda each: each.order)
    return _choose(discriminator, ran, scores, sources)


def check(discriminator: nn.Module, site: Site) -> nn.Module:
    """The module at an explicit site. Raises SiteError where there is none, or it is no place for a representation."""
    modules = dict(discriminator.named_modules())
    if site.path not in modules:
        near = one_of("module", site.path, [p for p in modules if p and CHILD not in p.split(".")][:200])
        raise SiteError(f"site {site.path!r} does not exist in {type(discriminator).__name__}: {near}")
    module: nn.Module = modules[site.path]
    if site.path == "":
        raise SiteError("a site cannot be the whole discriminator: hosts call its forward directly, past every hook")
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        raise SiteError(f"site {site} is a {type(module).__name__}, which parallel wrappers replace; name the layer after it")
    return module


def has_weights(module: nn.Module) -> bool:
    """Whether module itself owns a matrix or a kernel, in any guise, and is no embedding."""
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag, nn.utils.parametrize.ParametrizationList)):
        return False
    own = [p for p in module._parameters.values() if p is not None]
    if "parametrizations" in module._modules:
        own += list(module._modules["parametrizations"].parameters())  # type: ignore[union-attr]
    return any(p.dim() >= 2 for p in own)


def _watch(discriminator: nn.Module) -> list[_Seen]:
    """Hooks that note what every module of discriminator takes and makes."""
    clock = iter(range(1 << 60))

    def hook(each: _Seen) -> Any:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            each.calls, each.order = each.calls + 1, next(clock)
            gamma = next((value for value in inputs if isinstance(value, Tensor)), None)
            if gamma is not None:
                each.gamma, each.came = tuple(gamma.shape), gamma.grad_fn
            if isinstance(output, Tensor):
                each.made = output.grad_fn  # taken now: what works in place would put its own node into the tensor

        return note

    found = []
    for path, module in discriminator.named_modules():
        if path and CHILD not in path.split("."):
            found.append(_Seen(path, module))
            module.register_forward_hook(hook(found[-1]))
    return found


def _scores(output: Any) -> list[Tensor]:
    """The tensors in what a discriminator returned that no other is computed from: the rest are features."""
    found: list[Tensor] = []

    def gather(value: Any) -> None:
        if isinstance(value, Tensor):
            if value.grad_fn is not None and not any(value is other for other in found):
                found.append(value)
        elif isinstance(value, dict):
            for each in value.values():
                gather(each)
        elif isinstance(value, (tuple, list)):
            for each in value:
                gather(each)
        elif hasattr(value, "__dict__") and not isinstance(value, nn.Module):
            for each in vars(value).values():
                gather(each)

    gather(output)
    above = [_reached([value.grad_fn]) - {value.grad_fn} for value in found]
    return [value for value in found if not any(value.grad_fn in nodes for nodes in above)]


def _refuse_other(name: str, images: Tensor, scores: Iterable[Tensor]) -> None:
    """Raise SiteError for what makes images, of noise or of images."""
    for score in scores:
        makes = score.dim() >= 4 and (score.shape[1] == 3 or images.dim() < 4 or score.shape[1:] == images.shape[1:])
        if makes and max(score.shape[2:]) > 1:
            raise SiteError(
                f"role is discriminator, and {name} makes {shape(score.shape)} of {shape(images.shape)}, an image: a discriminator makes "
                f"scores of images. Leave role out for a generator, or, if these are scores, {_named()}"
            )


def _named() -> str:
    return f"name the module whose input is the representation, as in {advice.sites()}"


def _choose(discriminator: nn.Module, ran: list[_Seen], scores: list[Tensor], sources: set[Any]) -> tuple[Site, ...]:
    layers = [each for each in ran if has_weights(each.module)]
    heads = [_nearest(score.grad_fn, layers, sources) for score in scores]
    whole = {id(each): each for found, _ in heads for each in found}
    single = all(len(found) == 1 and not past for found, past in heads)
    if single and len(whole) == len(scores) and not (len(whole) > 1 and _one_input(whole.values())):
        return tuple(_input_of(discriminator, each, layers, sources) for each in whole.values())
    shared = _shared(ran, layers, scores, sources)
    if shared is not None:
        return (shared,)
    if single and _one_input(whole.values()):
        return tuple(_input_of(discriminator, each, layers, sources) for each in whole.values())
    if len(whole) == 1 and (head := next(iter(whole.values()))).calls > 1:
        raise _called(discriminator, head)
    readers = ", ".join(sorted(each.path for each in whole.values())) or "no module with weights"
    raise SiteError(
        f"cannot tell what the last feature layer of {type(discriminator).__name__} hands on: its scores come of {readers} by several "
        "ways, as in a projection discriminator, and no module's output is what all of them read (an activation or a pooling that is no "
        f"module of its own, or that is called again elsewhere, stands between). Name the representation with "
        f"{advice.setting('sites', ['path:output'])}, or the inputs of all heads; the last modules that ran are "
        f"{', '.join(each.path for each in ran[-8:])}"
    )


def _input_of(discriminator: nn.Module, head: _Seen, layers: list[_Seen], sources: set[Any]) -> Site:
    """The site of a head's input, if that is a representation of the layers before it."""
    name = type(discriminator).__name__
    if head.calls != 1:
        raise _called(discriminator, head)
    below = _reached([head.came])
    if not any(each.made in below for each in layers if each is not head):
        raise SiteError(f"the head {head.path} of {name} reads the image itself: there is no feature layer before it; {_named()}")
    if len(head.gamma) not in (2, 4, 5):
        raise SiteError(
            f"the head {head.path} of {name} reads a tensor of {len(head.gamma)} axes, {head.gamma}; a representation is (N, C) or "
            f"(N, C, H, W); {_named()}"
        )
    if _reached([head.made], blocked={head.came}) & sources:
        raise SiteError(f"the head {head.path} of {name} reads the image by another way too, beside its first input; {_named()}")
    return Site(head.path)


def _called(discriminator: nn.Module, head: _Seen) -> SiteError:
    return SiteError(f"the head {head.path} of {type(discriminator).__name__} is called {head.calls} times in one forward; {_named()}")


def _one_input(heads: Iterable[_Seen]) -> bool:
    return len({each.came for each in heads}) == 1


def _nearest(node: Any, layers: list[_Seen], sources: set[Any]) -> tuple[list[_Seen], bool]:
    """The layers that a score is computed from with no other layer between, and whether the input is reached past all of them."""
    made = {each.made: each for each in layers if each.made is not None}
    reached = _reached([node], blocked=made.keys())
    return [each for at, each in made.items() if at in reached], bool(reached & sources)


def _shared(ran: list[_Seen], layers: list[_Seen], scores: list[Tensor], sources: set[Any]) -> Site | None:
    """What all scores come through: the input of the module that holds all heads, else the output of the last module before them,
    where what reads it reads it as it is.
    """
    tops = [score.grad_fn for score in scores]
    for each in reversed(ran):
        if each.calls != 1 or each.made is None:
            continue
        for node, side in ((each.made, "output"), (each.came, "input")):
            inside = side == "input" and node in _reached(tops, blocked={each.made})
            if node is None or node in tops or inside or len(each.gamma) not in (2, 4, 5):
                continue
            reached = _reached(tops, blocked={node})
            below = _reached([node])
            heads = [layer for layer in layers if layer.made in reached and layer.made is not node]
            if node not in reached or reached & sources or not heads or not any(layer.made in below for layer in layers):
                continue
            return Site(each.path, side) if _as_it_is(node, tops, heads) else None
    return None


def _as_it_is(node: Any, tops: list[Any], heads: list[_Seen]) -> bool:
    """Whether all that reads the output of node, heads and products, has nothing but sums, means and changes of shape before it."""
    made = {head.made for head in heads}
    to_heads = _reached([head.came for head in heads], blocked={node}) - {node}
    beside = _reached(tops, blocked={node, *made}) - {node, *made}
    beside = {each for each in beside if node in _reached([each], blocked=made)}
    products = [each for each in beside if type(each).__name__.lower().startswith(("mul", "mm", "bmm", "dot", "linear", "addmm"))]
    below = _reached([parent for each in products for parent, _ in each.next_functions], blocked={node, *made}) & beside
    return not to_heads & made and not any(map(_changes, to_heads | (below if products else beside)))


def _changes(node: Any) -> bool:
    name = type(node).__name__.lower()
    return any(word in name for word in _CHANGES)


def _reached(roots: Iterable[Any], blocked: Collection[Any] = ()) -> set[Any]:
    """The nodes of the graph of roots, those behind blocked ones left out."""
    seen: set[Any] = set()
    todo = [root for root in roots if root is not None]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if node not in blocked:
            todo.extend(parent for parent, _ in node.next_functions if parent is not None)
    return seen
