"""What this process knows of a hook at a site: kept beside the hook, and neither copied nor pickled with it."""

from __future__ import annotations

import threading
from enum import IntEnum

import torch
from torch import Tensor

from sparse_plugin.attachment.child import SparseChild
from sparse_plugin.attachment.gamma_nodes import GammaNodes
from sparse_plugin.attachment.untold import Untold
from sparse_plugin.measurements.log import Recorder
from sparse_plugin.registry.base import Constraint, Penalty


class Stage(IntEnum):
    """How far a hook has come in this process. A constraint is never due: it acts in the forward pass or not at all."""

    PLACED = 0  # it stands
    DUE = 1  # Γ has passed with gradients, or the generator was trained: a penalty has to reach its loss
    EFFECTIVE = 2  # Γ was projected, or its penalty has reached a loss


class SiteState:
    """Of any hook."""

    def __init__(self) -> None:
        self.stage = Stage.PLACED
        self.compiled = False  # whether Γ was compiled into a graph, by torch.compile, where no Python sees it
        self.steps = 0  # of the generator's optimizer
        self.untold: Untold | None = None  # what looks for them, as long as no optimizer of torch is known to take them
        self.recorder: Recorder | None = None
        self.child: SparseChild | None = None  # beside it, wherever its module may be now


class Noted:
    """What training forwards have shown since the generator's optimizer took a step: the largest of each number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # replicas of DataParallel run in threads
        self._noted: Tensor | None = None

    def add(self, notes: Tensor) -> None:
        """A forward has shown these."""
        with self._lock:
            self._noted = notes if self._noted is None else torch.maximum(self._noted, notes.to(self._noted.device))

    def take(self, memory: Tensor) -> Tensor | None:
        """What was shown in any process, which is then forgotten; None for nothing.

        memory: what it goes into. All processes come here, whether a forward of theirs passed the site or not.
        """
        with self._lock:
            noted, self._noted = self._noted, None
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return noted
        every = torch.full((len(memory) + 1,), -torch.inf, device=memory.device)
        every[-1] = 0 if noted is None else len(noted)
        if noted is not None:
            every[: len(noted)] = noted
        torch.distributed.all_reduce(every, op=torch.distributed.ReduceOp.MAX)
        count = int(every[-1]) if noted is None else len(noted)  # waits for the device only where nothing was seen
        return every[:count] if count else None


class ConstraintState(SiteState):
    """Of a constraint's."""

    def __init__(self) -> None:
        super().__init__()
        self.noted = Noted()
        self.acting: Constraint | None = None  # the constraint at the step of the latest forward
        self.slack_said = False  # that the constraint cannot bind
        self.tried = False  # whether a constraint that changes over training was tried at every turn of it


class Counter:
    """Backward passes that took the penalty's gradient since the generator's last optimizer step."""

    backwards = 0.0
    said = False  # that there were more of them than expected
    told = False  # whether their number is accelerate's, which divides the loss by it
    elsewhere = 0  # of a discriminator: those since any other optimizer's step that reached another network's weights too


class PenaltyState(SiteState):
    """Of a penalty's."""

    def __init__(self) -> None:
        super().__init__()
        self.loss_is_known = False  # whether a host patch takes the penalty wherever the generator's loss is computed
        self.follows_scaling = False  # whether the scaling of losses is followed for it
        self.nodes = GammaNodes()
        self.ran = 0  # forwards with gradients since the penalty was taken, or the generator's optimizer stepped
        self.taken = 0  # how often the penalty was taken since the last step of the generator's optimizer
        self.counter = Counter()
        self.acting: Penalty | None = None  # the penalty at the step of the latest forward

    def step_taken(self) -> None:
        """The generator's optimizer took a step: what is counted from one to the next begins again."""
        self.ran, self.taken, self.counter.backwards = 0, 0, 0.0
