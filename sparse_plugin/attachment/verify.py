"""What is checked in the first forward pass, before its result is used: the site is called once, D1 makes the image,
and what D1 really consumes meets the constraint.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import frames, returned
from sparse_plugin.attachment.constraint_hook import ConstraintHook
from sparse_plugin.attachment.consumed import HOOKS as LOOKS
from sparse_plugin.attachment.consumed import Consumed
from sparse_plugin.attachment.hooks import SiteHook, as_needles, find, remove
from sparse_plugin.errors import SiteError
from sparse_plugin.network.images import blocks, flat_of, image_of, images_of, makes, rival_of
from sparse_plugin.network.sites import CHILD, Site, convolution, inside, kernel_owners, out_channels, shape
from sparse_plugin.registry.base import Constraint
from sparse_plugin.support import advice, capture

# How D1 is known decides what the first forward checks: named by "hand", only that the site is called once; found by a
# "trace" or named by an "adapter", also that it makes the image; by a "guess" from the modules alone, also that nothing
# else could be D1. Named by hand or by an adapter, other modules that make images are their choice.
KnownBy = Literal["hand", "adapter", "trace", "guess"]

Ran = list[tuple[str, tuple[int, ...]]]  # the watched modules that ran in one forward, with the shapes of their outputs


class FirstPass:
    """The checks of one generator's first forward, shared by its watch hooks.

    d1s are the paths whose outputs must be the images; none where sites are not D1 (encoder scales, sites by hand). Where
    one was guessed from the modules alone, nothing of the image's shape may run after it. heads: the sites of which one
    forward may use only some, since they make images of their own, as at the depths of a growing generator.
    """

    def __init__(self, sites: tuple[Site, ...], d1s: tuple[str, ...], guessed: bool, heads: Collection[str]) -> None:
        self.sites, self.d1s, self.guessed, self.heads = sites, d1s, guessed, frozenset(heads)
        self.scores = False  # whether it is a discriminator's, which makes no image
        self.done = False
        self.compiled = False  # whether a site ran in a graph of its own while the generator ran as it is written
        self.unread = False  # whether D1 consumed what has no values yet: a meta or fake tensor, or one being recorded
        self.rooted: dict[int, bool] = {}  # by thread: whether somebody tells when the forward ends
        self.parts: dict[int, str] = {}  # by thread: the path of the part that was called past the generator
        self.ran: dict[int, Ran] = {}
        self.given: dict[int, int] = {}  # by thread: the pixels of the largest image that the part was given
        self.traced: list[tuple[str, torch.Size]] | None = None  # the same, while torch.compile follows a forward

    def __deepcopy__(self, memo: dict[int, Any]) -> FirstPass:
        twin = copy.copy(self)
        twin.rooted, twin.parts, twin.ran, twin.given = {}, {}, {}, {}
        memo[id(self)] = twin
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "rooted": {}, "parts": {}, "ran": {}, "given": {}}

    def begin_traced(self) -> None:
        """torch.compile begins to follow a call of the generator; the check of it leaves nothing in the graph."""
        if not self.done and not capture.exporting():
            self.traced = []

    def end_traced(self, output: Any) -> None:
        """torch.compile has followed the call to its end. Plain loops: it follows these lines, too."""
        ran, self.traced = self.traced, None
        images = [] if ran is None else images_of(output)
        if ran is None or not (images or self.scores):
            return
        for site in self.sites:
            count = sum([path == site.path for path, _ in ran])
            if count != 1 and not (count == 0 and site.path in self.heads):
                raise self._wrong_count(site, count)
        for d1 in self.d1s:
            last, after = None, ""
            for path, size in ran:
                if path == d1:
                    last, after = size, ""
                elif size == last and not inside(d1, path):
                    after = path
            if last is not None and images and not any(self._makes(last, image.shape) for image in images):
                raise self._wrong_image(d1, last, images[0].shape)
            if after and self.guessed:
                raise self._wrong_last(d1, after)

    def begin(self) -> None:
        """The generator is called."""
        me = threading.get_ident()
        self.rooted[me], self.ran[me] = True, []

    def see(self, path: str, module: nn.Module, output: Any) -> None:
        """A watched module ran."""
        me = threading.get_ident()
        ran = self.ran.setdefault(me, [])
        image = image_of(output)
        ran.append((path, () if image is None else _size(image)))
        if not self.rooted.get(me):
            # Its forward is called directly, past the generator's own hooks: the call itself is followed to its end.
            part = frames.when_returned(module, path, self.end)
            self.rooted[me] = part is not None
            if part is not None:
                self.parts[me], self.given[me] = part, frames.given(module, path)
            elif any(seen == path for seen, _ in ran[:-1]):
                raise SiteError(
                    f"{path} ran again before anybody could tell what image it makes: the generator's forward is called "
                    f"directly, and a profiler runs. Run it once without the profiler, or name the site with {advice.sites()}"
                )

    def end(self, output: Any) -> None:
        """The forward that `begin` or `see` followed returned; None where it failed."""
        me = threading.get_ident()
        ran, part, given = self.ran.pop(me, []), self.parts.pop(me, None), self.given.pop(me, 0)
        self.rooted[me] = False
        if output is not None and not self.done:  # another thread may have been first, and taken the watches off
            found = images_of(output)
            flat = flat_of(output) if self.guessed and not found else None
            images = [_size(image) for image in (found if flat is None else [flat])]
            if part is None or self._concerned(part, ran, images[0] if images else None, given):
                if self.guessed and found and (rival := rival_of(found[0], output)) is not None:
                    raise SiteError(
                        f"the generator returns {shape(found[0].shape)} and {shape(rival.shape)}, and either may be the image, so D1 "
                        f"cannot be told. Name it with {advice.sites()}; `sparse-plugin sites` lists what runs"
                    )
                self._judge(ran, images)

    def _concerned(self, part: str, ran: Ran, image: tuple[int, ...] | None, given: int) -> bool:
        """Whether a part that was called by itself makes the image: an encoder, say, has no site and makes none, but a code that is
        smaller than what it was given.
        """
        at = [site.path for site in self.sites]
        if any(path in at for path, _ in ran):
            return True
        if image is None or image[1] > 4 or frames.is_code(math.prod(image[-2:]), given):
            return False
        return any(path == part or inside(path, part) for path in at)

    def _judge(self, ran: Ran, images: Sequence[tuple[int, ...]]) -> None:
        self._judge_calls(ran)
        for d1 in self.d1s:
            last = next((size for path, size in reversed(ran) if path == d1), ())
            if images and not any(self._makes(last, image) for image in images):
                raise self._wrong_image(d1, last, images[0])
            rest = ran[[path for path, _ in ran].index(d1) + 1 :]
            after = [path for path, size in rest if size == last and not inside(d1, path)]
            if after and self.guessed:
                raise self._wrong_last(d1, after[-1])
        self.done, self.unread = not self.unread, False  # the shapes are right; what has values is looked at once more

    def _makes(self, size: Sequence[int], image: Sequence[int]) -> bool:
        return makes(size, image) or bool(not self.guessed and blocks(size, image))

    def _judge_calls(self, ran: Ran) -> None:
        if self.compiled:
            if self.d1s:
                raise SiteError(
                    "the module that Γ is read at is compiled by itself, so that nothing tells whether it makes the image; give "
                    f"{advice.example() or 'an input'}, or run the generator once before it is compiled, or name the site with "
                    f"{advice.sites()}"
                )
            return
        calls = {site: sum(path == site.path for path, _ in ran) for site in self.sites}
        used = any(calls[site] for site in self.sites if site.path in self.heads)
        for site, count in calls.items():
            if count != 1 and not (count == 0 and used and site.path in self.heads):
                raise self._wrong_count(site, count)

    def _wrong_image(self, d1: str, last: Sequence[int], image: Sequence[int]) -> SiteError:
        looks = f", or attach with {advice.example()}, which looks at what runs" if self.guessed and advice.example() else ""
        return SiteError(
            f"{d1} makes {shape(last)} and the image is {shape(image)}: by its shape it is not the last synthesis "
            f"convolution. Name the right one with {advice.sites()}, this one if it is meant all the same{looks}; `sparse-plugin sites` "
            "lists them"
        )

    def _wrong_last(self, d1: str, after: str) -> SiteError:
        return SiteError(
            f"{after} runs after {d1} and makes a tensor of the image's shape too: D1 cannot be told. "
            f"Name it with {advice.sites()}; `sparse-plugin sites` lists what runs"
        )

    def _wrong_count(self, site: Site, count: int) -> SiteError:
        around = site.path.rpartition(".")[0]
        named = advice.sites(around) if not count and around else advice.sites()
        looks = f", or attach with {advice.example()}, which looks at what runs" if self.guessed and advice.example() else ""
        return SiteError(
            f"the {site} is called {count} times in one forward, and a representation is made once; name another "
            f"site with {named}{looks}"
            + (f"; where its forward is called directly, or its weight used past it, {advice.returned()}" if not count else "")
        )


def _size(image: Tensor) -> tuple[int, ...]:
    return tuple(capture.sizes(image))


class Watch(capture.Unscriptable):
    """A forward hook on one module: tells the first pass that it ran, and checks Γ where it is a site."""

    def __init__(self, first: FirstPass, path: str, hooks: Sequence[SiteHook] = ()) -> None:
        self.first, self.path, self.hooks = first, path, hooks

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            if self.first.traced is not None and isinstance(output, Tensor):
                self.first.traced.append((self.path, output.shape))
            return
        if self.first.done:
            if not capture.recording():
                remove(module, Watch)
            return
        for place, hook in enumerate(self.hooks):
            if not isinstance(hook, ConstraintHook):
                continue
            consumed = args[0] if hook.site.side == "input" else output
            if not capture.readable(consumed):
                self.first.unread = True
            elif not returned.holds(constraint := hook.acting(module), as_needles(consumed)):
                raise self._broken(constraint, hook, self.hooks[place + 1 :], module)
        self.first.see(self.path, module, output)

    def _broken(self, constraint: Constraint, hook: SiteHook, after: Sequence[SiteHook], module: nn.Module) -> SiteError:
        """What D1 consumes does not meet a constraint."""
        later = [each.acting(module) for each in after if isinstance(each, ConstraintHook) and each.site == hook.site]
        if later:
            return SiteError(
                f"{constraint} no longer holds at the {hook.site} after {' and '.join(map(str, later))}, listed behind it: list "
                "first what gives Γ more non-zeros, or drop one of them"
            )
        return SiteError(
            f"after projection the {hook.site} still does not meet {constraint}: another hook "
            "changes it, or project() of the regularizer does not do what holds() checks"
        )


TEMPORARY = (Watch, *LOOKS)


def settle(generator: nn.Module) -> None:
    """Take the checks off generator that are done."""
    if all(hook.first.done for _, _, hook in find(generator, Watch)):
        for module in generator.modules():
            remove(module, Watch)


def watch(generator: nn.Module, hooks: list[SiteHook], known_by: KnownBy) -> FirstPass:
    """Check generator's next forward pass at the sites of these hooks, beside what D1 consumes there."""
    sites = tuple(dict.fromkeys(hook.site for hook in hooks))
    makers = dict.fromkeys(hook.site for hook in hooks if not hook.aside)
    d1s = () if known_by == "hand" else tuple(convolution(generator, site) for site in makers)
    first = FirstPass(sites, d1s, known_by == "guess", _heads(generator, sites))
    first.scores = any(hook.role == "discriminator" for hook in hooks)
    first.heads = frozenset() if first.scores else first.heads  # of a discriminator all are used
    at: dict[str, list[SiteHook]] = {}
    for hook in hooks:
        at.setdefault(hook.site.path, []).append(hook)
    paths = {path for path, _ in kernel_owners(generator)} if d1s else set()
    for path in sorted(paths | at.keys()):
        if CHILD not in path.split("."):
            generator.get_submodule(path).register_forward_hook(Watch(first, path, at.get(path, ())))
    for site in sites:
        Consumed.place(generator, [hook for hook in hooks if hook.site == site], bool(d1s))
    return first


def _heads(generator: nn.Module, sites: tuple[Site, ...]) -> list[str]:
    """The paths of those of several sites that are inputs of convolutions which make 1 to 4 channels: image heads."""
    inputs = [site for site in sites if site.side == "input"]
    made = {site.path: out_channels(generator.get_submodule(convolution(generator, site))) for site in inputs}
    return [path for path, channels in made.items() if channels is not None and channels <= 4] if len(sites) > 1 else []
