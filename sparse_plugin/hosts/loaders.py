"""Class methods that build a generator and bring its weights, such as `from_pretrained`.

They put tensors in place by name, past load_state_dict, and into a generator that they have built on the meta device. So what one of
them builds is attached when it returns, and what the plugin added to the checkpoint is kept from it and loaded then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import wrapt

from sparse_plugin.errors import CheckpointError
from sparse_plugin.hosts.patching import Patches
from sparse_plugin.support.load_hooks import LoadHook, before_loading
from sparse_plugin.support.subclasses import below, on_subclass

if TYPE_CHECKING:
    from torch import Tensor, nn

_Proxy: Any = wrapt.ObjectProxy
# Others, a class's own main() say, may train what they build.
_NAMES = ("from_", "load", "restore")


class Loading:
    """One running call of a loader: what it has built, with what is to be done then, and what it has read of ours."""

    def __init__(self) -> None:
        self.built: list[tuple[nn.Module, Callable[[Any], None]]] = []
        self.ours: dict[str, Tensor] = {}
        self.read = False  # whether it has read a checkpoint at all
        self._taking: list[Any] = []

    def build(self, generator: nn.Module, then: Callable[[Any], None]) -> None:
        """generator was built: then is due when the call returns. What is loaded into it until then is without our entries, however it
        was read, or nested in a file.
        """
        self.built.append((generator, then))
        self._taking.append(before_loading(generator, _Takes(self)))

    def end(self) -> None:
        """The call is over: nothing is kept from what was built any more."""
        for handle in self._taking:
            handle.remove()

    def take(self, entries: dict[str, Any]) -> dict[str, Any]:
        """The entries of a checkpoint without ours, which are kept."""
        from sparse_plugin.attachment.child import own_entries

        self.read = True
        ours = own_entries(entries)
        self.ours.update(ours)
        return {key: value for key, value in entries.items() if key not in ours} if ours else entries

    def finish(self) -> None:
        """Do what is due for all that was built, and give each what was read of its own. Raises CheckpointError for what is none's."""
        for generator, then in self.built:
            then(generator)
        left = set(self.ours)
        for generator, _ in self.built:
            left -= _load(generator, self.ours, self.read)
        if left and self.built:
            name = type(self.built[0][0]).__name__
            raise CheckpointError(
                f"the checkpoint holds what sparse_plugin added at {min(left).rpartition('.')[0]}, and {name} has no such module: it "
                "is of another architecture; load it into the one that it was trained as"
            )


class _Takes(LoadHook):
    """A load_state_dict pre-hook of what a running loader has built; one that a copy of that carries away does nothing."""

    def __init__(self, loading: Loading | None = None) -> None:
        self.loading = loading

    def __deepcopy__(self, memo: dict[int, Any]) -> _Takes:
        return _Takes()

    def __reduce__(self) -> tuple[type[_Takes], tuple[()]]:
        return _Takes, ()

    def load(self, module: nn.Module, state_dict: dict[str, Any], prefix: str) -> None:
        if self.loading is not None:
            here = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
            for key in here.keys() - self.loading.take(here).keys():
                del state_dict[prefix + key]


def _load(generator: nn.Module, ours: Mapping[str, Tensor], read: bool) -> set[str]:
    """Load those of ours whose modules generator has. Returns their keys."""
    from sparse_plugin.attachment.child import children, fitting

    found = {_without_wrapper(generator, key): key for key in ours}
    own = fitting(generator, {key: ours[given] for key, given in found.items()})
    if own:
        generator.load_state_dict(own, strict=False)
    elif read:
        for child in children(generator)[:1]:
            child.say_untrained()
    return {found[key] for key in own}


def _without_wrapper(generator: nn.Module, key: str) -> str:
    """key as generator has it, where the file names it as a part of something else, a DataParallel say."""
    from sparse_plugin.attachment.child import fitting
    from sparse_plugin.network.sites import CHILD

    parts = key.split(".")
    ends = [".".join(parts[start:]) for start in range(parts.index(CHILD))] or [key]
    return next((end for end in ends if fitting(generator, {end: None})), key)


class Loaders:
    """The loaders of the classes that are watched."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._here = threading.local()
        self._running: list[Loading] = []  # of all threads: some read with several
        self._followed: set[type] = set()

    def after(self, then: Callable[[Any], None]) -> Callable[[Any], None]:
        """then, called for what is built now, or when the loader that builds it returns."""

        def built(generator: Any) -> None:
            now: Loading | None = getattr(self._here, "loading", None)
            if now is None:
                then(generator)
            else:
                now.build(generator, then)

        return built

    def follow(self, cls: type) -> None:
        """Follow the loaders of cls, and of classes derived from it, now or later."""
        self._follow_reading()
        for kind in (cls, *below(cls)):
            self._wrap(kind)
        self._patches.undo.append(on_subclass(cls, self._wrap))

    def _wrap(self, kind: type) -> None:
        if kind in self._followed:
            return
        self._followed.add(kind)
        for name in _class_methods(kind):
            self._patches.wrap(kind, name, self._call)

    def _call(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """A loader is called; inside another it is a part of that."""
        if getattr(self._here, "loading", None) is not None:
            return wrapped(*args, **kwargs)
        with self._loading() as now:
            made = wrapped(*args, **kwargs)
        now.finish()
        return made

    @contextmanager
    def _loading(self) -> Iterator[Loading]:
        now = self._here.loading = Loading()
        self._running.append(now)
        try:
            yield now
        finally:
            self._here.loading = None
            self._running.remove(now)
            now.end()

    def _now(self) -> Loading | None:
        """The call for which this thread reads."""
        mine: Loading | None = getattr(self._here, "loading", None)
        return mine or (self._running[-1] if self._running else None)

    def _follow_reading(self) -> None:
        """See what is read by torch.load and safetensors, once."""
        if self._followed:
            return

        def load(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            found, now = wrapped(*args, **kwargs), self._now()
            return now.take(found) if now is not None and isinstance(found, dict) else found

        def opened(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            file, now = wrapped(*args, **kwargs), self._now()
            return file if now is None else _Open(file, now)

        wrap = self._patches.wrap
        self._patches.when_imported("torch", lambda module: wrap(module, "load", load))
        self._patches.when_imported("safetensors", lambda module: wrap(module, "safe_open", opened))

        def imported(module: Any) -> None:
            wrap(module, "safe_open", opened)  # which its load_file uses, however that was imported
            wrap(module, "load", load)

        self._patches.when_imported("safetensors.torch", imported)


class _Open(_Proxy):  # type: ignore[misc]
    """An open safetensors file without our entries."""

    def __init__(self, file: Any, loading: Loading) -> None:
        super().__init__(file)
        self._self_loading = loading

    def __enter__(self) -> _Open:
        self.__wrapped__.__enter__()
        return self

    def keys(self) -> list[str]:
        return self._without(self.__wrapped__.keys())

    def offset_keys(self) -> list[str]:
        return self._without(self.__wrapped__.offset_keys())

    def get_tensors(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self._self_loading.take(self.__wrapped__.get_tensors(*args, **kwargs))

    def _without(self, keys: list[str]) -> list[str]:
        from sparse_plugin.attachment.child import own_entries

        ours = own_entries(dict.fromkeys(keys))
        self._self_loading.take({key: self.__wrapped__.get_tensor(key) for key in ours})
        return [key for key in keys if key not in ours]


def _class_methods(kind: type) -> list[str]:
    """The names of kind's class methods, those which it has from others included, that are named like loaders."""
    found = []
    for name in dir(kind):
        if name.startswith(_NAMES):
            raw = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
            if isinstance(raw, classmethod) and not isinstance(raw, wrapt.FunctionWrapper):
                found.append(name)
    return found
