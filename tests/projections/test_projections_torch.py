"""The projections in what torch does to modules: compilation, export, vmap, copies, threads, autocast, fake tensors."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from sparse_plugin.projections import project_channels, project_global, project_needles

PROJECTIONS = [project_needles, project_global, project_channels]
both = pytest.mark.parametrize("project", PROJECTIONS)


class Projected(nn.Module):
    def __init__(self, project):
        super().__init__()
        self.project = project
        self.before, self.after = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        return self.after(self.project(self.before(x), 0.25))


@both
def test_operators_pass_opcheck(project):
    name = {project_global: "project_samples"}.get(project, project.__name__)
    operator = getattr(torch.ops.sparse_plugin, name).default
    gamma = torch.randn(2, 6, 4, 5)
    for layout in (gamma, gamma.to(memory_format=torch.channels_last), gamma.transpose(2, 3), gamma[:, :, :, ::2]):
        torch.library.opcheck(operator, (layout.detach().requires_grad_(), 3))
    projected = operator(gamma, 3)
    torch.library.opcheck(torch.ops.sparse_plugin.mask_gradient.default, (gamma.requires_grad_(), projected))


@both
@pytest.mark.filterwarnings("ignore")  # inductor's own
def test_compiles_without_a_break_forward_and_backward(project):
    module = Projected(project)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (8, 11):
        x = torch.randn(2, 3, size, size)
        results = []
        for run in (module, compiled):
            module.zero_grad()
            output = run(x)
            output.square().sum().backward()
            results.append([output, *(p.grad.clone() for p in module.parameters())])
        for left, right in zip(*results, strict=True):
            torch.testing.assert_close(left, right)


@both
def test_exports(project):
    module = Projected(project).eval()
    x = torch.randn(2, 3, 8, 8)
    program = torch.export.export(module, (x,))
    assert "sparse_plugin" not in program.graph_module.code  # it runs where the plugin is not
    assert torch.equal(program.module()(x), module(x))


@both
def test_vmap_and_grad(project):
    stack = torch.randn(4, 2, 6, 3, 3)
    expected = torch.stack([project(gamma, 3) for gamma in stack])
    for dim in (0, 2):
        got = torch.func.vmap(lambda g: project(g, 3), in_dims=dim, out_dims=dim)(stack.movedim(0, dim))
        assert torch.equal(got.movedim(dim, 0), expected)
    per_sample = torch.func.vmap(torch.func.grad(lambda g: project(g, 3).square().sum()))(stack)
    assert torch.equal(per_sample, 2 * expected)


@both
def test_fake_and_meta_tensors_keep_shape_type_and_format(project):
    from torch._subclasses.fake_tensor import FakeTensorMode

    gamma = torch.randn(2, 6, 4, 4, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    with FakeTensorMode() as mode:
        fake = project(mode.from_tensor(gamma), 2)
    meta = project(gamma.to("meta"), 2)
    real = project(gamma, 2)
    for other in (fake, meta):
        assert (other.shape, other.dtype, other.stride()) == (real.shape, real.dtype, real.stride())


@both
def test_autocast_leaves_the_type_alone(project):
    for dtype in (torch.float32, torch.bfloat16):
        gamma = torch.randn(2, 6, 4, 4, dtype=dtype, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = project(gamma, 2)
        assert result.dtype == dtype
        result.sum().backward()
        assert gamma.grad.dtype == dtype


@both
def test_a_copied_module_projects(project):
    module = Projected(project)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(copy.deepcopy(module)(x), module(x))


@both
def test_threads_do_not_disturb_each_other(project):
    """What DataParallel does, and more of it: forward and backward from several threads at once."""
    stacks = [torch.randn(3, 16, 24, 24, requires_grad=True) for _ in range(12)]

    def run(gamma):
        result = project(gamma, 4)
        return result, torch.autograd.grad(result.sum(), gamma)[0]

    alone = [run(gamma) for gamma in stacks]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(run, stacks))
    for (a, b), (c, d) in zip(alone, together, strict=True):
        assert torch.equal(a, c) and torch.equal(b, d)


def _in_child(queue, gamma):
    queue.put(project_needles(gamma, 4).numpy().tobytes())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's own, about forking with threads
def test_a_forked_child_does_not_wait_for_threads_it_has_not_got(monkeypatch):
    monkeypatch.setenv("SPARSE_PLUGIN_KERNEL", "c")
    gamma = torch.randn(2, 32, 40, 40)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = project_needles(gamma, 4).numpy().tobytes()
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_in_child, args=(queue, gamma))
        child.start()
        try:
            assert queue.get(timeout=200) == expected
            child.join(200)
        finally:
            child.kill()
    finally:
        torch.set_num_threads(before)
