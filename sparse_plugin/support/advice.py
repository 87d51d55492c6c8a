"""What to do next, in the words of who is told: flags of the command line, or keywords of Python.

An error is raised in one place, whether `attach`, `enable` or `sparse-plugin run` led there, and what helps is spelt
differently in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

from sparse_plugin.support.compiled import constant

P = ParamSpec("P")
R = TypeVar("R")

# Who reads the advice: a caller of `attach`, of `enable`, or somebody at a command line; that of `evaluate` has flags of
# its own.
Reader = Literal["attach", "enable", "command", "evaluate"]

_default: Reader = "attach"
_inside: ContextVar[Reader | None] = ContextVar("reader", default=None)

_FLAGS = {
    "generator": "--generator",
    "discriminator": "--discriminator",
    "host": "--host",
    "regularizer": "--sparse",
    "run_dir": "--run-dir",
}


@constant  # a context variable is more than the Dynamo of torch 2.6 follows
def reader() -> Reader:
    """Who reads what is said now."""
    return _inside.get() or _default


def speak_to(who: Reader) -> Callable[[], None]:
    """From now on what is said in this process is for this reader. Returns a function that takes it back."""
    global _default
    before, _default = _default, who

    def back() -> None:
        global _default
        _default = before

    return back


@contextmanager
def speaking_to(who: Reader) -> Iterator[None]:
    """What is said inside the with statement is for this reader."""
    token = _inside.set(who)
    try:
        yield
    finally:
        _inside.reset(token)


def for_its_caller(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator: what function says is for who called it in Python, unless one of our own commands did."""

    @wraps(function)
    def advised(*args: P.args, **kwargs: P.kwargs) -> R:
        if _inside.get() is not None:
            return function(*args, **kwargs)
        with speaking_to("attach"):
            return function(*args, **kwargs)

    return advised


def setting(key: str, value: Any) -> str:
    """How to set a key of the config: `sites=["c5"]`, or `--set "sparse.sites=[c5]"`."""
    if reader() in ("attach", "enable"):
        return f'enable("{value}", ...)' if key == "host" else f"{key}={_python(value)}"
    if key == "imports":
        return f"--import {value}"
    if key in _FLAGS:
        return f'{_FLAGS[key]} "{value}"' if ":" in str(value) else f"{_FLAGS[key]} {value}"
    if key == "sites" and reader() == "evaluate":
        return " ".join(f"--site {path}" for path in ([value] if isinstance(value, str) else value))
    text = f"sparse.{key}={_yaml(value)}"
    return f'--set "{text}"' if set(text) & set("[] ,<>") else f"--set {text}"


def sites(*paths: str) -> str:
    """How to say where Γ is."""
    return setting("sites", list(paths) or ["path"])


def returned() -> str:
    """How to say that Γ is what a module returns, as where no module's input is it: `path:output` after what is said of inputs."""
    return f"the module that returns Γ, as in {sites('path:output')}"


def scales() -> str:
    """How to name the modules whose outputs are Γ_1, Γ_2 and so on."""
    return setting("sites", ["path1:output", "path2:output"])


def regularizer(settings: Mapping[str, Any] | None = None) -> str:
    """How to name a regularizer, this one with its settings or any."""
    python = reader() in ("attach", "enable")
    if settings is None:
        return 'enable(host, "l0_inf", k=16)' if python else "--sparse NAME"
    name, own = settings.get("regularizer"), {key: value for key, value in settings.items() if key != "regularizer"}
    if not python:
        sections = own if isinstance(name, list) else {"": own}
        items = [(f"{part}.{key}".lstrip("."), value) for part, inner in sections.items() for key, value in inner.items()]
        return " ".join([f"--sparse {','.join(name) if isinstance(name, list) else name}", *(setting(*item) for item in items)])
    named = [f"enable(host, {_python(name)}", *(setting(*item) for item in own.items())]
    return ", ".join(named) + ")"


def example() -> str:
    """How to hand over an input of one forward; "" for those who cannot, since a script's inputs are its own."""
    return "example_input=..." if reader() == "attach" else ""


def any_of(*ways: str) -> str:
    """The ways that there are, as in "a, b or c"."""
    there = [way for way in ways if way]
    return " or ".join(part for part in (", ".join(there[:-1]), there[-1]) if part)


def _python(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_python, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
