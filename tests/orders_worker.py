"""Two processes that attach and wrap in one order after the other; importable, since they are spawned."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel

from sparse_plugin import Attachment, attach
from sparse_plugin.errors import SparsePluginError

KINDS = {
    "l0_inf": {"k": 2},
    "l0_channel": {"k": 0.25},
    "l1": {"weight": 5.0},
    "l1 by loss": {"weight": 5.0, "delivery": "loss"},
    "ml_csc": {"k": 3},
    "coherence": {"weight": 5.0},
    "coherence by loss": {"weight": 5.0, "delivery": "loss"},
    "revival": {"k": 2, "steps": 1},
}
Z = torch.randn(8, 6, 1, 1, generator=torch.Generator().manual_seed(1))


class G(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.body = nn.ConvTranspose2d(6, 8, 4), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z):
        return torch.tanh(self.head(torch.relu(self.body(torch.relu(self.up(z))))))


def ddp(generator):
    return DistributedDataParallel(generator)


def compiled(generator):
    return torch.compile(generator, backend="eager")


def fsdp1(generator):
    return FullyShardedDataParallel(generator, device_id=torch.device("cpu"))


def fsdp1_each(generator):
    """Every convolution by itself, with the parameters under their own names."""
    return FullyShardedDataParallel(
        generator, device_id=torch.device("cpu"), use_orig_params=True, auto_wrap_policy=ModuleWrapPolicy({nn.Conv2d})
    )


def fsdp2(generator):
    return fully_shard(generator)


def fsdp2_each(generator):
    for layer in (generator.up, generator.body, generator.head):
        fully_shard(layer)
    return fully_shard(generator)


A = "attach"  # to the generator; "attach around" takes what was wrapped so far
AROUND = "attach around"
EXACT = "exact"
EVERY, ANY, D2 = ("l0_inf", "l0_channel", "l1", "l1 by loss", "ml_csc"), ("l0_inf", "l1", "l1 by loss"), ("ml_csc",)
# The orders, each with the kinds that it is tried with and what comes of it; docs/orders.md tells people.
CELLS = [
    ([A, ddp], EVERY, EXACT),
    ([ddp, A], ANY, EXACT),
    ([ddp, A], D2, "attach first, then DistributedDataParallel(...)"),
    ([ddp, AROUND], ("l1 by loss",), EXACT),
    ([ddp, AROUND], D2, "attach first, then DistributedDataParallel(...)"),
    ([A, compiled, ddp], ("l1", "ml_csc"), EXACT),
    ([A, ddp, compiled], ("l1", "ml_csc"), EXACT),
    ([ddp, compiled, A], ("l0_inf",), EXACT),
    ([ddp, compiled, "run", AROUND], ("l1",), EXACT),
    ([A, fsdp1], EVERY, EXACT),
    ([A, fsdp1_each], ("l1", "ml_csc"), EXACT),
    ([A, fsdp1], ("coherence", "coherence by loss", "revival"), EXACT),
    ([A, fsdp1_each], ("coherence",), EXACT),
    ([A, fsdp1_each], ("coherence by loss",), 'attach with delivery="gradient"'),
    ([A, fsdp2], EVERY, EXACT),
    ([A, fsdp2_each], ("l1", "ml_csc"), EXACT),
    ([A, fsdp2], ("coherence",), EXACT),
    ([fsdp1, A], ("l0_inf",), "attach first, then FullyShardedDataParallel(...)"),
    ([fsdp1, AROUND], ("l1",), "attach first, then FullyShardedDataParallel(...)"),
    ([fsdp1_each, A], D2, "attach first, then FullyShardedDataParallel(...)"),
    ([fsdp2, A], ("l0_inf",), "attach first, then fully_shard(...)"),
    ([fsdp2_each, A], D2, "attach first, then fully_shard(...)"),
]
ORDERS = {", ".join(w if isinstance(w, str) else w.__name__ for w in steps): steps for steps, _, _ in CELLS}
EXPECTED = {
    (", ".join(w if isinstance(w, str) else w.__name__ for w in steps), kind): what
    for steps, kinds, what in CELLS
    for kind in kinds
}


def put_on(module, kind):
    return attach(module, kind.partition(" ")[0], **KINDS[kind])


def train(model, attachment, kind, batches):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for batch in batches:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        if kind.endswith("by loss"):
            loss = loss + attachment.penalty(loss)
        loss.backward()
        optimizer.step()


def alone(kind):
    """What one process comes to on the joint batch."""
    generator = G()
    train(generator, put_on(generator, kind), kind, [Z, Z.flip(0)])
    with torch.no_grad():
        return generator(Z)


def outcome(order, kind, rank):
    """The images after two steps in this order, or the sentence of a refusal."""
    torch.compiler.reset()
    model = generator = G()
    attachment = None
    try:
        for what in ORDERS[order]:
            if what == A:
                attachment = put_on(generator, kind)
            elif what == AROUND:
                attachment = put_on(model, kind)
            elif what == "run":
                model(Z.chunk(2)[rank])
            else:
                model = what(model)
        train(model, attachment, kind, [batch.chunk(2)[rank] for batch in (Z, Z.flip(0))])
        assert Attachment.of(model) is not None
    except SparsePluginError as error:
        return str(error)
    with torch.no_grad():
        mine = model(Z)
    return mine


def work(rank, store, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=2)
    found = {}
    for order, kind in EXPECTED:
        try:
            found[order, kind] = outcome(order, kind, rank)
        except Exception as error:
            found[order, kind] = f"{type(error).__name__}: {error}"
    if rank == 0:
        torch.save(found, results)
    dist.barrier()
    dist.destroy_process_group()


def measures(rank):
    """Two processes, of which the first sees a dense Γ and the second a sparse one, train with k: auto under DDP.

    Returns of each the mean density that it saw, and the k that it came to.
    """
    generator = G()
    handle = attach(generator, "l0_inf", k={"auto": 0.5, "measure": 3, "steps": 2, "shape": "linear"})
    wrapped = DistributedDataParallel(generator)
    optimizer = torch.optim.SGD(generator.parameters(), 0.0)
    generator.body.bias.data.fill_(0.0)
    own = []
    generator.head.register_forward_pre_hook(lambda module, args: own.append(float((args[0] != 0).float().mean())))
    for _ in range(6):
        optimizer.zero_grad()
        wrapped(Z * (1 if rank else 0) + (0 if rank else 1)).square().mean().backward()
        optimizer.step()
    (measured,) = handle.measure(Z)
    gathered = [None, None]
    dist.all_gather_object(gathered, (sum(own[:3]) / 3, measured.settings["k"]))
    return gathered
