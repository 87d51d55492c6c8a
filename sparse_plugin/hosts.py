"""Host patches: how one framework's own trainer comes to run with a regularizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wrapt import FunctionWrapper, register_post_import_hook, resolve_path

if TYPE_CHECKING:
    from sparse_plugin.session import Session


class Host:
    """A framework: which classes build its generators, and which functions compute a generator's loss.

    generators: `"package.module:Class"`; instances of these classes and of classes derived from them are attached as soon
    as they are built, before an optimizer, an EMA copy or a parallel wrapper sees them.
    losses: `"package.module:function"` or `"package.module:Class.method"` that return the generator's loss; a penalty is
    added to what they return, so that loss scaling, accumulation and logging see it.
    Subclass and override `prepare` for what the framework needs to be imported at all, and `patch` for more, such as a
    configuration mechanism or a log of the framework's own.
    """

    def __init__(self, name: str, *, generators: Sequence[str], losses: Sequence[str] = ()) -> None:
        self.name = name
        self.generators = tuple(generators)
        self.losses = tuple(losses)

    def prepare(self, session: Session) -> None:
        """What this framework needs to be imported, with the plugin disabled too. Undo with session.undo."""

    def patch(self, session: Session) -> None:
        """What this framework needs beyond the tables above. Undo with session.undo."""

    def install(self, session: Session) -> None:
        """Apply the patch, now or when the framework is imported; where the config disables the plugin, prepare only."""
        self.prepare(session)
        if not session.config.enabled:
            return
        self.patch(session)
        for spec in self.generators:
            session.attach_instances_of(spec, self)
        for spec in self.losses:
            module, _, name = spec.partition(":")
            wrap(session, module, name, session.add_penalty)


def wrap(session: Session, module: str, name: str, wrapper: Callable[..., Any]) -> None:
    """Wrap `name` (a function, or `Class.method`) of a module with a wrapt wrapper, now or when it is imported."""

    def apply(imported: Any) -> None:
        if not session.active:
            return
        parent, attribute, original = resolve_path(imported, name)
        wrapped = FunctionWrapper(original, wrapper)
        setattr(parent, attribute, wrapped)

        def undo() -> None:
            if vars(parent).get(attribute) is wrapped:
                setattr(parent, attribute, original)

        session.undo.append(undo)

    register_post_import_hook(apply, module)
