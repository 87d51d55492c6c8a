"""Attaching a regularizer to a generator."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sparse_plugin.attachment import (
    first_call,
    placement,
    standing,
    verify,
)
from sparse_plugin.attachment.handle import Attachment
from sparse_plugin.attachment.plan import Plan, asked, paths
from sparse_plugin.config import Delivery, Role, SparsityConfig
from sparse_plugin.errors import AttachmentError, ConfigError, SiteError, module_of, path_of, shown
from sparse_plugin.network.probe import forward
from sparse_plugin.network.sites import Site
from sparse_plugin.network.wrappers import unwrapped, within
from sparse_plugin.registry.base import Regularizer
from sparse_plugin.support import advice

logger = logging.getLogger("sparse_plugin")


@advice.for_its_caller
def attach(
    generator: nn.Module,
    regularizer: str | Regularizer | SparsityConfig | Sequence[str | Regularizer],
    /,
    *,
    example_input: Any = None,
    sites: str | Site | Iterable[str | Site] = (),
    adapter: str | None = None,
    delivery: Delivery | None = None,
    accumulation: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    measure_every: int | None = None,
    log: str | Sequence[str] | None = None,
    role: Role | None = None,
    **settings: Any,
) -> Attachment:
    """Regularize generator's representation from now on.

    regularizer: a registered name with its settings as keywords, as in `attach(G, "l0_inf", k=16)`; or a regularizer
    object; or a SparsityConfig, which then says everything but the example_input. One with `enabled: false` attaches nothing. Or a
    list of names and objects, which act in this order, as in `attach(G, ["l1", "l0_inf"], l1={"weight": 0.1}, l0_inf={"k": 16})`:
    settings are then a section for each name, which may have `sites` of its own.
    example_input: what one forward takes: a tensor, a dict of keyword arguments, or a tuple of positional ones, a dict at
    whose end holds keyword arguments. With it all is checked here and now, by undisturbed forwards; without, during the
    first real one, before its result is used.
    sites: paths of modules whose input is Γ (`"c5"`), or `"path:output"`. Otherwise adapter by name, the first adapter
    that matches, or automatic detection decides. adapter="encoder_scales" takes Γ_1..Γ_K of an encoder-decoder, of which
    a setting such as k may list one value each.
    delivery: how a penalty reaches the loss. "gradient", the default, adds its gradient in the backward pass; "loss" leaves it to you to
    add `attachment.penalty()` to the generator's loss. accumulation: backward passes to one optimizer step, by default 1.
    run_dir, measure_every: where, and every how many steps of the generator's optimizer, measurements are logged;
    by default nowhere, and every 100. log: to which sinks: "jsonl", the default, which needs a run_dir; "tensorboard" and
    "wandb", a writer or run that your script has open, whenever it opened it.
    role: "generator", the default, or "discriminator": then the representation that the last feature layer of a discriminator hands on to
    its head is regularized, `generator` is that discriminator, example_input are images, and steps and losses are its own.

    Raises ConfigError for settings, and for those that would have no effect; SiteError where D1 cannot be told or is not used
    as one; AttachmentError where the generator is attached already.
    """
    config = asked(
        regularizer,
        settings,
        sites=paths(sites),
        adapter=adapter,
        delivery=delivery,
        accumulation=accumulation,
        run_dir=None if run_dir is None else path_of(run_dir, "run_dir"),
        measure_every=measure_every,
        log=log,
        role=role,
    )
    plan = Plan.of(config)
    module_of(generator, "attach")
    if config.enabled:
        return regularize(generator, plan, example_input)
    _refuse_attached(generator)
    logger.warning("%s is not attached to %s: its config says enabled: false", plan.regularizer, type(generator).__name__)
    return Attachment(generator, off=plan.regularizer)


def regularize(generator: nn.Module, plan: Plan, example_input: Any = None) -> Attachment:
    """`attach`, for what was asked and checked."""
    inner = unwrapped(generator)
    if inner is not generator:
        generator, plan = inner, replace(plan, sites=tuple(within(inner, site) for site in plan.sites))
    _refuse_attached(generator)
    _refuse_scripted(generator)
    _refuse_lazy(generator)
    args, kwargs = (None, {}) if example_input is None else _inputs(example_input)
    chosen, known_by = placement.resolve(generator, plan, args, kwargs)
    if chosen is None:
        if standing.inserts(made := plan.regularizer):
            raise SiteError(
                f"{made} inserts parameters, which must exist before the first forward, and D1 of "
                f"{type(generator).__name__} cannot be told yet; give {advice.any_of(advice.example(), advice.sites())}"
            )
        first_call.defer(generator, plan)
        return Attachment(generator)
    placement.install(generator, chosen, plan, known_by)
    attachment = Attachment(generator)
    if args is not None:
        try:
            forward(generator, args, kwargs)
        except BaseException:
            attachment.detach()
            raise
        verify.settle(generator)
    return attachment


def _refuse_scripted(generator: nn.Module) -> None:
    if isinstance(generator, torch.jit.ScriptModule):
        raise SiteError(
            f"the generator is TorchScript, a {type(generator).__name__} out of torch.jit, in whose modules no hook runs; attach to the "
            "module that it was made of, and trace or export that"
        )


def _refuse_lazy(generator: nn.Module) -> None:
    for name, tensor in (*generator.named_parameters(), *generator.named_buffers()):
        if is_lazy(tensor):
            path = name.rpartition(".")[0]
            raise SiteError(
                f"{path or 'the generator'} is a {type(generator.get_submodule(path)).__name__}, whose {name} has no shape "
                "before the first forward; run the generator once on an input, then attach"
            )


def _inputs(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    named = example[-1] if isinstance(example, tuple) and example else example
    if isinstance(named, Mapping) and not all(isinstance(key, str) for key in named):
        raise ConfigError(f"example_input has the keys {shown(list(named))}; a dict holds keyword arguments by name")
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple) and example and isinstance(example[-1], dict):
        return example[:-1], example[-1]
    return (example if isinstance(example, tuple) else (example,)), {}


def _refuse_attached(generator: nn.Module) -> None:
    if Attachment.of(generator) is not None:
        raise AttachmentError(
            f"{type(generator).__name__} already has {Attachment(generator).regularizer} attached; detach() it first"
        )
