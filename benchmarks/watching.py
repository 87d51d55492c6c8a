"""What watching over a generator, a k that changes, a second regularizer, the coherence of atoms and their revival cost a training step:
`python benchmarks/watching.py`.

The Python work of one forward that is no projection: the hooks at which the generator begins and ends, what marks and walks
the autograd graph of its image, and what notes that a site was passed. Each is called by itself, many times, on the objects of
a real forward; the regularizer's own work is measured in steps.py. The step is one update of D and one of G of a DCGAN for
64 x 64 pixels, batch 64, whose G runs twice.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.attachment import hooks
from sparse_plugin.attachment.lineage import Made
from sparse_plugin.attachment.vigil import Begins, Ends

CALLS = 2000
STEPS = 3
PAIRS = 41


def dcgan() -> tuple[nn.Module, nn.Module]:
    """G of 512 to 64 channels for 64 x 64, and D its mirror."""

    def up(i: int, o: int, stride: int, padding: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(i, o, 4, stride, padding, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    def down(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(0.2)]

    blocks = (*up(100, 512, 1, 0), *up(512, 256, 2, 1), *up(256, 128, 2, 1), *up(128, 64, 2, 1))
    generator = nn.Sequential(*blocks, nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())
    return generator, nn.Sequential(*down(3, 64), *down(64, 128), *down(128, 256), *down(256, 512), nn.Conv2d(512, 1, 4))


def seconds_of_a_step(generator: nn.Module, discriminator: nn.Module, z: Tensor) -> float:
    """The median over a few steps without the plugin."""
    both = [torch.optim.Adam(network.parameters(), 2e-4) for network in (generator, discriminator)]
    real, taken = torch.rand(64, 3, 64, 64) * 2 - 1, []
    for _ in range(STEPS):
        start = time.perf_counter()
        with torch.no_grad():
            fake = generator(z)
        (F.softplus(-discriminator(real)) + F.softplus(discriminator(fake))).mean().backward()
        both[1].step()
        F.softplus(-discriminator(generator(z))).mean().backward()
        both[0].step()
        for optimizer in both:
            optimizer.zero_grad()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def microseconds(work: Callable[[], None]) -> float:
    """The median time of one call."""
    taken = []
    for _ in range(CALLS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def changing(generator: nn.Module, z: Tensor, k: dict[str, float]) -> float:
    """Microseconds a step: the optimizer's step is counted, two forwards ask for the k of theirs, and for `auto`, in one forward of
    those that are, the non-zeros of Γ are counted; the mean, since not every step does all of it.
    """
    sparse_plugin.Attachment(generator).detach()
    handle = sparse_plugin.attach(generator, "l0_inf", k=k, example_input=z)
    d1, hook = next((module, hook) for _, module, hook in hooks.find(generator, hooks.SiteHook))
    (child,), gamma, auto = handle.inserted(), torch.relu(torch.randn(64, 64, 32, 32)), hook.regularizer.automatic
    start = time.perf_counter()
    for _ in range(CALLS):
        hook.acting(d1)
        if auto is not None and child.training_step.density is None:
            child.training_step.count(gamma, auto, child.counted)
        hook.acting(d1)
        child.training_step.advance(child.schedule)
    return (time.perf_counter() - start) / CALLS * 1e6


def another(generator: nn.Module, z: Tensor) -> float:
    """Microseconds a step: two forwards through the hook of one more of several regularizers, one that keeps all of Γ."""
    sparse_plugin.Attachment(generator).detach()
    sparse_plugin.attach(generator, ["l0_inf", "l0"], l0_inf={"k": 0.25}, l0={"k": 1.0}, example_input=z)
    (_, _, _), (_, d1, hook) = hooks.find(generator, hooks.SiteHook)
    gamma = torch.relu(torch.randn(2, 64, 32, 32))
    return 2 * microseconds(lambda: hook(d1, (gamma,)))


def coherence(generator: nn.Module, z: Tensor) -> float:
    """Microseconds a step: two forwards through the hook, of which the second has the penalty's gradient taken in a backward pass."""
    sparse_plugin.Attachment(generator).detach()
    sparse_plugin.attach(generator, "coherence", example_input=z)
    _, d1, hook = next(hooks.find(generator, hooks.SiteHook))
    gamma = torch.relu(torch.randn(2, 64, 32, 32)).requires_grad_()
    grad = torch.zeros_like(gamma)

    def work() -> None:
        with torch.no_grad():
            hook(d1, (gamma,))
        torch.autograd.grad(hook(d1, (gamma,))[0], (gamma, d1.weight), grad)

    return microseconds(work)


def revival(generator: nn.Module, z: Tensor, favoured: bool) -> float:
    """Microseconds a step beyond `l0_inf`: two forwards of a Γ of 64x64x32x32, one backward, and the optimizer's step; the median
    difference of pairs. favoured: whether an atom is.
    """
    gamma = torch.relu(torch.randn(64, 64, 32, 32)).requires_grad_()
    grad, works = torch.randn_like(gamma), []
    for name in ("l0_inf", "revival"):
        sparse_plugin.Attachment(generator).detach()
        handle = sparse_plugin.attach(generator, name, k=0.25, example_input=z)
        if name == "revival" and favoured:
            handle.inserted()[0].memory[-1] = 2
        works.append(next(hooks.find(generator, hooks.SiteHook))[1:])

    def seconds(d1: nn.Module, hook: hooks.SiteHook) -> float:
        start = time.perf_counter()
        with torch.no_grad():
            hook(d1, (gamma,))
        torch.autograd.grad(hook(d1, (gamma,))[0], gamma, grad)
        hook.state.steps += 1
        hook.stepped()
        return time.perf_counter() - start

    pairs = [[seconds(d1, hook) for d1, hook in works] for _ in range(PAIRS)]
    return statistics.median(after - before for before, after in pairs) * 1e6


def main() -> None:
    torch.manual_seed(0)
    generator, discriminator = dcgan()
    z = torch.randn(64, 100, 1, 1)
    step = seconds_of_a_step(generator, discriminator, z)
    small = z[:2]
    sparse_plugin.attach(generator, "l0_inf", k=0.25, example_input=small)
    (_, d1, made), (_, _, site) = next(hooks.find(generator, Made)), next(hooks.find(generator, hooks.SiteHook))
    seen: list[Tensor] = []
    looking = d1.register_forward_pre_hook(lambda module, args: seen.append(args[0]), prepend=True)
    image = generator(small)
    looking.remove()
    (_, _, begins), (_, _, ends) = next(hooks.find(generator, Begins)), next(hooks.find(generator, Ends))
    rgb = d1.forward(torch.relu(torch.randn(2, 64, 32, 32)))

    def watch() -> None:
        begins(generator, (small,), {})
        site.vigil.running[threading.get_ident()].since = 0  # the image's graph is older than this call
        site.vigil.passed(seen[0])
        made(d1, (small,), rgb)
        ends(generator, (small,), image)

    each = microseconds(watch)
    for k in ({"start": 1.0, "end": 0.25, "steps": 10**6}, {"auto": 0.5, "measure": CALLS, "steps": 10**6}):
        work = changing(generator, small, k)
        print(f"k: {k}: {work:.1f} us a step; {1e-6 * work / step:.4%} of it")
    more = another(generator, small)
    print(f"one more regularizer at the site, its own work aside: {more:.1f} us a step; {1e-6 * more / step:.4%} of it")
    print(f"coherence: {(work := coherence(generator, small)):.1f} us a step; {1e-6 * work / step:.4%} of it")
    for favoured in (False, True):
        work, which = revival(generator, small, favoured), "an atom is favoured" if favoured else "all atoms live"
        print(f"revival beyond l0_inf, where {which}: {work:.1f} us a step; {1e-6 * work / step:.4%} of it")
    print(f"watching a forward: {each:.1f} us; a step without the plugin: {step:.3f} s on {torch.get_num_threads()} threads")
    print(f"two forwards a step: {2e-6 * each / step:.4%} of it")


if __name__ == "__main__":
    main()
