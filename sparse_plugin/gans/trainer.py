"""The trainer of all GANs: the networks of a run, their updates, their checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import hooks
from sparse_plugin.attachment.handle import Attachment
from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.gans import attaching, trained
from sparse_plugin.gans.batches import Batches, ImageSet
from sparse_plugin.gans.gan import build, objective_of
from sparse_plugin.gans.objectives import Networks, Role, Update
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.measurements.gamma import Measurement
from sparse_plugin.registry.composition import penalizes
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.config import RunConfig
from sparse_plugin.runs.parallel import Processes
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.runs.seeds import key
from sparse_plugin.support.precision import PRECISIONS

# Samples of a grid.
SHOWN = 64


@dataclass(frozen=True)
class TrainedNetwork:
    """A network, itself and wrapped for data parallelism, and what updates it, at which rate to begin with."""

    module: nn.Module
    wrapped: nn.Module
    rate: float
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


class Trainer:
    """The networks of one run, and their updates. config: that of the run."""

    def __init__(
        self,
        recipe: Recipe,
        images: ImageSet,
        config: RunConfig,
        sparse: SparsityConfig | None,
        directory: RunDirectory,
        group: Processes,
    ) -> None:
        self.recipe, self.group = recipe, group
        self.steps, self.seed, self.accumulation = config.steps, config.seed, config.accumulation
        self.classes = config.classes
        self.batches = Batches(images, recipe, config.batch, group.count * self.accumulation, self.seed, group.device)
        self.precision = config.precision
        self.dtype = PRECISIONS[self.precision]
        # Kept graphs of several accumulated passes would take as much memory as one large batch.
        self.objective = objective_of(recipe, self.classes, keep=self.accumulation == 1)
        torch.manual_seed(key("networks", self.seed))
        made = build(recipe, config.width, self.classes)
        generator = made.generator.to(group.device)
        made.discriminator.to(group.device)
        # Before the optimizer is made, which is to train what is inserted; before the average, which is to keep it.
        self.attachments: dict[Role, Attachment] = attaching.attach(
            made, sparse, recipe, classes=self.classes, seed=self.seed, accumulation=self.accumulation,
            run_dir=str(directory.path) if group.first else None,
        )  # fmt: skip
        self.networks: dict[Role, TrainedNetwork] = {
            role: self._trained(generator if role == "generator" else module.to(group.device), rate)
            for role, module, rate in self._updated(made)
        }
        self.average = copy.deepcopy(generator).requires_grad_(False) if recipe.ema else None
        self.terms: dict[str, Tensor] = {}
        self._measured: dict[Role, list[Measurement]] = {}
        self._broken = torch.full((), -1, device=group.device)  # the first step with a loss that is not finite

    def __str__(self) -> str:
        sizes = (
            f"{role} of {sum(p.numel() for p in network.module.parameters()):,}" for role, network in self.networks.items()
        )
        attached = "".join(f", {attachment}" for attachment in self.attachments.values())
        return f"{self.recipe.title}, {', '.join(sizes)} parameters{attached}, on {self.group.device}"

    def _updated(self, made: Networks) -> Iterator[tuple[Role, nn.Module, float]]:
        """The networks that there are, with their learning rates. Raises ConfigError where the objective updates another."""
        recipe = self.recipe
        every: dict[Role, tuple[nn.Module | None, float]] = {
            "generator": (made.generator, recipe.lr_generator),
            "discriminator": (made.discriminator, recipe.lr_discriminator),
            "encoder": (made.encoder, recipe.lr_generator),
        }
        for role, (module, rate) in every.items():
            if module is not None and next(module.parameters(), None) is not None:
                yield role, module, rate
            elif any(update.role == role for update in self.objective.updates):
                raise ConfigError(
                    f"the objective of {recipe.arch} updates the {role}, and its networks have none with parameters; return one "
                    "from `networks`, or derive an objective that leaves it out of `updates`"
                )

    @property
    def attachment(self) -> Attachment | None:
        """What is attached to the generator."""
        return self.attachments.get("generator")

    def _trained(self, module: nn.Module, rate: float) -> TrainedNetwork:
        recipe = self.recipe
        decay = recipe.weight_decay
        optimizer = torch.optim.Adam(module.parameters(), rate, recipe.betas, recipe.eps, decay, fused=True)
        scaler = torch.amp.GradScaler(self.group.device.type, enabled=self.dtype is torch.float16)
        return TrainedNetwork(module, self.group.wrap(module), rate, optimizer, scaler)

    def updates_of(self, role: Role) -> int:
        """The updates of a network in one step."""
        return sum(update.role == role for update in self.objective.updates)

    def train_step(self, step: int) -> None:
        """One update of G and those of the others that belong to it. step: how many were taken before."""
        for network in self.networks.values():
            for group in network.optimizer.param_groups:
                group["lr"] = network.rate * self.recipe.rate(step, self.steps)
        for update in self.objective.updates:
            self._update(update, step)
        if self.average is not None:
            weight = 1 - self.recipe.ema if step + 1 >= self.recipe.ema_start else 1.0
            _average(self.average, self.networks["generator"].module, weight)

    def _update(self, update: Update, step: int) -> None:
        """One update of one network."""
        role, network = update.role, self.networks[update.role]
        number = step * (1 + max(u.batch for u in self.objective.updates)) + update.batch
        networks = self._for_update(role)
        network.optimizer.zero_grad()
        for part in range(self.accumulation):
            shard = self.group.rank * self.accumulation + part
            torch.manual_seed(key("draws", self.seed, step, update.draw, shard))
            real = self.batches.get(number, shard)
            with self.group.averaging(network.wrapped, part + 1 == self.accumulation):
                with torch.autocast(self.group.device.type, self.dtype, enabled=self.dtype is not torch.float32):
                    terms = self.objective.terms(role, networks, real, step / self.steps)
                if (penalized := self._penalized(role)) is not None:
                    # Of a discriminator, that of all images which its loss judges: not of those at which its slope is penalized.
                    terms["sparsity"] = penalized.penalty(None if role == "generator" else next(iter(terms.values())))
                total = torch.stack(list(terms.values())).sum()
                network.scaler.scale(total / self.accumulation).backward()  # type: ignore[no-untyped-call]
            self.terms.update({f"{role}/{name}": term.detach() for name, term in terms.items()})
            self._broken = torch.where((self._broken < 0) & ~total.isfinite(), step + 1, self._broken)
        network.scaler.step(network.optimizer)
        network.scaler.update()

    def _penalized(self, role: Role) -> Attachment | None:
        """What has a penalty that is to be added to the loss of role; with delivery "gradient" it adds itself."""
        at = self.attachments.get(role)
        return at if at is not None and at.delivery == "loss" and penalizes(at.regularizer) else None

    def _for_update(self, role: Role) -> Networks:
        """The networks for an update of role: it wrapped, the others' weights without gradients."""
        # A graph of fakes that is kept from D's update to G's begins in D's.
        live = {role, "generator"} if self.objective.keep else {role}
        for name, network in self.networks.items():
            network.module.requires_grad_(name in live)
        return Networks(**{n: p.wrapped if n in live else p.module for n, p in self.networks.items()})

    def values(self) -> dict[str, float]:
        """The latest terms by "role/name", the learning rate, and the measurements of Γ since the last call, if any."""
        values = {name: float(term) for name, term in self.terms.items()}
        values["rate"] = self.networks["generator"].optimizer.param_groups[0]["lr"]
        for role, attachment in self.attachments.items():
            latest = attachment.recorder.latest if attachment.recorder else []
            fresh = [] if latest is self._measured.get(role) else latest
            self._measured[role] = latest
            network = "" if role == "generator" else f"{role}/"
            for measured in fresh:
                values[f"{network}sparsity_{measured.level}"] = measured.sparsity
                values[f"{network}sparsity_before_{measured.level}"] = measured.sparsity_before
        return values

    def check_losses(self, directory: RunDirectory) -> None:
        """Raises DivergedError where a loss was not finite in a step up to now."""
        step = int(self.group.maximum(self._broken.clone()))
        if step >= 0:
            terms = ", ".join(f"{name} {float(term):.3g}" for name, term in self.terms.items())
            raise DivergedError(f"a loss is no finite number in step {step} ({terms}); {_left(directory)}")

    def check_weights(self, step: int, directory: RunDirectory) -> None:
        """Raises DivergedError where a weight is not finite: it must not get into a checkpoint."""
        for role, network in self.networks.items():
            if not all(bool(p.isfinite().all()) for p in network.module.parameters()):
                raise DivergedError(f"a weight of the {role} is no finite number after step {step}; {_left(directory)}")

    def samples(self) -> Tensor:
        """A grid's images: uint8 (SHOWN, 3, size, size)."""
        generator = self.networks["generator"].module if self.average is None else self.average
        return trained.images(generator, self.recipe, *attaching.inputs(self.recipe, self.classes, self.seed, SHOWN, self.group.device))

    def save(self, directory: RunDirectory, step: int, keep: int, stay: Collection[int] = ()) -> None:
        """Write a checkpoint: all networks, the average, the optimizers, the loss scales. Nothing else changes in training."""
        tensors: dict[str, dict[str, Tensor]] = {role: p.module.state_dict() for role, p in self.networks.items()}
        if self.average is not None:
            tensors["generator_average"] = self.average.state_dict()
        tensors["optimizers"] = {
            name: tensor
            for role, network in self.networks.items()
            for name, tensor in checkpoints.optimizer_tensors(role, network.optimizer).items()
        }
        scalers = {role: network.scaler.state_dict() for role, network in self.networks.items()}
        checkpoints.save(directory.checkpoints, step, tensors, {"scalers": scalers}, keep, stay)

    def restore(self, directory: RunDirectory) -> None:
        """Go back to the latest checkpoint. Raises CheckpointError where it is damaged or of other networks."""
        step = directory.step
        more, tensors = checkpoints.load(directory.checkpoints, step)
        with checkpoints.taking(directory.checkpoints, step):
            for role, network in self.networks.items():
                trained.fill(network.module, tensors[role], role)
                checkpoints.restore_optimizer(role, network.optimizer, tensors["optimizers"])
                network.scaler.load_state_dict(more["scalers"][role])
            if self.average is not None:
                trained.fill(self.average, tensors["generator_average"], "generator_average")
        for role in self.attachments:
            for _, _, hook in hooks.find(self.networks[role].module, hooks.SiteHook):
                hook.state.steps = step * self.updates_of(role)  # by which measurements are numbered


def _left(directory: RunDirectory) -> str:
    """What a run that diverged leaves behind."""
    good = (
        f"the checkpoint of step {directory.step} in {directory.checkpoints} is good"
        if directory.step
        else "there is no checkpoint"
    )
    return f"{good}; lower the learning rate or the weight of what was added, or give another seed"


def _average(average: nn.Module, module: nn.Module, weight: float) -> None:
    """average += weight (module - average), for parameters and running statistics; all else is copied.

    The vectors of spectral normalisation have length 1, which averages of them have not.
    """
    ours, theirs = [], []
    for (name, mine), (_, other) in zip(_tensors(average), _tensors(module), strict=True):
        if not mine.is_floating_point() or name.endswith(("._u", "._v")):
            mine.copy_(other)
        else:
            ours.append(mine)
            theirs.append(other.detach())
    torch._foreach_lerp_(ours, theirs, weight)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
