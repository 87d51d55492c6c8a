"""A generator whose Γ is found at its first call is attached before it too: under failures, threads, copies, checkpoints."""

import copy
import io
import logging
import pickle
import threading

import pytest
import torch
from torch import nn

import sparse_plugin
from sparse_plugin import Attachment
from sparse_plugin.attachment import hooks, placement
from sparse_plugin.attachment.first_call import DEFERRED
from sparse_plugin.errors import CheckpointError, SiteError

K = 2


class Previewed(nn.Module):
    """Two convolutions could make the image: only a call tells which does."""

    def __init__(self):
        super().__init__()
        self.fc, self.mid = nn.Linear(6, 128), nn.Conv2d(8, 8, 3, 1, 1)
        self.preview, self.out = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 3, 1, 1)
        self.fail = None

    def forward(self, z):
        if self.fail is not None:
            raise self.fail
        return self.out(self.mid(self.fc(z).view(-1, 8, 4, 4)).relu())


def attached(name="l0_inf", **settings):
    generator = Previewed()
    sparse_plugin.attach(generator, name, **(settings or {"k": K}))
    assert not Attachment.of(generator).sites
    return generator


def z(n=4):
    return torch.randn(n, 6)


def fullest(generator, call=None):
    seen = []
    handle = generator.out.register_forward_hook(lambda m, a, out: seen.append(int((a[0] != 0).sum(1).max())))
    (call or (lambda: generator(z())))()
    handle.remove()
    return max(seen)


@pytest.mark.parametrize(
    "fail", [RuntimeError("a host's own"), torch.OutOfMemoryError("out of memory"), KeyboardInterrupt()], ids=repr
)
def test_a_first_call_that_fails_decides_nothing(fail):
    generator = attached()
    generator.fail = fail
    for _ in range(2):
        with pytest.raises(type(fail)):
            generator(z())
        assert Attachment.of(generator) is not None
    with pytest.raises((RuntimeError, TypeError)):
        generator(torch.randn(4, 7)) if generator.fail is None else generator()
    generator.fail = None
    assert fullest(generator) <= K
    assert not list(hooks.find(generator, DEFERRED))


def test_an_input_that_does_not_fit():
    generator = attached()
    for wrong in (torch.randn(4, 7), "z", None):
        with pytest.raises((RuntimeError, TypeError, AttributeError)):
            generator(wrong)
    assert fullest(generator) <= K


def test_a_call_while_another_threads_first_call_installs(monkeypatch):
    """It waits: nothing runs past what is not there yet."""
    generator, install, seen = attached(), placement.install, []
    generator.out.register_forward_hook(lambda m, a, out: seen.append(int((a[0] != 0).sum(1).max())))
    other = threading.Thread(target=lambda: generator(z()))

    def slowly(*args):
        other.start()
        other.join(0.5)
        return install(*args)

    monkeypatch.setattr(placement, "install", slowly)
    generator(z())
    other.join()
    assert len(seen) == 2 and max(seen) <= K


def test_many_threads_make_the_first_call():
    for _ in range(3):
        generator = attached()
        seen, errors = [], []
        generator.out.register_forward_hook(lambda m, a, out, seen=seen: seen.append(int((a[0] != 0).sum(1).max())))
        start = threading.Barrier(6)

        def call(generator=generator, start=start, errors=errors):
            start.wait()
            try:
                generator(z())
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not errors and len(seen) == 6 and max(seen) <= K
        assert len(list(hooks.find(generator, hooks.SiteHook))) == 1


@pytest.mark.parametrize("made", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))], ids=["copy", "pickle"])
def test_a_copy_made_before(made):
    generator = attached()
    twin = made(generator)
    assert fullest(twin) <= K and not Attachment.of(generator).sites
    assert fullest(generator) <= K


def test_a_copy_made_before_never_feeds_the_penalty():
    generator = attached("l1", weight=1.0)
    twin = copy.deepcopy(generator)
    plain = Previewed()
    plain.load_state_dict({k: v for k, v in twin.state_dict().items() if "sparse_plugin" not in k})
    x = z()
    for network in (twin, plain):
        network(x).square().mean().backward()
    for ours, theirs in zip(twin.parameters(), plain.parameters(), strict=True):
        if ours.grad is not None or theirs.grad is not None:
            assert torch.equal(ours.grad, theirs.grad)


class TestCheckpoints:
    def through_a_file(self, generator):
        buffer = io.BytesIO()
        torch.save(generator.state_dict(), buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    def called(self, generator):
        generator(z())
        return generator

    @pytest.mark.parametrize("ran", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("into", [False, True], ids=["into-before", "into-after"])
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_the_same_settings_load(self, ran, into, prefix, caplog):
        source, target = attached(), attached()
        if ran:
            self.called(source)
        if into:
            self.called(target)
        whole = nn.ModuleDict({"module": target}) if prefix else target
        state = {prefix + key: value for key, value in self.through_a_file(source).items()}
        with caplog.at_level(logging.WARNING):
            whole.load_state_dict(state)
        assert not caplog.records
        assert fullest(target) <= K
        assert torch.equal(target.out.weight, source.out.weight)

    @pytest.mark.parametrize("ran", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("into", [False, True], ids=["into-before", "into-after"])
    @pytest.mark.parametrize("strict", [False, True])
    def test_other_settings_do_not(self, ran, into, strict):
        source, target = attached(k=7), attached()
        if ran:
            self.called(source)
        if into:
            self.called(target)
        with pytest.raises(CheckpointError, match="k=7.*k=2"):
            target.load_state_dict(self.through_a_file(source), strict=strict)

    def test_without_the_plugin_it_is_loud(self):
        with pytest.raises(RuntimeError, match="sparse_plugin"):
            Previewed().load_state_dict(self.through_a_file(attached()))

    def test_a_plain_one_says_so(self, caplog):
        generator = attached()
        generator.load_state_dict(Previewed().state_dict())
        assert "without sparse_plugin" in caplog.text
        assert fullest(generator) <= K

    def test_another_place_is_said(self):
        source = Previewed()
        sparse_plugin.attach(source, "l0_inf", k=K, sites="preview")
        generator = attached()
        generator.load_state_dict(self.through_a_file(source))
        with pytest.raises(CheckpointError, match="with its sites at preview, and here they were found at out"):
            generator(z())


def test_detached_before_the_first_call_nothing_remains():
    plain = Previewed()
    before = list(plain.state_dict())
    attachment = sparse_plugin.attach(plain, "l0_inf", k=K)
    assert list(plain.state_dict()) != before
    attachment.detach()
    assert list(plain.state_dict()) == before
    assert not any(True for _ in hooks.find(plain, object)) and not plain._load_state_dict_pre_hooks
    assert fullest(plain) > K


def test_forward_called_directly_tells_d1_too():
    generator = attached()
    assert generator.forward(z()).shape[1] == 3
    assert fullest(generator) <= K and sparse_plugin.Attachment.of(generator).sites


def parameters(generator):
    return {name: parameter.detach().clone() for name, parameter in generator.named_parameters()}


def mean(generator, held, noise):
    return torch.func.functional_call(generator, held, (noise,)).mean()


FUNCTIONAL = {
    "grad": lambda g: torch.func.grad(lambda held: mean(g, held, z()))(parameters(g)),
    "jacrev": lambda g: torch.func.jacrev(lambda noise: g(noise).mean())(z()),
    "an ensemble": lambda g: torch.vmap(lambda held: mean(g, held, z()), randomness="different")(
        {name: torch.stack([held, held]) for name, held in parameters(g).items()}
    ),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_a_first_call_inside_torch_func_is_refused_and_decides_nothing(name):
    generator = attached()
    with pytest.raises(SiteError, match="Previewed cannot be told inside torch.func.*run it once in this way outside of that"):
        FUNCTIONAL[name](generator)
    assert fullest(generator) == K
    FUNCTIONAL[name](generator)
