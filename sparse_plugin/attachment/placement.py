"""Placing hooks: which sites a generator has, and what stands at them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from sparse_plugin.attachment import events, loading, standing, vigil
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.attachment.verify import KnownBy
from sparse_plugin.errors import SiteError
from sparse_plugin.measurements.log import Recorder
from sparse_plugin.network import adapters, detection, sites
from sparse_plugin.network.sites import Site
from sparse_plugin.network.wrappers import check_order, forget_compiled
from sparse_plugin.support.sinks.sink import JSONL


def resolve(
    generator: nn.Module, plan: Plan, args: tuple[Any, ...] | None, kwargs: dict[str, Any]
) -> tuple[tuple[Site, ...] | None, KnownBy]:
    """The sites, or None where they wait for the first call, and how they are known. args: None where no input is known."""
    made = plan.regularizer
    check_order(generator, standing.inserts(made))
    if plan.sites:
        chosen = tuple(Site.parse(text, level) for level, text in enumerate(plan.sites, 1))
        for site in chosen:
            sites.check(generator, site)
        return chosen, "hand"
    known = adapters.find(generator, plan.adapter)
    if known is not None:
        if not known.follows_input:
            chosen = known.sites(generator)
        elif args is None:
            return None, "hand"
        else:
            chosen = known.sites(generator, *args, **kwargs)
        for site in chosen:
            sites.check(generator, site)
        return chosen, "adapter" if len(chosen) == 1 and chosen[0].side == "input" else "hand"
    if args is not None:
        return detection.heads(generator, *args, **kwargs), "trace"
    path = sites.predict(generator)
    if path is not None:
        return (Site(path),), "guess"
    if not any(True for _ in sites.kernel_owners(generator)):
        raise SiteError(
            f"{type(generator).__name__} has no convolution, so no dictionary and no representation; "
            "generators made of linear layers alone are not synthesized from atoms"
        )
    return None, "trace"


def install(
    generator: nn.Module, chosen: tuple[Site, ...], plan: Plan, known_by: KnownBy, is_copy: bool = False
) -> vigil.Vigil:
    """Place the hooks and children of all sites, after everything that can be wrong with any of them was checked.

    is_copy: whether generator is a copy of one that was attached. Returns what watches over it.
    """
    if all(site.side == "output" for site in chosen):
        plan = replace(plan, regularizer=plan.regularizer.of_encoder())
    parts = [plan.regularizer.at(place, len(chosen)) for place, _ in enumerate(chosen, 1)]
    ready = [standing.prepare(generator, site, part, plan) for site, part in zip(chosen, parts, strict=True)]
    logs = plan.run_dir is not None or JSONL not in plan.log
    recorder = Recorder(plan.run_dir, plan.measure_every, plan.log) if logs else None
    for one in ready:
        one.hook.is_copy = is_copy
    placed = [standing.stand(generator, one, recorder) for one in ready]
    watch = vigil.keep(generator, placed, plan, known_by)
    loading.follow(generator)
    forget_compiled()
    events.placed.announce(generator)
    return watch
