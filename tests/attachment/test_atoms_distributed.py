"""`coherence` and `revival` in two processes: both come to the step that one process takes on the joint batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from generators import Domains, Residual, noise
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sparse_plugin import Attachment, attach

ASKED = {
    "by hand": (["coherence"], "loss", {"coherence": {"weight": 0.5}}),
    "with another penalty": (["coherence", "l1"], "gradient", {"coherence": {"weight": 0.5}, "l1": {"weight": 0.5}}),
    "revival": (["revival"], None, {"revival": {"k": 2, "steps": 3}}),
}
DEAD = 3


def made(asked):
    names, delivery, settings = ASKED[asked]
    torch.manual_seed(0)
    generator = Residual()
    with torch.no_grad():
        generator.bn3.bias.fill_(4.0)
        generator.bn3.weight[DEAD] = generator.bn3.bias[DEAD] = 1e-3
    for m in generator.modules():  # batch statistics are each process's own: take them out of the comparison
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
    if len(names) > 1:
        attach(generator, names, delivery=delivery, **settings)
    else:
        attach(generator, names[0], delivery=delivery, **settings[names[0]])
    return generator


def train(model, delivery, part=lambda batch: batch):
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for seed in range(7):
        model(part(noise(8, seed + 50)))  # a step of D
        optimizer.zero_grad()
        loss = model(part(noise(8, seed))).square().mean()
        if delivery == "loss":
            loss = loss + Attachment.of(model).penalty()
        loss.backward()
        optimizer.step()


def domains(asked):
    torch.manual_seed(1)
    generator = Domains()
    with torch.no_grad():
        generator.body.bias[DEAD] = -0.6
    settings = {"k": 2, "steps": 3} if asked == "revival" else {"k": {"auto": 0.5, "measure": 4, "steps": 2}}
    attach(generator, asked, sites=["a", "b"], **settings)
    return generator


def train_domains(model, ranks):
    """Each process uses one of two heads in a step, for one step or several another than the other process, or the same."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for step in range(7):
        optimizer.zero_grad()
        for rank in ranks:
            image = model(noise(8, step).chunk(2)[rank], (0, 1, 3)[step % 3] >> rank & 1)
            (image.square().mean() / len(ranks)).backward()
        optimizer.step()


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=(folder / "store").as_uri(), rank=rank, world_size=2)
    found = {}
    for asked in ASKED:
        generator = made(asked)
        train(DistributedDataParallel(generator), ASKED[asked][1], lambda batch: batch.chunk(2)[rank])
        found[asked] = generator.state_dict()
    for asked in ("revival", "l0_inf"):
        generator = domains(asked)
        train_domains(DistributedDataParallel(generator, find_unused_parameters=True), [rank])
        found[asked, "domains"] = generator.state_dict()
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_equal_one_on_the_joint_batch(tmp_path):
    mp.spawn(worker, (tmp_path,), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for asked in ASKED:
        generator = made(asked)
        train(generator, ASKED[asked][1])
        for name, value in generator.state_dict().items():
            assert torch.equal(one[asked][name], other[asked][name]), (asked, name)
            assert torch.allclose(one[asked][name], value, atol=1e-5), (asked, name)
    for asked in ("revival", "l0_inf"):
        generator = domains(asked)
        train_domains(generator, [0, 1])
        for name, value in generator.state_dict().items():
            assert torch.equal(one[asked, "domains"][name], other[asked, "domains"][name]), (asked, name)
            # A process counts one forward a step, so that of two of them the density is another one's.
            assert asked == "l0_inf" or torch.allclose(one[asked, "domains"][name], value, atol=1e-5), (asked, name)
    assert all(0.3 < one["l0_inf", "domains"][f"{head}.sparse_plugin.schedule"][1] < 0.7 for head in "ab")
    memory = one["revival"]["out.sparse_plugin.memory"]
    assert memory[0] == 1 and memory[1:].view(3, -1)[2].tolist() == [0] * 8  # favoured from step 3 to 6, and let go
