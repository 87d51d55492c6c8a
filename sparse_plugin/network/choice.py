"""Which of the candidates of a forward pass is D1: the one that the image is computed from, with nothing between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from sparse_plugin.network import readers
from sparse_plugin.network.candidate import Candidate, Detection
from sparse_plugin.network.images import blocks, makes
from sparse_plugin.network.once_more import OnceMore
from sparse_plugin.network.sites import Site, climb, filters, inside, own_kernel, shape, takes_an_image
from sparse_plugin.support import advice, capture


def choose(
    generator: nn.Module,
    candidates: dict[str, Candidate],
    fired: dict[str, Candidate],
    images: Sequence[Tensor],
    again: OnceMore,
) -> Detection:
    """The sites that were found among candidates, the modules with a kernel, for images; none, and why, where it cannot be told.

    fired: all modules, by path. again: the forward once more, with something changed.
    """
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
    able = [_able(generator, ran, image, again, makes) or _able(generator, ran, image, again, blocks) for image in computed]
    # A smaller image that no convolution makes, such as one that was shrunk, is none of its own.
    kept = [place for place, image in enumerate(computed) if able[place] or image.shape == images[0].shape]
    computed, able = [computed[place] for place in kept], [able[place] for place in kept]
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
            return Detection(ran, size, (), _why_not(len(found), tuple(image.shape), capture.readable(images[0])), makers, idle)
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
        if r := max(blocks(d1.output, image.shape) for image in computed):
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
    image: Tensor,
    again: OnceMore,
    has_shape: Callable[[Sequence[int], Sequence[int]], Any],
) -> list[Candidate]:
    """The candidates that can be D1 of this image; the others get their verdict. has_shape: whether an output has the image's, in
    itself or in blocks, for which those are looked at once more that were refused.
    """
    makers, size = _makers(image, ran), tuple(image.shape)
    for c in ran:
        weight = own_kernel(c.module)
        if filters(c.module):
            c.verdict = "it makes an image of an image, pixel by pixel or channel by channel"
        elif not has_shape(c.output, size):
            c.verdict = (has_shape is blocks and c.verdict) or "output has not the image's shape"
        elif c.by_keyword:
            why = "it is given its input by keyword, and a hook has positional arguments: give it as the first of them"
            c.verdict = f"{why}, or name {advice.returned()}"
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
            if not again.matters(c.path, size):
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
