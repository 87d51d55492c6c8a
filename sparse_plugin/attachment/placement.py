"""Placing hooks: which sites a generator has, and what stands at them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from torch import nn

from sparse_plugin.attachment import events, hooks, loading, standing, vigil
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.attachment.verify import KnownBy
from sparse_plugin.errors import AttachmentError, SiteError
from sparse_plugin.measurements.log import Recorder
from sparse_plugin.network import adapters, detection, discriminators, sites
from sparse_plugin.network.sites import Site
from sparse_plugin.network.wrappers import check_order, forget_compiled
from sparse_plugin.registry.base import AtomPenalty, Regularizer
from sparse_plugin.registry.composition import parts_of, sites_of
from sparse_plugin.support import advice
from sparse_plugin.support.sinks.sink import JSONL

log = logging.getLogger("sparse_plugin")


def resolve(
    generator: nn.Module, plan: Plan, args: tuple[Any, ...] | None, kwargs: dict[str, Any]
) -> tuple[tuple[Site, ...] | None, KnownBy]:
    """The sites, or None where they wait for the first call, and how they are known. args: None where no input is known."""
    made = plan.regularizer
    check_order(generator, standing.inserts(made))
    check = discriminators.check if plan.role == "discriminator" else sites.check
    named = {part.name: own for part in parts_of(made) if (own := _own_sites(plan, part))}
    for site in (site for own in named.values() for site in own):
        check(generator, site)
    if len(named) == len(parts_of(made)):
        return tuple(dict.fromkeys(site for own in named.values() for site in own)), "hand"
    if plan.sites:
        chosen = tuple(Site.parse(text, level) for level, text in enumerate(plan.sites, 1))
        for site in chosen:
            check(generator, site)
        return chosen, "hand"
    if plan.role == "discriminator":  # of whose forward nothing is checked that is of images
        return (None if args is None else discriminators.last_features(generator, *args, **kwargs)), "hand"
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
    if not any(True for _ in sites.kernel_owners(generator)):
        raise _no_dictionary(generator)
    if args is not None:
        return detection.heads(generator, *args, **kwargs), "trace"
    path = None if sites.pointwise(generator) else sites.predict(generator)
    if path is not None:
        sites.check(generator, Site(path))
        return (Site(path),), "guess"
    return None, "trace"


def _no_dictionary(generator: nn.Module) -> SiteError:
    name = type(generator).__name__
    if any(isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)) for module in generator.modules()):
        return SiteError(
            f"{name} has convolutions over one dimension alone, as of sound, and a representation of an image has two or three: there "
            "is nothing here to regularize it by"
        )
    return SiteError(
        f"{name} has no convolution, so no dictionary and no representation; "
        "generators made of linear layers alone, implicit networks among them, are not synthesized from atoms"
    )


def install(
    generator: nn.Module, chosen: tuple[Site, ...], plan: Plan, known_by: KnownBy, is_copy: bool = False
) -> vigil.Vigil:
    """Place the hooks and children of all sites, after everything that can be wrong with any of them was checked.

    is_copy: whether generator is a copy of one that was attached. Returns what watches over it.
    """
    if plan.role == "generator" and all(site.side == "output" for site in chosen):
        plan = replace(plan, regularizer=plan.regularizer.of_encoder())
    found, shared = _by_site(generator, chosen, plan)
    for site in found:
        _refuse_shared(generator, site)
    ready = [standing.prepare(generator, site, parts, plan) for site, parts in found.items()]
    logs = plan.run_dir is not None or JSONL not in plan.log
    recorder = Recorder(plan.run_dir, plan.measure_every, plan.log) if logs else None
    for one in ready:
        for hook in one.hooks:
            hook.is_copy, hook.aside = is_copy, bool(shared) and hook.site not in shared
    placed = [hook for one in ready for hook in standing.stand(generator, one, recorder)]
    if known_by in ("trace", "guess"):
        _say_images(generator, chosen)
    watch = vigil.keep(generator, placed, plan, known_by)
    loading.follow(generator)
    forget_compiled()
    events.placed.announce(generator)
    return watch


def _refuse_shared(generator: nn.Module, site: Site) -> None:
    """Two attachments at one module would both act, in the calls of either generator that it is a part of."""
    there = next((hook for _, _, hook in hooks.find(generator.get_submodule(site.path), hooks.SiteHook)), None)
    if there is not None:
        raise AttachmentError(
            f"the {site} of {type(generator).__name__} is regularized already: {there.regularizer} is attached to another module that has "
            "it as a part too, and acts in the calls of both; detach() that, or leave this one as it is"
        )


def _say_images(generator: nn.Module, chosen: tuple[Site, ...]) -> None:
    """Say where a D1 that nobody named takes no more channels than the image has that it makes."""
    for site in chosen:
        d1 = generator.get_submodule(sites.convolution(generator, site))
        if sites.takes_an_image(d1):
            log.warning(
                "Γ at the %s has no more channels than the image that is made of it: maybe it is an image, which this convolution refines. "
                "If one before it makes that, name it with %s",
                site,
                advice.sites(),
            )


def _own_sites(plan: Plan, part: Regularizer) -> tuple[Site, ...]:
    """The sites of a part that does not stand where the others do."""
    return tuple(Site.parse(text, level) for level, text in enumerate(sites_of(plan.regularizer, part), 1))


def _d1(generator: nn.Module, site: Site) -> Site:
    """The same Γ, at the convolution that consumes it rather than at padding before it."""
    path = sites.convolution(generator, site)
    return site if site.side != "input" or path == site.path or sites.inside(path, site.path) else replace(site, path=path)


def _by_site(generator: nn.Module, chosen: tuple[Site, ...], plan: Plan) -> tuple[dict[Site, list[Regularizer]], set[Site]]:
    """What stands at each site, in order, and the sites of all parts that have none of their own.

    A site that is Γ_1 of one part and Γ_2 of another is one site; those of single parts count on from the others.
    """
    parts = parts_of(plan.regularizer)
    if all(isinstance(part, AtomPenalty) for part in parts):
        chosen = tuple(_d1(generator, site) for site in chosen)
    shared = [] if all(_own_sites(plan, part) for part in parts) else list(chosen)
    places = {(site.path, site.side): site for site in shared}
    found: dict[Site, list[Regularizer]] = {site: [] for site in shared}
    for part in parts:
        at = _own_sites(plan, part) or chosen
        if isinstance(part, AtomPenalty):
            at = tuple(_d1(generator, site) for site in at)
        for number, site in enumerate(at, 1):
            level = 1 + max((each.level for each in found), default=0)
            here = places.setdefault((site.path, site.side), replace(site, level=level))
            found.setdefault(here, []).append(part.at(number, len(at)))
    return found, set(shared)
