"""Seeing modules of a class when they are built, whatever code builds them."""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparse_plugin.support.subclasses import below, on_subclass


def named(spec: str, cls: type) -> bool:
    """Whether "module:Class" names cls by where it is defined. `__main__`, the script's own name, or that of the module that
    `python -m` runs, stands for the main script, in a spawned process too.
    """
    module, _, name = spec.partition(":")
    if cls.__name__ != name or cls.__module__ not in ("__main__", "__mp_main__"):
        return cls.__name__ == name and cls.__module__ == module
    main = sys.modules.get(cls.__module__)
    file, ran = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    return module == "__main__" or (file is not None and Path(file).stem == module) or getattr(ran, "name", None) == module


def handed_on(spec: str, cls: type) -> bool:
    """Whether "module:Class" names cls by a module that hands it on from the one that defines it."""
    module, _, name = spec.partition(":")
    try:
        return getattr(sys.modules.get(module), name, None) is cls
    except Exception:  # a module's own __getattr__ may do anything
        return False


_GENERATOR = r"_?(net)?_?(g|gen|generator)(_?net)?_?\d*"


def named_generator(cls: type) -> bool:
    """Whether the name of cls says generator and nothing else: Generator, G, netG, _netG, generator32."""
    return re.fullmatch(_GENERATOR, cls.__name__, re.IGNORECASE) is not None


def generator_like(name: str) -> bool:
    """Whether name is one that generators have: also SNGANGenerator, GeneratorResNet, DCGAN_G."""
    ends = re.search(r"(generator\d*|_(net)?G)$|^generator_?((res|u)?net)?\d*$", name, re.IGNORECASE)
    return ends is not None or re.fullmatch(_GENERATOR, name, re.IGNORECASE) is not None


def looks_like_a_generator(cls: type) -> bool:
    """Whether cls has the name of a generator; torch and torchvision have classes of such names that make no images."""
    return generator_like(cls.__name__) and cls.__module__.partition(".")[0] not in ("torch", "torchvision")


class Building(threading.local):
    """The instances that a thread is building."""

    def __init__(self) -> None:
        self.now: set[int] = set()


def after_construction(cls: Any, then: Callable[[Any], None], building: Building | None = None) -> Callable[[], None]:
    """Call then(instance) when an instance of cls, or of a class derived from it, is completely built.

    Copies and unpickled instances are not built. Where several calls share one `building`, an instance that is built
    inside another's constructor is a part of it, and passed over. Returns a function that gives the classes back their
    `__init__`.
    """
    outermost = building is not None
    building = Building() if building is None else building
    originals: list[tuple[Any, Any]] = []

    def wrap(kind: Any) -> None:
        if "__init__" not in vars(kind):
            return
        original = kind.__init__

        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            if id(self) in building.now or (outermost and building.now):
                original(self, *args, **kwargs)
                return
            building.now.add(id(self))
            try:
                original(self, *args, **kwargs)
            finally:
                building.now.discard(id(self))
            then(self)

        originals.append((kind, original))
        kind.__init__ = __init__

    if "__init__" not in vars(cls):
        cls.__init__ = _inherited(cls)
        originals.append((cls, None))
    for kind in (cls, *below(cls)):
        wrap(kind)
    stop = on_subclass(cls, wrap)

    def undo() -> None:
        stop()
        for kind, original in reversed(originals):
            if original is None:
                del kind.__init__
            else:
                kind.__init__ = original

    return undo


def _inherited(cls: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super(cls, self).__init__(*args, **kwargs)

    return __init__
