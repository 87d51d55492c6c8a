"""The steps of the optimizers that train attached generators, seen through torch's global post-step hook.

At each: the log's step is counted, and what would make a regularizer count wrongly or not at all is refused.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any

from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from sparse_plugin.errors import AttachmentError, PenaltyError
from sparse_plugin.hooks import SiteHook, runtime
from sparse_plugin.registry.base import Penalty
from sparse_plugin.sites import CHILD

log = logging.getLogger("sparse_plugin")

_watched: weakref.WeakKeyDictionary[SiteHook, weakref.ref[nn.Module]] = weakref.WeakKeyDictionary()
_handle: Any = None


def follow(hook: SiteHook, generator: nn.Module) -> None:
    """Follow the optimizers of generator for hook, until `unfollow` or the generator is gone."""
    global _handle
    _watched[hook] = weakref.ref(generator)
    if _handle is None:
        _handle = register_optimizer_step_post_hook(_stepped)


def unfollow(hook: SiteHook) -> None:
    """Undo `follow`; the last one takes the global hook off."""
    global _handle
    _watched.pop(hook, None)
    if not _watched and _handle is not None:
        _handle.remove()
        _handle = None


def _stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    trained: set[int] | None = None
    for hook, ref in list(_watched.items()):
        generator = ref()
        if generator is None:
            unfollow(hook)
            continue
        if trained is None:
            trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        names = dict(generator.named_parameters())
        if not any(id(p) in trained for p in names.values()):
            continue
        _check(hook, names, trained)
        now = runtime(hook)
        now.steps += 1
        now.taken, now.counter.backwards = False, 0
        if now.recorder is not None:
            now.recorder.stepped(now.steps)


def _check(hook: SiteHook, names: dict[str, nn.Parameter], trained: set[int]) -> None:
    now = runtime(hook)
    left = [
        name for name, p in names.items() if f".{CHILD}." in f".{name}" and p.requires_grad and id(p) not in trained
    ]
    if left and now.steps == 0:
        raise AttachmentError(
            f"the optimizer that trains the generator does not train the inserted {left[0]}: attach before the optimizer "
            "is made, or add attachment.parameters() to it"
        )
    if not isinstance(hook.regularizer, Penalty):
        return
    if hook.delivery == "loss" and not now.taken:
        raise PenaltyError(
            f"the generator took a step without its penalty {hook.regularizer}: add attachment.penalty() to its loss, or "
            "attach with delivery='gradient'"
        )
    if hook.delivery == "gradient":
        if now.counter.backwards:
            hook.took_effect()
        if now.counter.backwards not in (0, hook.accumulation) and not getattr(now, "said", False):
            now.said = True  # type: ignore[attr-defined]
            log.warning(
                "the penalty's gradient was added %d times before one step of the generator's optimizer, each with 1/%d of "
                "its weight; where the host accumulates gradients and divides its loss, set accumulation to their number",
                now.counter.backwards,
                hook.accumulation,
            )
