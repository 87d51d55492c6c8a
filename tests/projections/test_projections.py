"""Every path of the projections equals one slow definition of them, bit for bit."""

import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sparse_plugin.errors import ConfigError, GammaError, SparsePluginError
from sparse_plugin.projections import check_k, project_channels, project_global, project_needles, resolve_k
from sparse_plugin.projections.entry import operators

# The Triton kernels run on the CPU in Triton's interpreter, which has to be asked for before Triton is imported:
# test_projections_triton.py runs this file so.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
PATHS = [
    "reference",
    "c",
    pytest.param("triton", marks=pytest.mark.skipif(not INTERPRETED, reason="runs from test_projections_triton.py")),
]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
INFINITY = {torch.float16: 0x7C00, torch.bfloat16: 0x7F80, torch.float32: 0x7F800000, torch.float64: 0x7FF << 52}
PROJECTIONS = {"needles": project_needles, "global": project_global, "channels": project_channels}


def bits(tensor):
    return tensor.detach().contiguous().view(BITS[tensor.element_size()]).numpy().astype(np.int64)


def expected(gamma, k, over):
    """The definition: a stable sort by magnitude, NaN on top, of needles, samples or channel maps in the order of their index."""
    raw = bits(gamma)
    sign = np.int64(1) << (8 * gamma.element_size() - 1) if gamma.element_size() < 8 else np.iinfo(np.int64).min
    key = np.minimum(raw & ~sign if gamma.element_size() == 8 else raw & (sign - 1), INFINITY[gamma.dtype] + 1)
    if over != "needles":
        key = key.reshape(*key.shape[: 1 if over == "global" else 2], -1)
    axis = 2 if over == "channels" else 1
    order = np.argsort(-key, axis=axis, kind="stable")
    kept = np.zeros(key.shape, bool)
    np.put_along_axis(kept, order.take(range(k), axis), True, axis=axis)
    return np.where(kept.reshape(raw.shape), raw, 0)


def size_of(gamma, over):
    return {"needles": gamma.shape[1], "global": gamma.shape[1:].numel(), "channels": gamma.shape[2:].numel()}[over]


def check(gamma, k, over):
    result = PROJECTIONS[over](gamma, k)
    assert result.dtype == gamma.dtype and result.shape == gamma.shape
    assert k >= size_of(gamma, over) or result.stride() == torch.empty_like(gamma).stride()
    np.testing.assert_array_equal(bits(result), expected(gamma, min(k, size_of(gamma, over)), over))
    return result


KINDS = ("normal", "relu", "quantised", "constant", "special", "bits", "denormal", "negative zero")


def draw_values(kind, shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    chance = torch.rand(shape, generator=generator)
    if kind == "bits":
        random = torch.randint(-(2**62), 2**62, shape, generator=generator) * 2
        return (random >> (64 - 8 * dtype.itemsize)).to(BITS[dtype.itemsize]).view(dtype)
    if kind == "special":
        normal[chance < 0.2] = float("nan")
        normal[(chance > 0.2) & (chance < 0.4)] = float("inf")
        normal[(chance > 0.4) & (chance < 0.5)] = float("-inf")
        normal[(chance > 0.5) & (chance < 0.8)] = -0.0
        return normal.to(dtype)
    if kind == "negative zero":
        return torch.where(chance < 0.5, torch.where(chance < 0.25, -0.0, 0.0), normal).to(dtype)
    made = {
        "normal": lambda: normal,
        "relu": lambda: normal.relu(),
        "quantised": lambda: (normal * 2).round() / 2,
        "constant": lambda: torch.full(shape, -1.5, dtype=torch.float64),
        "denormal": lambda: normal * torch.finfo(dtype).tiny * 0.1,
    }
    return made[kind]().to(dtype)


def lay_out(layout, shape, make):
    """A tensor of the shape, in a memory layout that is often not the contiguous one."""
    if layout == "channels last" and len(shape) in (4, 5):
        return make(shape).to(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)
    if layout == "transposed":
        return make((*shape[:-2], shape[-1], shape[-2])).transpose(-1, -2)
    if layout == "expanded":
        return make((*shape[:-1], 1)).expand(shape)
    if layout == "stepped":
        return make((*shape[:-1], 2 * shape[-1]))[..., ::2]
    return make(shape)


LAYOUTS = ("contiguous", "channels last", "transposed", "expanded", "stepped")


@st.composite
def cases(draw):
    dims = draw(st.integers(2, 5))
    largest = {2: 90, 3: 40, 4: 12, 5: 6}[dims]
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 40)),
        *draw(st.lists(st.integers(1, largest), min_size=dims - 2, max_size=dims - 2)),
    )
    dtype, kind = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(KINDS))
    seed = draw(st.integers(0, 2**31))
    gamma = lay_out(draw(st.sampled_from(LAYOUTS)), shape, lambda s: draw_values(kind, s, dtype, seed))
    over = draw(st.sampled_from(tuple(PROJECTIONS)))
    size = size_of(gamma, over)
    k = draw(st.one_of(st.integers(0, size + 1), st.sampled_from((1, size // 4, size // 2, max(size - 1, 0)))))
    return gamma, k, over


@pytest.fixture
def path(request, monkeypatch):
    monkeypatch.setenv("SPARSE_PLUGIN_KERNEL", request.param)
    return request.param


@pytest.mark.parametrize("path", PATHS, indirect=True)
@settings(
    max_examples=25 if INTERPRETED else 150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=cases())
@example(case=(torch.tensor([[-0.0, 0.0, -0.0], [float("nan"), -float("nan"), 1.0]]), 1, "needles"))
@example(case=(torch.tensor([[[-0.0, 3.0], [0.0, -3.0]]]).transpose(1, 2), 3, "global"))
def test_every_path_is_the_definition(path, case):
    gamma, k, over = case
    result = check(gamma, k, over)
    grad = draw_values("special", gamma.shape, gamma.dtype, 1)
    masked = operators.mask(grad, result)
    np.testing.assert_array_equal(bits(masked), np.where((result != 0).numpy(), bits(grad), 0))


@pytest.mark.parametrize("path", PATHS, indirect=True)
@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 0, 3, 3), (2, 4, 0, 3), (0, 4)])
def test_empty(path, shape):
    gamma = torch.empty(shape)
    for project in PROJECTIONS.values():
        assert project(gamma, 2).shape == gamma.shape


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["normal", "relu", "quantised", "negative zero", "special"])
@pytest.mark.parametrize("shape", [(1, 48, 64, 64), (9, 64, 16, 17), (2, 24, 90, 91)])
def test_large_tensors_on_several_threads(shape, kind, threads, monkeypatch):
    """Beyond what hypothesis draws: several tiles, spans of one sample, brackets, and several threads."""
    monkeypatch.setenv("SPARSE_PLUGIN_KERNEL", "c")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            gamma = draw_values(kind, shape, dtype, 3)
            for layout in (gamma, gamma.to(memory_format=torch.channels_last)):
                check(layout, shape[1] // 4, "needles")
                for over in ("global", "channels"):
                    for k in (1, size_of(gamma, over) // 4, size_of(gamma, over) * 3 // 5):
                        check(layout, k, over)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bracket_that_misses_the_threshold_is_redone(threads, monkeypatch):
    """Γ is small exactly where the kernel draws its entries (by the generator of samples.c): it guesses too low."""
    monkeypatch.setenv("SPARSE_PLUGIN_KERNEL", "c")
    size, drawn, random = 64 * 32 * 32, 4096, 1
    stride = size // drawn
    gamma = torch.arange(1.0, size + 1).flip(0)
    for i in range(drawn):
        random = (random * 6364136223846793005 + 1442695040888963407) % 2**64
        gamma[i * stride + ((random >> 32) * stride >> 32)] = 0.25
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(gamma.view(1, 64, 32, 32), size // 4, "global")
    finally:
        torch.set_num_threads(before)


def test_more_channels_than_the_kernel_counts(monkeypatch):
    monkeypatch.setenv("SPARSE_PLUGIN_KERNEL", "c")
    check(draw_values("quantised", (1, 40000), torch.float32, 5), 9000, "needles")


@pytest.mark.parametrize("positions", [(64, 64), (64, 65), (128, 128), (127, 130), (182, 182)])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "transposed"])
def test_channel_maps_of_every_size(positions, layout, monkeypatch):
    """On both sides of the sizes from which the C path takes a channel map as a sample instead of a needle."""
    monkeypatch.setenv("SPARSE_PLUGIN_KERNEL", "c")
    gamma = lay_out(layout, (1, 3, *positions), lambda s: draw_values("quantised", s, torch.float32, 7))
    check(gamma, gamma.shape[2:].numel() // 4, "channels")


@pytest.mark.parametrize("project", PROJECTIONS.values())
def test_everything_is_the_input_itself(project):
    gamma = torch.randn(2, 6, 3, 3, requires_grad=True)
    assert project(gamma, 1.0) is gamma
    assert project(gamma, 10**6) is gamma


@pytest.mark.parametrize("path", PATHS, indirect=True)
@pytest.mark.parametrize("project", PROJECTIONS.values())
class TestGradient:
    def test_is_the_incoming_one_where_the_result_is_not_zero(self, path, project):
        gamma = draw_values("relu", (2, 8, 5, 5), torch.float32, 0).requires_grad_()
        result = project(gamma, 0.75)
        grad = torch.randn_like(gamma)
        for incoming in (grad, grad.to(memory_format=torch.channels_last), torch.ones(()).expand(gamma.shape)):
            (got,) = torch.autograd.grad(result, gamma, incoming, retain_graph=True)
            assert torch.equal(got, incoming * (result != 0))

    def test_saves_the_result_and_nothing_else(self, path, project):
        gamma = torch.randn(2, 8, 5, 5, requires_grad=True)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            result = project(gamma * 1, 3)
        assert [tensor.data_ptr() for tensor in saved if tensor.dim()] == [result.data_ptr()]

    def test_none_without_need(self, path, project):
        gamma = torch.randn(2, 8, 5, 5)
        assert project(gamma, 3).grad_fn is None
        with torch.no_grad():
            assert project(gamma.requires_grad_(), 3).grad_fn is None

    def test_nothing_kept_has_a_zero_gradient(self, path, project):
        gamma = torch.randn(2, 8, 5, 5, requires_grad=True)
        result = project(gamma, 0)
        result.sum().backward()
        assert not result.any() and not gamma.grad.any()


@pytest.mark.parametrize("project", PROJECTIONS.values())
def test_double_backward(project):
    """As path-length regularization takes it: the gradient of a gradient, through what produced Γ."""
    gamma = torch.randn(2, 5, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: project(g, 3), gamma)
    assert torch.autograd.gradgradcheck(lambda g: project(g, 3) ** 3, gamma)


GOOD_K = [(0, 10, 0), (3, 10, 3), (30, 10, 10), (1, 10, 1), (1.0, 10, 10), (0.25, 10, 2), (0.25, 30, 7), (0.5, 0, 0)]
GOOD_K += [(0.75, 5, 3), (0.75, 3, 2), (0.29, 100, 29), (1 / 3, 30, 10), (0.999, 10, 9), (1.0, 1, 1)]


@pytest.mark.parametrize("k, size, count", [*GOOD_K, (np.int64(4), 10, 4), (np.float32(0.5), 10, 5)])
def test_k_counts_or_is_a_fraction(k, size, count):
    assert resolve_k(k, size) == count
    assert type(check_k(k)) in (int, float)


def test_a_fraction_keeps_no_larger_share_and_the_largest_that_is_not():
    for size in (*range(1, 70), 127, 4096, 65536, 10**6 + 7):
        for k in (
            *(i / 100 for i in range(1, 101)),
            1 / 3,
            2 / 3,
            1 / 7,
            math.nextafter(0.5, 0),
            math.nextafter(0.5, 1),
            5e-324,
        ):
            if k < 1 / size:
                with pytest.raises(ConfigError, match=f"of {size} coefficients that is less than one"):
                    resolve_k(k, size)
            else:
                count = resolve_k(k, size)
                assert count / size <= k
                assert count == size or (count + 1) / size > k


@pytest.mark.parametrize(
    "k, says",
    [
        (True, "of type bool"),
        (-1, "negative count"),
        (16.0, "write 16 for 16 coefficients"),
        (0.0, "write 0"),
        (-0.5, "fraction in (0, 1]"),
        (2.5, "fraction in (0, 1]"),
        (float("nan"), "fraction"),
        (float("inf"), "1.0 to keep every"),
        ("8", "of type str"),
        ("autoo", "or auto as a setting of a regularizer"),
        (None, "of type NoneType"),
    ],
)
def test_bad_k(k, says):
    with pytest.raises(ConfigError) as error:
        project_needles(torch.zeros(1, 4, 2, 2), k)
    assert says in str(error.value) and isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    "gamma, says",
    [
        (torch.zeros(1, 4, 2, 2, dtype=torch.int32), "torch.int32"),
        (torch.zeros(1, 4, 2, 2, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(1, 4, 2, 2, dtype=torch.bool), "torch.bool"),
        (torch.zeros(4), "shape (4,)"),
        (np.zeros((1, 4)), "ndarray"),
    ],
)
@pytest.mark.parametrize("project", PROJECTIONS.values())
def test_bad_gamma(project, gamma, says):
    with pytest.raises(GammaError) as error:
        project(gamma, 1)
    assert says in str(error.value) and isinstance(error.value, (SparsePluginError, TypeError))
