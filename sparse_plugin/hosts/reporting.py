"""Telling people, and the journal, what became of the generators that were built."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sparse_plugin.hosts.journal import Journal
from sparse_plugin.registry.composition import parts_of, penalizes
from sparse_plugin.support import advice
from sparse_plugin.support.console import say

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.attachment.handle import Attachment
    from sparse_plugin.registry.base import Regularizer


def acting(name: str, role: str) -> str:
    """A regularizer, and the network that it acts on unless that is a generator."""
    return name if role == "generator" else f"{name}@{role}"


class Reporter:
    """Says once what was attached where; the journal has it as often as it happened."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._said: set[str] = set()

    def waiting(self, generator: nn.Module) -> None:
        """A generator was built, and no regularizer is named yet."""
        self._journal.note("waiting", type(generator).__name__)

    def attached(self, handle: Attachment) -> None:
        """A generator has a regularizer, though Γ may be looked for in its first call only."""
        for part in parts_of(handle.regularizer):
            if not penalizes(part):
                self._journal.note("part", acting(part.name, handle.role))
        if penalizes(handle.regularizer):
            self._journal.note("penalty", str(handle.regularizer))
        if (auto := handle.regularizer.automatic) is not None:
            self._journal.note("auto", str(auto.measure))
        self._journal.note("network", handle.role)
        if not handle.sites:
            self._attached(f"{handle.regularizer} waits for the first call of {type(handle.generator).__name__}")

    def dense(self, generator: nn.Module, regularizer: Regularizer) -> None:
        """Γ of a generator is dense by nature."""
        for part in parts_of(regularizer):
            if not penalizes(part):
                how = (
                    "begins with all of it"
                    if part.scheduled
                    else f"acts on it at once; {advice.setting('k', 'auto')} begins with all of it"
                )
                self._once(f"Γ of {type(generator).__name__} is dense by nature, and {part} {how}")

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)

    def placed(self, handle: Attachment) -> None:
        """A generator's Γ is found, and hooked."""
        from sparse_plugin.network.sites import own_kernel

        places = []
        for site in handle.sites:
            module = handle.generator.get_submodule(site.path)
            kernel = own_kernel(module)
            size = " " + "x".join(map(str, kernel.shape)) if kernel is not None else ""
            places.append(f"the {site} ({type(module).__name__}{size})")
        self._attached(f"{handle.regularizer} attached to {type(handle.generator).__name__} at {', '.join(places)}")

    def effective(self, hook: Any) -> None:
        """A hook has taken effect."""
        self._journal.note("effective", str(hook.site))
        self._journal.note("acted", acting(hook.regularizer.name, hook.role))

    def penalizable(self, hook: Any) -> None:
        """A hook's generator is trained, so that a penalty is due."""
        self._journal.note("penalizable", str(hook.site))
        self._journal.note("part", acting(hook.regularizer.name, hook.role))

    def trained(self, hook: Any) -> None:
        """An optimizer trains a hook's generator."""
        self._journal.note("trained", str(hook.site))

    def trained_others(self, optimizer: object) -> None:
        """An optimizer trains what is not attached."""
        self._journal.note("beside", type(optimizer).__name__)

    def logging(self, handle: Attachment) -> None:
        """A generator's measurements are logged: follow what becomes of them where they go to something of the host's."""
        if handle.recorder is None:
            return
        handle.recorder.tell = self._logged
        for outlet in handle.recorder.outlets:
            if outlet.waits:
                self._journal.note("log", outlet.name)

    def _logged(self, kind: str, sink: str, text: str) -> None:
        self._journal.note(kind, f"{sink}: {text}")
        if kind == "logged":
            say(f"measurements go to {text}, too [process {os.getpid()}]")

    def _attached(self, text: str) -> None:
        self._once(f"{text} [process {os.getpid()}]")
        self._journal.note("attached", text)
