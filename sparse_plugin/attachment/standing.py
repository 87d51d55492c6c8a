"""One site of a generator: the hook that stands at it, and the child that holds what it adds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from sparse_plugin.attachment import optimizer_steps
from sparse_plugin.attachment.child import SparseChild, weight_of
from sparse_plugin.attachment.constraint_hook import ConstraintHook
from sparse_plugin.attachment.hooks import SiteHook
from sparse_plugin.attachment.loss_scaling import follow_loss_scaling
from sparse_plugin.attachment.penalty_hook import PenaltyHook
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.errors import SiteError
from sparse_plugin.measurements.log import Recorder
from sparse_plugin.network import sites
from sparse_plugin.network.sites import CHILD, Site
from sparse_plugin.registry.base import Constraint, Penalty, Regularizer


@dataclass(frozen=True)
class Stand:
    """What shall stand at a site, made and checked: nothing of the generator has changed yet."""

    hook: SiteHook
    child: SparseChild


def prepare(generator: nn.Module, site: Site, part: Regularizer, plan: Plan) -> Stand:
    """Make what shall stand at site. Raises SiteError where it cannot."""
    owner = _owner(generator.get_submodule(site.path), site)
    child = SparseChild(plan.regularizer, _dictionaries(plan.regularizer, generator, site))
    if isinstance(part, Penalty):
        return Stand(PenaltyHook(part, site, owner, plan.delivery, plan.accumulation), child)
    assert isinstance(part, Constraint)  # a regularizer is the one or the other
    return Stand(ConstraintHook(part, site, owner), child)


def stand(generator: nn.Module, ready: Stand, recorder: Recorder | None) -> SiteHook:
    """Place the hook and the child."""
    hook, child = ready.hook, ready.child
    module = generator.get_submodule(hook.site.path)
    parent = module.get_submodule(hook.owner)
    like = next(parent.parameters(), None)
    held = [*child.parameters(), *child.buffers()]
    if like is not None and any((p.device, p.dtype) != (like.device, like.dtype) for p in held):
        child.to(device=like.device, dtype=like.dtype)
    parent.add_module(CHILD, child.train(parent.training))
    if child.training_step is not None:
        child.training_step.kind = f"{type(generator).__module__}.{type(generator).__qualname__}: {hook.site}, {child.settings}"
        child.training_step.look_at(weight_of(module))
    if hook.site.side == "input":
        module.register_forward_pre_hook(hook)
    else:
        module.register_forward_hook(hook)
    if isinstance(hook, ConstraintHook) and isinstance(module, _ConvNd) and hook.site.side == "input":
        hook.say_slack(module.in_channels, None)
    hook.state.recorder = recorder
    optimizer_steps.follow(hook, generator)
    if isinstance(hook, PenaltyHook) and hook.delivery == "gradient":
        follow_loss_scaling(hook)
    return hook


def inserts(regularizer: Regularizer) -> bool:
    """Whether regularizer adds parameters, which must exist before the first forward."""
    return isinstance(regularizer, Constraint) and regularizer.dictionaries(1, 2) is not None


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
