"""Replicas and processes."""

import copy
import pickle
import threading

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from generators import Residual, noise
from orders_worker import measures
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sparse_plugin import Attachment, attach
from sparse_plugin.errors import PenaltyError

BOTH = (["l1", "l0_inf"], {"l1": {"weight": 0.5}, "l0_inf": {"k": 2}})
REGULARIZERS = [("l1", {"weight": 0.5}), ("l0", {"k": 0.1}), ("l0_inf", {"k": 2}), ("ml_csc", {"k": 3}), BOTH]
NAMES = [name if isinstance(name, str) else "+".join(name) for name, _ in REGULARIZERS]


def make(name, settings, delivery="gradient"):
    torch.manual_seed(0)
    generator = Residual()
    for m in generator.modules():  # batch statistics are each process's own: take them out of the comparison
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
    attach(generator, name, delivery=delivery, **settings)
    return generator


def step(model, batch, delivery):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.zero_grad()
    loss = model(batch).square().mean()
    if delivery == "loss":
        loss = loss + Attachment.of(model).penalty()
    loss.backward()
    optimizer.step()


CASES = [*((n, s, "gradient") for n, s in REGULARIZERS), ("l1", {"weight": 0.5}, "loss")]


def worker(rank, store, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=2)
    states = []
    for name, settings, delivery in CASES:
        model = DistributedDataParallel(make(name, settings, delivery))
        for seed in range(2):
            step(model, noise(8, seed).chunk(2)[rank], delivery)
        states.append(model.module.state_dict())
    chosen = measures(rank)
    if rank == 0:
        torch.save((states, chosen), results)
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of all cases in one pair of processes: what costs most is to start them."""
    folder = tmp_path_factory.mktemp("pair")
    mp.spawn(worker, (folder / "store", folder / "outcomes.pt"), nprocs=2)
    return torch.load(folder / "outcomes.pt")


def test_two_processes_choose_one_k(outcomes):
    """`auto` in two processes that train one generator: both come to one k, from the mean of what both have seen."""
    (one, k), (other, also) = outcomes[1]
    assert abs(one - other) > 0.02  # by itself each would have chosen another
    assert k == also == pytest.approx((one + other) / 4, rel=1e-5)


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{name}-{case[2]}" for name, case in zip([*NAMES, "l1"], CASES, strict=True)])
def test_two_processes_equal_one_on_the_joint_batch(case, outcomes):
    joint, (name, settings, delivery) = outcomes[0][case], CASES[case]
    single = make(name, settings, delivery)
    for seed in range(2):
        step(single, noise(8, seed), delivery)
    assert any(not torch.equal(v, make(name, settings).state_dict()[k]) for k, v in joint.items())
    for key, value in single.state_dict().items():
        assert torch.allclose(joint[key].to(value), value, atol=1e-6), key


def replicas(generator, count=2):
    """What DataParallel makes of a module on several devices: shallow replicas that share its hooks."""
    made = []
    for _ in range(count):
        twins = {m: m._replicate_for_data_parallel() for m in generator.modules()}
        for m, twin in twins.items():
            for key, child in m._modules.items():
                if child is not None:
                    setattr(twin, key, twins[child])
            for key, parameter in m._parameters.items():
                if parameter is not None:
                    setattr(twin, key, parameter.view_as(parameter))
        made.append(twins[generator])
    return made


def in_threads(parts):
    results, errors = [None] * len(parts), []
    gradients = torch.is_grad_enabled()

    def run(i, module, batch):
        try:
            with torch.set_grad_enabled(gradients):
                results[i] = module(batch)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i, *part)) for i, part in enumerate(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


@pytest.mark.parametrize(("name", "settings"), REGULARIZERS[1:-1], ids=NAMES[1:-1])
def test_data_parallel_replicas(name, settings):
    generator = make(name, settings)
    reference = pickle.loads(pickle.dumps(generator))
    batch = noise(8)
    images = torch.cat(in_threads(list(zip(replicas(generator), batch.chunk(2), strict=True))))
    assert torch.allclose(images, reference(batch), atol=1e-6)
    images.square().mean().backward()
    reference.zero_grad()
    reference(batch).square().mean().backward()
    for ours, theirs in zip(generator.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_replicas_and_penalties():
    """The penalty of a replicated forward is that of the joint batch; each adding its own gradient is refused."""
    with pytest.raises(PenaltyError, match="each replica of DataParallel would add the whole penalty"):
        in_threads([(replicas(make("l1", {"weight": 0.5}), 1)[0], noise())])
    generator = make("l1", {"weight": 0.5}, "loss")
    attachment = Attachment.of(generator)
    joint = generator(noise(8))
    expected = attachment.penalty()
    now = attachment._hooks[0].state
    parts, nodes = [], []
    for part in noise(8).split([6, 2]):
        parts.append(replicas(generator, 1)[0](part))
        nodes.extend(now.nodes.latest())
    for device, node in zip(("cpu", "meta"), nodes, strict=True):  # as if on two devices
        now.nodes.keep(torch.device(device), node)
    assert torch.allclose(attachment.penalty(), expected)
    del joint


def test_replicas_do_not_lose_the_hooks_module(monkeypatch):
    """Inserted dictionaries are the replica's own, on its device, not the original's."""
    generator = make("ml_csc", {"k": 3})
    (replica,) = replicas(generator, 1)
    used = []
    from sparse_plugin.registry.dictionaries import Dictionary

    run = Dictionary.forward
    monkeypatch.setattr(Dictionary, "forward", lambda self, gamma: (used.append(self), run(self, gamma))[1])
    replica(noise())
    assert used == [replica.out.sparse_plugin.dictionaries["D2"]]


def test_data_parallel_without_devices():
    generator = make("l0_inf", {"k": 2})
    assert torch.equal(nn.DataParallel(copy.deepcopy(generator))(noise()), generator(noise()))


def spawned(generator, results):
    results.put(int(_count(generator)))


def _count(generator):
    seen = []
    generator.out.register_forward_hook(lambda m, args, out: seen.append((args[0] != 0).sum(1).max()))
    generator(noise())
    return seen[-1]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_generator_handed_to_a_process_keeps_it(method):
    generator = make("l0_inf", {"k": 2})
    context = mp.get_context(method)
    results = context.SimpleQueue()
    process = context.Process(target=spawned, args=(generator, results))
    process.start()
    assert results.get() == 2
    process.join()
