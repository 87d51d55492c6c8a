"""Regularizers: their mathematics through the settings objects, their settings, and how they are registered."""

import re
import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparse_plugin
from sparse_plugin import Constraint, Penalty, registry
from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import REGULARIZERS
from sparse_plugin.support.user_files import import_named

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def slow(gamma, k, dims):
    """The definition: sort magnitudes, NaN first, ties by lowest index, and keep the first k of every group."""
    flat = gamma.clone()
    moved = flat.movedim(1, -1) if dims == "needle" else flat
    groups = moved.reshape({"needle": (-1, flat.shape[1]), "sample": (len(flat), -1)}.get(dims, (-1, positions(flat))))
    result = torch.zeros_like(groups)
    for row, into in zip(groups, result, strict=True):

        def order(i, row=row):
            value = float(row[i])
            return (0 if value != value else 1, -abs(value) if value == value else 0.0, i)

        for i in sorted(range(len(row)), key=order)[:k]:
            into[i] = row[i]
    if dims == "needle":
        return result.reshape(moved.shape).movedim(-1, 1)
    return result.reshape(flat.shape)


def positions(gamma):
    return gamma.shape[2:].numel()


# Which entries compete, and how many they are.
GROUPS = {
    "l0_inf": ("needle", lambda gamma: gamma.shape[1]),
    "l0": ("sample", lambda gamma: gamma[0].numel()),
    "l0_channel": ("channel map", positions),
}


def same_bits(a, b):
    as_int = {8: torch.int64, 4: torch.int32, 2: torch.int16}[a.element_size()]
    return torch.equal(a.contiguous().view(as_int), b.contiguous().view(as_int))


values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 1e-30, float("inf"), float("-inf"), float("nan")])


@st.composite
def representations(draw):
    dims = draw(st.integers(2, 5))
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 5)), *(draw(st.integers(1, 3)) for _ in range(dims - 2))]
    count = int(torch.tensor(shape).prod())
    gamma = torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)
    gamma = gamma.to(draw(st.sampled_from(DTYPES)))
    if dims == 4 and draw(st.booleans()):
        gamma = gamma.contiguous(memory_format=torch.channels_last)
    return gamma


@settings(max_examples=150, deadline=None)
@given(representations(), st.data())
def test_projections_are_the_definition(gamma, data):
    for name, (dims, counted) in GROUPS.items():
        size = counted(gamma)
        k = data.draw(st.sampled_from([0, 1, max(0, size - 1), size, size + 1]))
        projected = registry.create(name, {"k": k}).project(gamma)
        assert same_bits(projected, slow(gamma, min(k, size), dims))
        assert projected.dtype == gamma.dtype and projected.stride() == gamma.stride()
        assert registry.create(name, {"k": k}).holds(projected)


@settings(max_examples=60, deadline=None)
@given(representations(), st.data())
def test_what_holds_is_what_no_group_exceeds(gamma, data):
    """Asked of Γ as it is, not of what was projected: one non-zero too many in one group is seen."""
    for name, (_, counted) in GROUPS.items():
        k = data.draw(st.integers(0, counted(gamma)))
        nonzero = (gamma != 0).movedim(1, -1) if name == "l0_inf" else (gamma != 0)
        groups = nonzero.reshape(-1, counted(gamma))
        assert registry.create(name, {"k": k}).holds(gamma) == bool((groups.sum(1) <= k).all())


@pytest.mark.parametrize("name", list(GROUPS))
@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 3), (2, 6, 3, 2), (1, 4, 2, 2, 2)])
def test_gradients_pass_on_the_support_only(name, shape):
    gamma = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    constraint = registry.create(name, {"k": 2})
    assert torch.autograd.gradcheck(constraint.project, (gamma,))
    assert torch.autograd.gradgradcheck(constraint.project, (gamma,))
    out = constraint.project(gamma)
    (grad,) = torch.autograd.grad(out.sum(), gamma)
    assert torch.equal(grad, (out != 0).double())


def test_channels_compete_in_one_and_positions_in_the_other():
    """A Γ with one loud channel: `l0_inf` keeps it everywhere and nothing else, `l0_channel` keeps as much of every channel."""
    gamma = torch.rand(1, 4, 3, 3) + 1
    gamma[:, 2] += 10
    kept = {name: (registry.create(name, {"k": k}).project(gamma) != 0).sum((2, 3))[0].tolist() for name, k in (
        ("l0_inf", 1), ("l0_channel", 3), ("l0", 9))}  # fmt: skip
    assert kept == {"l0_inf": [0, 0, 9, 0], "l0_channel": [3, 3, 3, 3], "l0": [0, 0, 9, 0]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_l1(dtype):
    gamma = torch.randn(3, 4, 5, 5, dtype=dtype, requires_grad=True)
    assert torch.allclose(registry.create("l1", {"weight": 0.25}).penalty(gamma), 0.25 * gamma.abs().mean())
    assert torch.autograd.gradcheck(
        registry.create("l1", {"weight": 0.25}).penalty, (gamma.double().detach().requires_grad_(),)
    )


def test_k_counts_or_is_a_fraction():
    gamma = torch.randn(2, 8, 4, 4)
    needles = lambda k: int((registry.create("l0_inf", {"k": k}).project(gamma) != 0).sum(1).max())  # noqa: E731
    assert [needles(k) for k in (1, 1.0, 0.25, 0.37, 3)] == [1, 8, 2, 2, 3]
    with pytest.raises(ConfigError, match="k is the fraction 0.01, and of 8 coefficients that is less than one"):
        needles(0.01)
    assert int((registry.create("l0", {"k": 0.25}).project(gamma) != 0).sum()) == 2 * 32
    assert (registry.create("l0_channel", {"k": 0.25}).project(gamma) != 0).sum((2, 3)).eq(4).all()
    with pytest.raises(ConfigError, match="k is the fraction 0.05, and of 16 coefficients that is less than one"):
        registry.create("l0_channel", {"k": 0.05}).project(gamma)


@pytest.mark.parametrize(
    ("name", "given_", "sentence"),
    [
        (
            "l0inf",
            {"k": 1},
            r"there is no regularizer 'l0inf'; there are .*l0, l0_batch, l0_channel, l0_inf, l1, ml_csc.* Did you mean 'l0_inf'\?",
        ),
        ("l0_inf", {"kk": 1}, r"l0_inf: there is no field 'kk'.*Did you mean 'k'"),
        ("l0_inf", {}, r"field 'k' is missing: give k, the coefficients that each needle keeps"),
        ("l0_channel", {}, r"field 'k' is missing: give k, the coefficients that each channel map keeps"),
        ("l0_channel", {"k": 1.5}, "k is the float 1.5"),
        ("l0_chanel", {"k": 1}, r"Did you mean 'l0_channel'\?"),
        ("l0_inf", {"k": -1}, "k is -1, a negative count"),
        ("l0_inf", {"k": 16.0}, "write 16 for 16 coefficients"),
        ("l0_inf", {"k": "16"}, "'16', of type str"),
        ("l0_inf", {"k": True}, "True, of type bool"),
        ("l0_inf", {"k": float("nan")}, "k is the float nan"),
        ("l1", {"weight": -1.0}, "field 'weight' is -1.0: input should be greater than or equal to 0"),
        ("l1", {"weight": float("inf")}, "field 'weight' is inf"),
        ("l1", {"weight": 1.0, "reduction": "max"}, "field 'reduction' is 'max'"),
        ("ml_csc", {"k": 1, "levels": 1}, "field 'levels' is 1"),
        ("ml_csc", {"k": [1, 2, 3]}, "k lists 3 values for 2 levels"),
        ("ml_csc", {"k": 1, "kernel_size": 2}, "give an odd number"),
        ("ml_csc", {"k": 1, "constraint": "l1"}, "l1"),
        ("ml_csc", {"k": 1, "constraint": "l9"}, "there is no regularizer 'l9'"),
        ("ml_csc", {"k": 0.0}, "k is the float 0.0"),
    ],
)
def test_wrong_settings_say_what_is_wrong(name, given_, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        registry.create(name, given_)
    assert "\n" not in str(caught.value)


def test_settings_are_frozen_and_print_as_written():
    made = registry.create("l0_inf", {"k": 16})
    with pytest.raises(ValueError, match="frozen"):
        made.k = 3
    assert str(made) == "l0_inf(k=16)"
    assert made.settings() == {"regularizer": "l0_inf", "k": 16}
    assert str(registry.create("l0", {"k": 1.0})) == "l0(k=1.0)"


class TestRegistration:
    @pytest.fixture(autouse=True)
    def _forget(self):
        yield
        REGULARIZERS.unregister("soft")

    def test_by_decorator(self):
        @sparse_plugin.register("soft")
        class Soft(Constraint):
            threshold: float = 0.1

            def project(self, gamma):
                return gamma.sign() * (gamma.abs() - self.threshold).clamp(min=0)

        made = registry.create("soft", {"threshold": 0.5})
        assert torch.equal(made.project(torch.tensor([[1.0, -0.2]])), torch.tensor([[0.5, 0.0]]).mul(1.0))
        assert "soft" in registry.available()
        with pytest.raises(ConfigError, match=r"soft: there is no field 'treshold'; there are threshold"):
            registry.create("soft", {"treshold": 0.5})

    def test_a_name_has_one_owner(self):
        with pytest.raises(
            ConfigError, match=r"two regularizers 'l1', one from sparse-plugin .* and one from .*test_registry"
        ):

            @sparse_plugin.register("l1")
            class Mine(Penalty):
                pass

    def test_only_regularizers(self):
        with pytest.raises(ConfigError, match="derive it from Constraint or Penalty"):
            sparse_plugin.register("soft")(dict)
        with pytest.raises(ConfigError, match="use lower-case letters"):
            sparse_plugin.register("So-ft")(type("Soft", (Constraint,), {}))
        with pytest.raises(ConfigError, match="'vanilla' is no name for a regularizer: it means that there is none"):
            sparse_plugin.register("vanilla")(type("Soft", (Constraint,), {}))

    def test_without_its_method(self):
        class Empty(Constraint):
            pass

        with pytest.raises(TypeError, match=r"Empty does not define project\(gamma\)"):
            Empty().project(torch.zeros(1, 1))

    def test_from_a_users_file(self, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(
            textwrap.dedent(
                """
                import sparse_plugin

                @sparse_plugin.register("soft")
                class Soft(sparse_plugin.Constraint):
                    threshold: float = 0.1

                    def project(self, gamma):
                        return gamma * (gamma.abs() > self.threshold)
                """
            )
        )
        import_named(str(file))
        import_named(str(file))
        assert registry.create("soft", {}).threshold == 0.1
        assert REGULARIZERS.all()["soft"].origin == str(file)

    def test_a_file_that_is_missing_or_fails(self, tmp_path):
        with pytest.raises(ConfigError, match="there is no such file"):
            import_named(str(tmp_path / "none.py"))
        (tmp_path / "bad.py").write_text("1 / 0")
        with pytest.raises(ConfigError, match=re.escape("fails: ZeroDivisionError: division by zero")):
            import_named(str(tmp_path / "bad.py"))
        with pytest.raises(ConfigError, match="No module named 'nowhere'"):
            import_named("nowhere.at_all")
