"""In which order a generator is attached, compiled, wrapped, copied and detached: the same numbers, or a refusal."""

import copy
import faulthandler
import gc

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.parallel import DataParallel

from sparse_plugin import Attachment, Site, attach
from sparse_plugin.attachment import events
from sparse_plugin.attachment.atoms import atoms
from sparse_plugin.attachment.penalty import _said
from sparse_plugin.attachment.site_state import Stage
from sparse_plugin.errors import AttachmentError, PenaltyError, SiteError


class G(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.ConvTranspose2d(6, 8, 4)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z):
        return torch.tanh(self.head(self.body(torch.relu(self.up(z)))))


Z = torch.randn(4, 6, 1, 1, generator=torch.Generator().manual_seed(1))
KINDS = {"l0_inf": {"k": 2}, "l0": {"k": 0.25}, "l0_batch": {"k": 0.25}, "l0_channel": {"k": 0.25}, "l1": {"weight": 5.0}, "ml_csc": {"k": 3}}
KINDS |= {"coherence": {"weight": 5.0}, "revival": {"k": 2}}
COMPILE = {"backend": "eager"}


@pytest.fixture(autouse=True)
def _nothing_hangs():
    faulthandler.dump_traceback_later(120, exit=True)
    gc.collect()  # generators whose first forward was refused, and which nobody detached
    torch.compiler.reset()
    yield
    faulthandler.cancel_dump_traceback_later()
    torch.compiler.reset()


def told(call, generator, delivery="gradient"):
    """The image, and the gradients of one step taken through call."""
    generator.zero_grad()
    image = call(Z)
    loss = image.square().mean()
    if delivery == "loss":
        loss = loss + Attachment.of(generator).penalty(loss)
    loss.backward()
    return torch.cat(
        [image.detach().flatten(), *(p.grad.flatten() for p in generator.parameters() if p.grad is not None)]
    )


def eager(name, **how):
    generator = G()
    attach(generator, name, **KINDS[name], **how)
    return told(generator, generator, how.get("delivery", "gradient"))


def plain():
    return told(generator := G(), generator)


def by_function(generator, **options):
    return torch.compile(generator, **COMPILE, **options)


def by_method(generator, **options):
    generator.compile(**COMPILE, **options)
    return generator


def in_a_function(generator, **options):
    return torch.compile(lambda z: generator(z), **COMPILE, **options)


def a_part_by_method(generator, **options):
    generator.head.compile(**COMPILE, **options)
    return generator


def a_part_by_function(generator, **options):
    generator.body = torch.compile(generator.body, **COMPILE, **options)
    return generator


def the_head_by_function(generator, **options):
    generator.head = torch.compile(generator.head, **COMPILE, **options)
    return generator


WAYS = [by_function, by_method, in_a_function, a_part_by_method, a_part_by_function]
ids = lambda way: getattr(way, "__name__", "example" if way is Z else str(way))  # noqa: E731
CELLS = [("l0_inf", way, Z) for way in (by_function, by_method, a_part_by_function)]
CELLS += [
    ("l0_inf", by_function, None),
    ("l1", a_part_by_method, Z),
    ("ml_csc", by_method, Z),
    ("l0", in_a_function, None),
    ("l0_channel", by_function, None),
    ("l0_channel", by_method, Z),
]


@pytest.mark.parametrize(("name", "way", "example"), CELLS, ids=lambda v: "" if v is None else ids(v)[:20])
def test_compile_then_attach(name, way, example):
    """Whether it ran before or not; checked at attach, or in the first forward."""
    generator = G()
    call = way(generator, fullgraph=example is not None)
    if name != "ml_csc":
        assert torch.allclose(told(call, generator), plain(), atol=1e-6)
    attach(generator, name, example_input=example, **KINDS[name])
    for _ in range(2):
        assert torch.allclose(told(call, generator), eager(name), atol=1e-6)
    assert not torch.allclose(eager(name)[192:][:99], plain()[192:][:99], atol=1e-7)


@pytest.mark.parametrize(
    ("name", "way"), [("l0_inf", by_function), ("l1", a_part_by_method), ("ml_csc", by_method)], ids=ids
)
def test_attach_then_compile_then_detach_then_again(name, way):
    generator = G()
    attachment = attach(generator, name, example_input=Z, **KINDS[name])
    call = way(generator, fullgraph=True)
    assert torch.allclose(told(call, generator), eager(name), atol=1e-6)
    attachment.detach()
    assert torch.allclose(told(call, generator), plain(), atol=1e-6)
    attach(generator, "l0_inf", k=1, example_input=Z)
    other = G()
    attach(other, "l0_inf", k=1)
    assert torch.allclose(told(call, generator), told(other, other), atol=1e-6)


def test_a_compiled_head_is_found_behind_its_wrapper():
    generator = the_head_by_function(G())
    generator(Z)
    attachment = attach(generator, "l0_inf", k=2, example_input=Z)
    assert attachment.sites == (Site("head._orig_mod"),)
    assert torch.allclose(told(generator, generator), eager("l0_inf"), atol=1e-6)


@pytest.mark.parametrize(
    ("sites", "example"),
    [((), Z), (["head"], None), (["_orig_mod.head:input"], None)],
)
def test_the_compiled_module_itself_is_handed_over(sites, example):
    compiled = torch.compile(G(), **COMPILE)
    compiled(Z)
    attachment = attach(compiled, "l0_inf", k=2, example_input=example, sites=sites)
    assert attachment.sites == (Site("head"),)
    assert torch.allclose(told(compiled, compiled), eager("l0_inf"), atol=1e-6)
    assert Attachment.of(compiled).regularizer == attachment.regularizer


def test_looks_at_a_compiled_generator():
    """Measuring, the kernel and the atoms run it as it is written, with their own hooks."""
    compiled = by_method(G())
    compiled(Z)
    attachment = attach(compiled, "l0_inf", k=2, example_input=Z)
    compiled(Z)
    (measured,) = attachment.measure(Z)
    assert 0 < measured.sparsity <= 25
    assert atoms(compiled).shape == (8, 3, 3, 3)
    wrapped = DataParallel(compiled)
    assert Attachment.of(wrapped).kernel().atoms.shape == attachment.kernel().atoms.shape


@pytest.mark.parametrize(("name", "whole"), [("l1", True), ("l1", False), ("ml_csc", True)])
def test_deep_copies_of_a_compiled_one(name, whole):
    """They keep a constraint and have no penalty; and the original keeps its own."""
    generator = G()
    compiled = torch.compile(generator, **COMPILE)
    attach(generator, name, example_input=Z, **KINDS[name])
    ours = told(compiled, generator)
    twin = copy.deepcopy(compiled if whole else generator)
    call = twin if whole else torch.compile(twin, **COMPILE)
    theirs = told(call, twin)
    reference = G()
    if name != "l1":
        attach(reference, name, **KINDS[name])
    assert torch.allclose(theirs, told(reference, reference), atol=1e-6)
    assert torch.allclose(told(compiled, generator), ours, atol=1e-6)


def test_by_loss_inside_a_compiled_graph():
    """Refused where the graph must be whole; else the forward stays as it is written."""
    generator = G()
    attach(generator, "l1", weight=5.0, delivery="loss", example_input=Z)
    with pytest.raises(Exception, match="cannot follow Γ through torch.compile"):
        torch.compile(generator, fullgraph=True, **COMPILE)(Z)
    torch.compiler.reset()
    try:
        found = told(by_function(generator), generator, "loss")
    except PenaltyError as error:  # torch 2.6 goes on in our sentence where it left the graph
        assert not hasattr(torch.compiler, "is_exporting") and "cannot follow Γ through torch.compile" in str(error)
    else:
        assert torch.allclose(found, eager("l1", delivery="loss"), atol=1e-6)


@pytest.mark.parametrize("first", ["attach", "wrap"])
@pytest.mark.parametrize("handed", ["generator", "wrapper"])
@pytest.mark.parametrize("name", ["l0_inf", "l1", "ml_csc"])
def test_data_parallel_without_devices(name, first, handed):
    generator = G()
    wrapped = DataParallel(generator)
    if first == "attach":
        attach(generator, name, **KINDS[name])
        wrapped = DataParallel(generator)
    else:
        sites = ["module.head"] if handed == "wrapper" else ["head"]
        attach(wrapped if handed == "wrapper" else generator, name, sites=sites, **KINDS[name])
    assert torch.allclose(told(wrapped, generator), eager(name), atol=1e-6)


class Attention(nn.Module):
    """Its only convolution that makes 1 to 4 channels is no D1."""

    def __init__(self):
        super().__init__()
        self.body, self.look = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.out = nn.Linear(8, 3)

    def forward(self, z):
        h = torch.relu(self.body(z.expand(-1, -1, 8, 8)))
        return self.out((h * torch.sigmoid(self.look(h))).movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize(("fullgraph", "dynamic"), [(False, None), (True, None), (True, True)])
def test_a_guess_is_checked_though_it_is_compiled_from_the_first(fullgraph, dynamic):
    """By whoever follows it; the sentence stands in torch's own error where it does not let ours pass."""
    generator = Attention()
    attach(generator, "l0_inf", k=2)
    with pytest.raises(Exception, match=r"not the last synthesis|look is called 0 times"):
        torch.compile(generator, fullgraph=fullgraph, dynamic=dynamic, **COMPILE)(Z)


def test_a_right_guess_is_checked_in_the_only_graph():
    counted = CompileCounterWithBackend("eager")
    generator, expected = G(), eager("l0_inf")
    attach(generator, "l0_inf", k=2)
    compiled = torch.compile(generator, backend=counted, fullgraph=True)
    for _ in range(3):
        assert torch.allclose(told(compiled, generator), expected, atol=1e-6)
    assert counted.frame_count == 1


def test_a_guess_behind_a_part_that_is_compiled_by_itself():
    generator = a_part_by_method(G())
    attach(generator, "l0_inf", k=2)
    with pytest.raises(SiteError, match="compiled by itself, so that nothing tells whether it makes the image; give"):
        generator(Z)


def test_deferred_and_compiled():
    """Where detection waits for the first call it waits for one that is not compiled, or says so."""

    class Two(G):
        def __init__(self):
            super().__init__()
            self.other = nn.Conv2d(8, 3, 3, padding=1)

    generator, reference = Two(), Two()
    attach(generator, "l0_inf", k=2)
    attach(reference, "l0_inf", k=2, sites=["head"])
    call = by_function(generator, fullgraph=True)
    with pytest.raises(Exception, match="cannot be found inside torch.compile"):
        call(Z)
    generator(Z)
    assert torch.allclose(told(call, generator), told(reference, reference), atol=1e-6)


def test_what_was_compiled_counts_as_regularized_and_is_not_logged_in_silence(tmp_path, caplog):
    seen = []
    unsubscribe = events.effective.subscribe(seen.append)
    try:
        for name in ("l0_inf", "l1"):
            generator = G()
            attachment = attach(generator, name, example_input=Z, run_dir=tmp_path, **KINDS[name])
            optimizer = torch.optim.SGD(generator.parameters(), 0.1)
            seen.clear()
            for hook in attachment._hooks:
                hook.state.stage = Stage.PLACED
            told(by_function(generator, fullgraph=True), generator)
            # Not those of other tests' generators, which a compiler of torch 2.6 may keep alive.
            assert [hook.site.path for hook in seen if hook in attachment._hooks] == ["head"]
            _said.clear()
            optimizer.step()
            assert "is not logged while training" in caplog.text
            caplog.clear()
    finally:
        unsubscribe()


def test_compiled_optimizers_and_all_orders_of_ml_csc():
    """Made before: refused at the second step, unless its parameters are added."""
    for order in ("attach first", "added", "forgotten"):
        generator = G()
        if order == "attach first":
            attach(generator, "ml_csc", k=3, example_input=Z)
        optimizer = torch.optim.SGD(generator.parameters(), 0.1)
        if order != "attach first":
            attachment = attach(generator, "ml_csc", k=3, example_input=Z)
        if order == "added":
            optimizer.add_param_group({"params": attachment.parameters()})

        def step(generator=generator, optimizer=optimizer):
            optimizer.zero_grad()
            generator(Z).square().mean().backward()
            optimizer.step()

        step()
        if order == "forgotten":
            with pytest.raises(AttachmentError, match=r"inserted head\.sparse_plugin"):
                step()
        else:
            step()
