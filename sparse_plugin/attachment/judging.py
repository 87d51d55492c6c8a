"""Which modules make the image of a running call, and what is done about one that is no site."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import nn

from sparse_plugin.attachment import hooks
from sparse_plugin.attachment.calls import GeneratorCall
from sparse_plugin.attachment.heads import Head, Heads
from sparse_plugin.attachment.looks import looking
from sparse_plugin.errors import SiteError
from sparse_plugin.network import detection, probe
from sparse_plugin.network.sites import climb, inside

# A generator whose own integers change at every call, a counter, say, is not traced for ever where the graph of its image
# tells at the end of each call what made it.
TRACES = 32


class Judge:
    """Looks once more at calls of one generator, each kind of them once."""

    def __init__(self, heads: Heads) -> None:
        self.heads = heads
        self.traces = 0
        self.graphs = False  # whether the latest image had a graph, which tells what made it
        self.idle: set[Hashable] = set()  # the kinds of calls in which what cannot be followed leaves nothing in the image

    def meet(self, now: GeneratorCall, head: Head, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """A head runs in this call: where it makes the image, Γ is regularized at it from now on."""
        if now.kind(head.idle) in head.kinds or (self.traces >= TRACES and self.graphs and torch.is_grad_enabled()):
            return None
        ran, new, apart = self._look(now)
        here = next((path for path in new if now.generator.get_submodule(path) is module), None)
        if here is None or not new[here]:
            self.traces += 1
            self._note(now, ran, new)
            return None
        together = [path for path, matters in new.items() if matters]
        if len(together) > 1 and here not in apart:
            raise SiteError(
                f"{len(together)} further modules of {type(now.generator).__name__} make the image together: "
                f"{', '.join(together)}. {self.heads.name_all(now.generator)}"
            )
        for hook in self._follow(now.generator, here):
            args = hook(module, args)
        return args

    def account(self, now: GeneratorCall) -> None:
        """The graph of the image leads to a convolution beside the sites. Where nothing of it is in the image yet, as of a
        head that is faded in from 0, it is regularized from the next call on.
        """
        if hooks.compiled(now.generator) or (self.idle and now.kind(True) in self.idle):
            return
        _, new, _ = self._look(now)
        if not new or any(new.values()):
            which = ", ".join(path for path, matters in new.items() if matters) or "a convolution"
            raise SiteError(
                f"{which} of {type(now.generator).__name__} makes the image too, beside {self.heads.where(now.generator)}, and what it "
                f"consumed was not regularized. {self.heads.name_all(now.generator)}"
            )
        if self.heads.fixed(now.generator):
            self.idle.add(now.kind(True))
            return
        due = self.heads.due
        due.extend(path for path in new if path not in due)  # a checkpoint computes this call once more as it was

    def _look(self, now: GeneratorCall) -> tuple[set[nn.Module], dict[str, bool], set[str]]:
        """Trace the call once more. Returns what ran; of the paths that make an image and are no sites whether it would be another one
        without each; and the paths of what makes an image by itself.
        """
        with looking(), probe.random_states(now.random):
            found = detection.trace(now.generator, *now.args, **now.kwargs)
        sites = {path for path, _, _ in hooks.find(now.generator, hooks.SiteHook)}
        for site in found.sites:
            if site.path not in sites and (old := [path for path in sites if inside(path, site.path)]):
                raise SiteError(
                    f"{old[0]} of {type(now.generator).__name__} was put into another module, and all of {site.path} is its dictionary "
                    "now, as with an adapter; detach() and attach again when the generator is as it shall be"
                )
        makers = {climb(now.generator, c.path): c in found.makers for c in (*found.makers, *found.idle)}
        ran = {now.generator.get_submodule(path) for c in found.candidates for path in (c.path, climb(now.generator, c.path))}
        new = {path: matters for path, matters in makers.items() if not any(path == site or inside(path, site) for site in sites)}
        return ran, new, {site.path for site in found.sites}

    def _note(self, now: GeneratorCall, ran: set[nn.Module], new: dict[str, bool]) -> None:
        """Remember of the heads that ran in a look at this call, and do not make its image, that they do not."""
        for path, module, head in hooks.find(now.generator, Head):
            if module in ran and not new.get(path):  # else the look took another way than the call that is running
                head.idle = path in new
                head.kinds.add(now.kind(head.idle))

    def _follow(self, generator: nn.Module, path: str) -> tuple[hooks.SiteHook, ...]:
        """The hooks that stand at path from now on."""
        why = self.heads.fixed(generator)
        if why:
            raise SiteError(
                f"{path} of {type(generator).__name__} makes the image now, and {self.heads.plan.regularizer} {why}. "
                f"{self.heads.name_all(generator)}"
            )
        return self.heads.stand_at(generator, path)
