"""Placing hooks: which sites a generator has, and what stands at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd

from sparse_plugin import adapters, detection, first, hooks, sites, steps
from sparse_plugin.errors import SiteError
from sparse_plugin.inserted import Inserted
from sparse_plugin.penalty import follow_loss_scaling
from sparse_plugin.plan import Plan
from sparse_plugin.record import Recorder
from sparse_plugin.registry.base import Constraint, Penalty, Regularizer
from sparse_plugin.sites import CHILD, Site
from sparse_plugin.wrappers import check_order, forget_compiled

# Called with every generator whose hooks have just been placed: at attach, or at the first call.
placed: list[Callable[[nn.Module], None]] = []

# How D1 is known decides what the first forward checks: named by "hand", only that the site is called once; found by a
# "trace" or named by an adapter, also that it makes the image; by a "guess" from the modules alone, also that nothing
# else could be D1.
KnownBy = Literal["hand", "trace", "guess"]


def resolve(
    generator: nn.Module, plan: Plan, args: tuple[Any, ...] | None, kwargs: dict[str, Any]
) -> tuple[tuple[Site, ...] | None, KnownBy]:
    """The sites, or None where they wait for the first call, and how they are known. args: None where no input is known."""
    made = plan.regularizer
    check_order(generator, isinstance(made, Constraint) and made.dictionaries(1, 2) is not None)
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
        return chosen, "trace" if len(chosen) == 1 and chosen[0].side == "input" else "hand"
    if args is not None:
        return (detection.detect(generator, *args, **kwargs),), "trace"
    path = sites.predict(generator)
    if path is not None:
        return (Site(path),), "guess"
    if not any(True for _ in sites.kernel_owners(generator)):
        raise SiteError(
            f"{type(generator).__name__} has no convolution, so no dictionary and no representation; "
            "generators made of linear layers alone are not synthesized from atoms"
        )
    return None, "trace"


def install(generator: nn.Module, chosen: tuple[Site, ...], plan: Plan, known_by: KnownBy) -> None:
    """Place the hooks and children of all sites, after everything that can be wrong with any of them was checked."""
    encoder = all(site.side == "output" for site in chosen)
    regularizer = plan.regularizer.of_encoder() if encoder else plan.regularizer
    parts = [regularizer.at(site.level, len(chosen)) for site in chosen]
    owners = [_owner(generator.get_submodule(site.path), site) for site in chosen]
    children = [Inserted(regularizer.settings(), _dictionaries(regularizer, generator, site)) for site in chosen]
    recorder = None if plan.run_dir is None else Recorder(plan.run_dir, plan.measure_every)
    standing: list[tuple[str, hooks.SiteHook]] = []
    for site, part, owner, child in zip(chosen, parts, owners, children, strict=True):
        module = generator.get_submodule(site.path)
        parent = module.get_submodule(owner)
        like = next(parent.parameters(), None)
        if like is not None and any((p.device, p.dtype) != (like.device, like.dtype) for p in child.parameters()):
            child.to(device=like.device, dtype=like.dtype)
        parent.add_module(CHILD, child.train(parent.training))
        place = hooks.InputHook if site.side == "input" else hooks.OutputHook
        hook = place(part, site, owner, plan.delivery, plan.accumulation)
        if isinstance(hook, hooks.InputHook):
            module.register_forward_pre_hook(hook)
        else:
            module.register_forward_hook(hook)
        standing.append((site.path, hook))
        if isinstance(part, Constraint) and isinstance(module, _ConvNd) and site.side == "input":
            hook.say_slack(module.in_channels, None)
        hooks.runtime(hook).recorder = recorder
        steps.follow(hook, generator)
        if isinstance(regularizer, Penalty) and hook.delivery == "gradient":
            follow_loss_scaling(hook)
    d1 = None if known_by == "hand" else sites.convolution(generator, chosen[0])
    first.watch(generator, standing, d1, guessed=known_by == "guess")
    forget_compiled()
    for tell in placed:
        tell(generator)


def _owner(module: nn.Module, site: Site) -> str:
    """The path, below a site's module, of the module that takes the child: a Sequential would run it."""
    if not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)) or not list(module.children()):
        return ""
    for path, inner in module.named_modules():
        if sites.own_kernel(inner) is not None and CHILD not in path.split("."):
            return str(path)
    for path, inner in module.named_modules():
        if path and not isinstance(inner, nn.Sequential):
            return str(path)
    raise SiteError(
        f"the {site} is an empty {type(module).__name__}, which can hold nothing; name the module before it"
    )


def _dictionaries(regularizer: Regularizer, generator: nn.Module, site: Site) -> nn.Module | None:
    if not isinstance(regularizer, Constraint) or regularizer.dictionaries(1, 2) is None:
        return None
    synthesis = generator.get_submodule(sites.convolution(generator, site))
    channels = sites.in_channels(synthesis)
    if site.side != "input" or channels is None or sites.own_kernel(synthesis) is None:
        raise SiteError(
            f"{regularizer} inserts dictionaries before a convolution, and the {site} is a {type(synthesis).__name__}; "
            "name the input of a convolution"
        )
    return regularizer.dictionaries(channels, sites.spatial_dimensions(synthesis))
