"""What is checked in the first forward pass, before its result is used: the site is called once, D1 makes the image,
and what D1 really consumes meets the constraint. Where D1 was not known before, it is found here.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin import advice, capture
from sparse_plugin.errors import SiteError
from sparse_plugin.hooks import SiteHook, find, remove
from sparse_plugin.registry.base import Constraint
from sparse_plugin.sites import CHILD, Site, image_of, inside, kernel_owners, shape


class FirstPass:
    """The checks of one generator's first forward, shared by its watch hooks.

    d1 is the path whose output must be the image, or None where sites are not D1 (encoder scales, sites by hand). Where it
    was guessed from the modules alone, nothing of the image's shape may run after it.
    """

    def __init__(self, sites: tuple[Site, ...], d1: str | None, guessed: bool) -> None:
        self.sites, self.d1, self.guessed = sites, d1, guessed
        self.done = False
        self.unread = False  # whether D1 consumed what has no values yet: a meta or fake tensor, or one being recorded
        self.rooted: dict[int, bool] = {}  # by thread: whether the generator itself is being called
        self.ran: dict[int, list[tuple[str, tuple[int, ...]]]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> FirstPass:
        twin = copy.copy(self)
        twin.rooted, twin.ran = {}, {}
        memo[id(self)] = twin
        return twin

    def begin(self) -> None:
        """The generator is called."""
        me = threading.get_ident()
        self.rooted[me], self.ran[me] = True, []

    def see(self, path: str, output: Any) -> None:
        """A watched module ran."""
        me = threading.get_ident()
        ran = self.ran.setdefault(me, [])
        # A host that calls `forward` directly never tells where a pass begins: a module seen again starts the next.
        if not self.rooted.get(me) and any(seen == path for seen, _ in ran) and self._complete(ran):
            self._judge(ran, None)
            return
        image = image_of(output)
        ran.append((path, _size(image)))

    def end(self, output: Any) -> None:
        """The generator returned."""
        me = threading.get_ident()
        image = image_of(output)
        self.rooted[me] = False
        self._judge(self.ran.pop(me, []), None if image is None else _size(image))

    def _complete(self, ran: list[tuple[str, tuple[int, ...]]]) -> bool:
        return all(any(seen == site.path for seen, _ in ran) for site in self.sites)

    def _judge(self, ran: list[tuple[str, tuple[int, ...]]], image: tuple[int, ...] | None) -> None:
        for site in self.sites:
            calls = sum(path == site.path for path, _ in ran)
            if calls != 1:
                raise SiteError(
                    f"the {site} is called {calls} times in one forward, and a representation is made once; name another "
                    f"site with {advice.sites()}"
                    + (
                        f", or attach with {advice.example()}, which finds it"
                        if self.guessed and advice.example()
                        else ""
                    )
                    + (" (something calls this module's forward directly)" if not calls else "")
                )
        if self.d1 is not None:
            last = next((size for path, size in reversed(ran) if path == self.d1), ())
            if image is not None and last != image:
                raise SiteError(
                    f"{self.d1} makes {shape(last)} and the image is {shape(image)}: it is not the last synthesis "
                    f"convolution. Name the right one with {advice.sites()}; `sparse-plugin sites` lists them"
                )
            rest = ran[[path for path, _ in ran].index(self.d1) + 1 :]
            after = [path for path, size in rest if size == last and not inside(self.d1, path)]
            if after and self.guessed:
                raise SiteError(
                    f"{after[-1]} runs after {self.d1} and makes a tensor of the image's shape too: D1 cannot be told. "
                    f"Name it with {advice.sites()}; `sparse-plugin sites` lists what runs"
                )
        self.done, self.unread = not self.unread, False  # the shapes are right; what has values is looked at once more


def _size(image: Tensor | None) -> tuple[int, ...]:
    return () if image is None else tuple(capture.sizes(image))


class Watch(capture.Unscriptable):
    """A forward hook on one module: tells the first pass that it ran, and checks Γ where it is a site."""

    def __init__(self, first: FirstPass, path: str, hook: SiteHook | None = None) -> None:
        self.first, self.path, self.hook = first, path, hook

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            return
        if self.first.done:
            if not capture.recording():
                remove(module, Watch)
            return
        if self.hook is not None and isinstance(self.hook.regularizer, Constraint):
            consumed = args[0] if self.hook.site.side == "input" else output
            if not capture.readable(consumed):
                self.first.unread = True
            elif not self.hook.regularizer.holds(consumed):
                raise SiteError(
                    f"after projection the {self.hook.site} still does not meet {self.hook.regularizer}: another hook "
                    "changes it, or project() of the regularizer does not do what holds() checks"
                )
        self.first.see(self.path, output)


class RootBegins(capture.Unscriptable):
    """A forward pre-hook on the generator."""

    def __init__(self, first: FirstPass) -> None:
        self.first = first

    def __call__(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            return
        if not self.first.done:
            self.first.begin()
        elif not capture.recording():
            remove(module, RootBegins)


class RootEnds(capture.Unscriptable):
    """A forward hook on the generator."""

    def __init__(self, first: FirstPass) -> None:
        self.first = first

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            return
        if not self.first.done:
            self.first.end(output)
        if self.first.done and not capture.recording():
            remove(module, RootEnds)


TEMPORARY = (Watch, RootBegins, RootEnds)


def settle(generator: nn.Module) -> None:
    """Take the checks off generator that are done."""
    if all(hook.first.done for _, _, hook in find(generator, TEMPORARY)):
        for module in generator.modules():
            remove(module, TEMPORARY)


def watch(generator: nn.Module, hooks: list[tuple[str, SiteHook]], d1: str | None, guessed: bool) -> None:
    """Check generator's next forward pass. hooks: the site hooks with the paths they stand at; the rest: see FirstPass."""
    first = FirstPass(tuple(hook.site for _, hook in hooks), d1, guessed)
    at = dict(hooks)
    paths = {path for path, _ in kernel_owners(generator)} if d1 is not None else set()
    for path in sorted(paths | at.keys()):
        if CHILD not in path.split("."):
            generator.get_submodule(path).register_forward_hook(Watch(first, path, at.get(path)))
    generator.register_forward_pre_hook(RootBegins(first))
    generator.register_forward_hook(RootEnds(first))
