"""One site of a generator: the hook that stands at it, and the child that holds what it adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from sparse_plugin.attachment import optimizer_steps
from sparse_plugin.attachment.atom_penalty_hook import AtomPenaltyHook
from sparse_plugin.attachment.child import SparseChild, weight_of
from sparse_plugin.attachment.constraint_hook import ConstraintHook
from sparse_plugin.attachment.hooks import SiteHook
from sparse_plugin.attachment.loss_scaling import follow_loss_scaling
from sparse_plugin.attachment.operators import unhooked_operator
from sparse_plugin.attachment.penalty_hook import PenaltyHook
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.errors import ConfigError, SiteError
from sparse_plugin.measurements.log import Recorder
from sparse_plugin.network import sites
from sparse_plugin.network.sites import CHILD, Site
from sparse_plugin.network.synthesis import stands_in_module
from sparse_plugin.registry.base import AtomPenalty, Constraint, Penalty, Regularizer
from sparse_plugin.registry.composition import inserts as inserts


@dataclass(frozen=True)
class Stand:
    """What shall stand at a site, in order, made and checked: nothing of the generator has changed yet."""

    hooks: tuple[SiteHook, ...]
    child: SparseChild


def prepare(generator: nn.Module, site: Site, parts: Sequence[Regularizer], plan: Plan) -> Stand:
    """Make what shall stand at site. Raises SiteError where it cannot, ConfigError where two of parts cannot both."""
    owner = _owner(generator.get_submodule(site.path), site)
    inserting = [part for part in parts if inserts(part)]
    measuring = [part for part in parts if part.automatic is not None]
    for several, why in ((inserting, "insert dictionaries before D1"), (measuring, "measure the natural density of Γ for k: auto")):
        if len(several) > 1:
            raise ConfigError(f"{several[0]} and {several[1]} both {why} at the {site}, where one can; list one of them")
    constraints = [part for part in parts if isinstance(part, Constraint)]
    if inserting and constraints[0] is not inserting[0]:
        raise ConfigError(
            f"{inserting[0]} inserts dictionaries at the {site} behind {constraints[0]}, and once they are trained nothing keeps what that "
            f"holds; list {inserting[0].name} first, or drop one of them"
        )
    dictionaries = _dictionaries(inserting[0], generator, site) if inserting else None
    hooks = tuple(_hook(part, generator, site, owner, plan) for part in parts)
    for place, hook in enumerate(constraining := [hook for hook in hooks if isinstance(hook, ConstraintHook)]):
        hook.behind = tuple(before.regularizer for before in constraining[:place])
    return Stand(hooks, SparseChild(plan.regularizer, dictionaries, _channels(generator, site, parts), plan.role))


def _channels(generator: nn.Module, site: Site, parts: Sequence[Regularizer]) -> int:
    """The channels of Γ at site, 0 where they are not known. Raises SiteError where a part keeps numbers for each."""
    d1 = generator.get_submodule(sites.convolution(generator, site))
    channels = sites.in_channels(d1) if site.side == "input" else None
    counting = next((part for part in parts if isinstance(part, Constraint) and part.memory_per_channel), None)
    if counting is not None and channels is None:
        raise SiteError(f"{counting} follows the atoms of a convolution, and the {site} is not the input of one; name one that is")
    return channels or 0


def _hook(part: Regularizer, generator: nn.Module, site: Site, owner: str, plan: Plan) -> SiteHook:
    hook: SiteHook
    if isinstance(part, AtomPenalty):
        path = sites.convolution(generator, site)
        below = path if path == site.path or sites.inside(path, site.path) else site.path
        d1 = generator.get_submodule(below)
        _check_atoms(part, site, d1)
        inner = below[len(site.path) :].lstrip(".")
        return AtomPenaltyHook(part, site, owner, plan.delivery, plan.accumulation, inner, not stands_in_module(d1))
    if isinstance(part, Penalty):
        hook = PenaltyHook(part, site, owner, plan.delivery, plan.accumulation)
    else:
        assert isinstance(part, Constraint)  # a regularizer is the one or the other
        hook = ConstraintHook(part, site, owner)
    hook.role = plan.role
    return hook


def _check_atoms(part: AtomPenalty, site: Site, d1: nn.Module) -> None:
    """Raises SiteError where what stands at site is no dictionary."""
    if site.side != "input":
        raise SiteError(f"{part} penalizes the atoms of a convolution, and the {site} is behind one; name the input of a convolution")
    try:
        unhooked_operator(d1)
    except SiteError as error:
        raise SiteError(f"{part} penalizes the atoms at the {site}, and there are none: {error}") from None


def stand(generator: nn.Module, ready: Stand, recorder: Recorder | None) -> tuple[SiteHook, ...]:
    """Place the hooks and the child."""
    site = ready.hooks[0].site
    module = generator.get_submodule(site.path)
    _place(generator, ready.child, module, ready.hooks[0])
    for hook in ready.hooks:
        if site.side == "input":
            module.register_forward_pre_hook(hook)
        else:
            module.register_forward_hook(hook)
        if isinstance(hook, ConstraintHook) and isinstance(module, _ConvNd) and site.side == "input":
            hook.say_slack(module.in_channels, None)
        hook.state.recorder, hook.state.child = recorder, hook.child(module)
        optimizer_steps.follow(hook, generator)
        if isinstance(hook, PenaltyHook) and hook.delivery == "gradient":
            follow_loss_scaling(hook)
    return ready.hooks


def _place(generator: nn.Module, child: SparseChild, module: nn.Module, hook: SiteHook) -> None:
    """Add the child; where both sides of module are sites, the first one's holds what both add."""
    parent = module.get_submodule(hook.owner)
    held_already = parent._modules.get(CHILD)
    if isinstance(held_already, SparseChild):
        if child.dictionaries is None:
            return
        child, held_already.dictionaries = held_already, child.dictionaries
    like = next(parent.parameters(), None)
    held = [*child.parameters(), *child.buffers()]
    if like is not None and any((p.device, p.dtype) != (like.device, like.dtype) for p in held):
        child.to(device=like.device, dtype=like.dtype)
    parent.add_module(CHILD, child.train(parent.training))
    if child.training_step is not None:
        child.training_step.kind = f"{type(generator).__module__}.{type(generator).__qualname__}: {hook.site}, {child.settings}"
        child.training_step.look_at(weight_of(module))


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
    if not isinstance(regularizer, Constraint) or not inserts(regularizer):
        return None
    synthesis = generator.get_submodule(sites.convolution(generator, site))
    channels = sites.in_channels(synthesis)
    if site.side != "input" or channels is None or sites.own_kernel(synthesis) is None:
        raise SiteError(
            f"{regularizer} inserts dictionaries before a convolution, and the {site} is a {type(synthesis).__name__}; "
            "name the input of a convolution"
        )
    return regularizer.dictionaries(channels, sites.spatial_dimensions(synthesis))
