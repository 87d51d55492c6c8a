"""The steps of the optimizers that train attached generators, seen through torch's global post-step hook, or else in the weights.

At each: the log's step is counted, and what would make a regularizer count wrongly or not at all is refused.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any

from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from sparse_plugin.attachment import events
from sparse_plugin.attachment.constraint_hook import ConstraintHook
from sparse_plugin.attachment.hooks import SiteHook, find
from sparse_plugin.attachment.penalty import say_once
from sparse_plugin.attachment.penalty_hook import PenaltyHook
from sparse_plugin.attachment.site_state import Stage
from sparse_plugin.attachment.trained_by import Watched, around
from sparse_plugin.attachment.training_step import TrainingStep
from sparse_plugin.attachment.untold import Untold
from sparse_plugin.errors import AttachmentError, PenaltyError
from sparse_plugin.network.sites import CHILD, convolution
from sparse_plugin.network.wrappers import plain
from sparse_plugin.registry.auto import Auto
from sparse_plugin.support import advice

log = logging.getLogger("sparse_plugin")


_watched: weakref.WeakKeyDictionary[SiteHook, Watched] = weakref.WeakKeyDictionary()
_handle: Any = None
_beside: weakref.WeakSet[Optimizer] = weakref.WeakSet()  # those that were seen to train no attached generator


def follow(hook: SiteHook, generator: nn.Module) -> None:
    """Follow the optimizers of generator for hook, until `unfollow` or the generator is gone."""
    global _handle
    site = hook.site
    bare = site.side == "input" and next(generator.get_submodule(site.path).parameters(), None) is None  # padding before D1
    _watched[hook] = Watched(generator, convolution(generator, site) if bare else site.path)
    _look_for_untold(hook, generator)
    if _handle is None:
        _handle = register_optimizer_step_post_hook(_stepped)


def follow_as_found(generator: nn.Module) -> None:
    """The same for a generator that came out of a pickle, and for what changes over training in a copy: it may be trained too. A
    copy's penalty never acts.
    """
    arrived = False
    for _, module, hook in find(generator, SiteHook):
        if hook.state.child is not None:
            continue
        hook.state.child = hook.child(module)
        if not hook.is_copy or (hook.changes and not isinstance(hook, PenaltyHook)):
            follow(hook, generator)
        arrived |= not hook.is_copy
    if arrived:
        events.arrived.announce(generator)


def unfollow(hook: SiteHook) -> None:
    """Undo `follow`; the last one takes the global hook off."""
    global _handle
    _watched.pop(hook, None)
    if not _watched and _handle is not None:
        _handle.remove()
        _handle = None


def _stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    taken, advanced = _taken(), set[TrainingStep]()
    outers = around(optimizer) if _watched else []
    any_trained = False
    for hook, watched in list(_watched.items()):
        trains, here = watched.trained_by_it(optimizer)
        if not trains:
            if isinstance(hook, PenaltyHook):
                hook.state.counter.elsewhere = 0  # those were of that step
            continue
        any_trained = True
        hook.state.untold = None
        if any(watched.trained_by_it(outer)[0] for outer in outers):
            continue  # it is part of a step of that one
        _step(hook, watched, watched.counts(optimizer, here), taken, advanced)
    if not any_trained and optimizer not in _beside:
        _beside.add(optimizer)
        events.trained_others.announce(optimizer)


def _taken() -> set[int]:
    """The generators, by their vigil, of whose penalties one was taken. Of several heads, as a growing generator has, a forward may use
    only some: the others have no penalty to be taken.
    """
    penalties = [hook for hook in _watched if isinstance(hook, PenaltyHook)]
    return {id(hook.vigil) for hook in penalties if hook.vigil is not None and hook.state.taken}


def _step(hook: SiteHook, watched: Watched, counts: bool, taken: set[int], advanced: set[TrainingStep]) -> None:
    """The generator of hook was trained for a step; counts: whether it is one of its training, and not a part of one."""
    now = hook.state
    # The gradient of a penalty is in the steps of all of them; one that is taken from the attachment is taken once for all.
    if isinstance(hook, PenaltyHook) and (counts or hook.delivery == "gradient"):
        if hook.state.taken or id(hook.vigil) not in taken:
            _check_penalty(hook)
        hook.state.step_taken()
    if not counts:
        return
    if watched.untrained and now.steps:  # by the second step every optimizer has been seen
        raise AttachmentError(
            f"the generator was trained for a step and its inserted {min(watched.untrained)} was not: "
            + (
                "attach before the optimizer is made, or add attachment.parameters() to it"
                if advice.reader() == "attach"
                else "its optimizer was made before them; have the regularizer named before the generator is built, by "
                f"{advice.regularizer()}"
            )
        )
    now.steps += 1
    if isinstance(hook, ConstraintHook):
        hook.stepped()
    if now.steps == 1:
        events.trained.announce(hook)
        _say_unmet(hook)
    if hook.changes:
        _advance(hook, advanced)
    if now.recorder is not None:
        if now.compiled and now.recorder.due(now.steps - 1) and not now.recorder.pending:
            say_once(
                "Γ inside a graph that torch.compile made is not logged while training; attachment.measure(...) measures a "
                "forward of its own"
            )
        now.recorder.stepped(now.steps)


def _look_for_untold(hook: SiteHook, generator: nn.Module) -> None:
    """Look for steps in the weights of generator, until an optimizer of torch is seen to train it."""
    others = [other.state.untold for other, watched in _watched.items() if other is not hook and watched.generator() is generator]
    if others and None in others:
        return
    root = weakref.ref(generator)
    hook.state.untold = next(iter(others), None) or Untold(lambda: _at_sites(root()), lambda moved: _told_by_weights(root(), moved))
    if hook.state.child is not None:
        hook.state.untold.saves_with(hook.state.child)


def _at_sites(generator: nn.Module | None) -> dict[str, Tensor]:
    """What is trained of the modules at the sites of generator, and what was inserted; where that is nothing, what is trained last."""
    named = {plain(name): p for name, p in generator.named_parameters() if p.requires_grad and not p.is_meta} if generator else {}
    paths = tuple(f"{plain(each.path)}." for each in _watched.values() if each.path and each.generator() is generator)
    own = {name: p for name, p in named.items() if name.startswith(paths) or f".{CHILD}." in f".{name}"} or dict(list(named.items())[-1:])
    return {name: getattr(p, "_local_tensor", p).detach() for name, p in own.items()}


def _told_by_weights(generator: nn.Module | None, moved: set[str]) -> None:
    """The weights of generator, moved among them, tell that it was trained for a step."""
    taken, advanced = _taken(), set[TrainingStep]()
    for hook, watched in list(_watched.items()):
        if watched.generator() is generator and hook.state.untold is not None:
            watched.untrained -= moved
            _step(hook, watched, True, taken, advanced)


def _say_unmet(hook: SiteHook) -> None:
    """Say of a generator that was trained for a step that no Γ has passed any of its sites."""
    if hook.vigil is not None and not hook.vigil.met and not hook.state.compiled and not hook.is_copy:
        say_once(
            f"a generator attached with {hook.regularizer} took a step of its optimizer and never ran the {hook.site}, so that nothing "
            f"was regularized: something uses this module's weight past its call, or other parts were trained; see where Γ passes with "
            f"`sparse-plugin sites`, and name it with {advice.sites()}"
        )


def _advance(hook: SiteHook, advanced: set[TrainingStep]) -> None:
    """What changes over training goes a step on, where another regularizer at the same site has not advanced it."""
    child = hook.state.child
    if child is None or (now := child.training_step) is None:
        return
    if now not in advanced and now.step < hook.regularizer.settled:
        advanced.add(now)
        now.advance(child.schedule)
    auto = hook.regularizer.automatic
    if auto is None or now.density is not None or now.step < auto.measure:
        return
    density = now.measured(child.schedule, child.counted)
    if density is not None:
        events.chosen.announce(hook)
        log.warning("%s", said(hook, auto, density))


def said(hook: SiteHook, auto: Auto, density: float) -> str:
    """What `auto` has chosen, in a line."""
    end = auto.known(density).at(auto.last)
    before = hook.behind if isinstance(hook, ConstraintHook) else ()
    whose = f"behind {' + '.join(map(str, before))}" if before else "by itself"
    by_nature = f", so dense by nature that a share of it says nothing: k goes to the default, {end:g}," if auto.dense(density) else (
        f": k goes to {auto.share:g} of that, {end:.3g},"
    )
    return f"Γ at the {hook.site} has {whose} {100 * density:.1f} % non-zeros{by_nature} by step {auto.last}"


def _check_penalty(hook: PenaltyHook) -> None:
    now = hook.state
    hook.is_due()
    # A host whose loss function is known steps for other terms too (path-length regularization), without calling it.
    if hook.delivery == "loss" and not now.taken and not (now.loss_is_known and now.stage is Stage.EFFECTIVE):
        raise PenaltyError(
            f"the {hook.role} took a step without its penalty {hook.regularizer}: "
            + ("add attachment.penalty() to its loss, or attach" if advice.reader() == "attach" else "ask for it")
            + f" with {advice.setting('delivery', 'gradient')}"
        )
    if hook.delivery == "loss" and 0 < now.taken < hook.accumulation and not now.counter.said:
        now.counter.said = True
        log.warning(
            "the penalty was taken %d times before one step of its network's optimizer, and accumulation is %d: each of "
            "the accumulated losses takes its own attachment.penalty()",
            now.taken,
            hook.accumulation,
        )
    if hook.delivery == "gradient" and now.counter.elsewhere:
        say_once(
            f"{hook.regularizer} of the discriminator was left out of {now.counter.elsewhere} backward passes before its optimizer's step, "
            "which reached the weights of another network too: it acts on images without a graph, so detach() what D's own step judges, "
            f"or add the penalty to its loss with {advice.setting('delivery', 'loss')}"
        )
        now.counter.elsewhere = 0
    if hook.delivery == "gradient":
        if now.counter.backwards:
            hook.took_effect()
        backwards = round(now.counter.backwards, 6)
        if backwards not in (0, hook.accumulation) and not now.counter.said and not now.counter.told:
            now.counter.said = True
            log.warning(
                "the penalty's gradient was added %g times before one step of the generator's optimizer, each with 1/%d of "
                "its weight; where the host accumulates gradients and divides its loss, tell their number by %s",
                backwards,
                hook.accumulation,
                advice.setting("accumulation", round(now.counter.backwards)),
            )
