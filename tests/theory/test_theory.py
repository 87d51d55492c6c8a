"""The theory's numbers against brute force: dictionaries that are written out as matrices."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparse_plugin.dictionary.coherence import mutual_coherence
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.theory.bounds import least_coherence, reach, stability_factor, uniqueness_limit
from sparse_plugin.theory.counts import Counts, effective_number, stripes
from sparse_plugin.theory.layer import layer

SHAPES = {  # atoms (C, out, sides), stride, dilation
    "dcgan": ((5, 3, 4, 4), (2, 2), (1, 1)),
    "sngan": ((4, 3, 3, 3), (1, 1), (1, 1)),
    "to-rgb": ((6, 3, 1, 1), (1, 1), (1, 1)),
    "patches": ((7, 3, 2, 2), (2, 2), (1, 1)),
    "apart": ((3, 2, 2, 2), (3, 3), (1, 1)),
    "dilated": ((3, 2, 3, 3), (1, 1), (2, 2)),
    "dilated-stride": ((3, 2, 3, 3), (2, 2), (3, 3)),
    "uneven": ((3, 1, 3, 5), (1, 2), (2, 1)),
    "volume": ((2, 1, 2, 2, 3), (1, 1, 2), (1, 1, 1)),
}


def operator(name, seed=0):
    size, stride, dilation = SHAPES[name]
    source = torch.Generator().manual_seed(seed)
    return SynthesisOperator(torch.randn(size, generator=source, dtype=torch.float64), stride, dilation)


def matrix(of, grid):
    """The dictionary as a matrix (values of the signal, coefficients), a column a coefficient; nothing is cut off."""
    count, dims = len(of.atoms), of.atoms.dim() - 2
    synthesis = {2: F.conv_transpose2d, 3: F.conv_transpose3d}[dims]
    codes = torch.eye(count * math.prod(grid), dtype=torch.float64).view(-1, count, *grid)
    return synthesis(codes, of.atoms, stride=of.stride, dilation=of.dilation).flatten(1).T


def gram(of, grid):
    columns = F.normalize(matrix(of, grid), dim=0)
    return columns.T @ columns


def grid_of(of):
    return tuple(2 * max(shifts) + 2 for shifts in reach(of))


@pytest.mark.parametrize("name", SHAPES)
def test_the_layer_says_what_the_matrix_says(name):
    of = operator(name)
    grid = grid_of(of)
    source = torch.Generator().manual_seed(1)
    gamma = torch.randn(2, len(of.atoms), *grid, generator=source).clamp(min=0.8) - torch.tensor(0.8)
    counts = Counts(reach(of))
    counts.add(gamma, [11, 13])
    found = layer("D1", "head", of, counts, cut=False)

    alike = gram(of, grid)
    apart = alike - torch.diag(alike.diagonal())
    assert found.coherence == pytest.approx(float(apart.abs().max()), abs=1e-12)
    assert found.coherence == pytest.approx(float(mutual_coherence(of)), abs=1e-12)
    # The stripe of a position: all coefficients whose columns share an entry with a column there.
    support = (matrix(of, grid) != 0).double()
    meets = (support.T @ support > 0).view(len(of.atoms), -1, len(of.atoms), math.prod(grid))[0, :, 0]
    used = (gamma != 0).sum(1).flatten(1)
    brute = used.double() @ meets.double().T
    assert torch.equal(stripes((gamma != 0).sum(1), reach(of)).flatten(1).double(), brute)
    assert found.fullest == brute.max() and found.mean_stripe == pytest.approx(float(brute.mean()))
    assert found.needle == used.max() and found.stripe_needles == meets.sum(1).max()
    assert found.per_value == pytest.approx(int(used.sum()) / 24)
    assert found.most_per_value == pytest.approx(max(int(used[0].sum()) / 11, int(used[1].sum()) / 13))
    edges, shares = found.histogram()
    assert sum(shares) == pytest.approx(1) and edges[0] <= brute.min() and edges[-1] > brute.max()


@pytest.mark.parametrize("name", SHAPES)
def test_no_dictionary_is_below_the_bound_of_its_shape(name):
    for seed in range(4):
        of = operator(name, seed)
        bound = least_coherence(of)
        assert 0 <= bound <= float(mutual_coherence(of)) + 1e-12


def test_the_bound_of_papyan_and_others_is_one_of_those():
    for count, side in ((2, 3), (5, 4), (9, 8)):
        of = SynthesisOperator(torch.randn(count, 1, side), (1,), (1,))
        classic = math.sqrt((count - 1) / (count * (2 * side - 1) - 1))
        assert least_coherence(of) >= classic - 1e-12
    few = SynthesisOperator(torch.randn(2, 1, 9), (1,), (1,))  # fewer atoms than entries: all shifts together tell the most
    assert least_coherence(few) == pytest.approx(math.sqrt(1 / 33))


@pytest.mark.parametrize(
    ("count", "dimensions", "known"),
    [(3, 2, 0.5), (6, 3, 1 / math.sqrt(5)), (4, 3, 1 / 3), (2, 1, 1.0)],  # the best packings of lines
)
def test_the_bound_is_reached_by_the_best_packings(count, dimensions, known):
    of = SynthesisOperator(torch.randn(count, dimensions, 1, 1), (1, 1), (1, 1))
    assert least_coherence(of) == pytest.approx(known)


def test_many_short_atoms_have_a_bound_above_welchs_first():
    of = SynthesisOperator(torch.randn(128, 3, 1, 1), (1, 1), (1, 1))
    first = math.sqrt((128 - 3) / (3 * 127))
    assert first + 0.15 < least_coherence(of) < 1
    # 128 directions that are spread out well are more coherent than that all the same
    golden = [(1 - 2 * (i + 0.5) / 256, i * math.pi * (3 - math.sqrt(5))) for i in range(128)]
    spread = torch.tensor([[z, math.sqrt(1 - z * z) * math.cos(a), math.sqrt(1 - z * z) * math.sin(a)] for z, a in golden])
    assert least_coherence(of) < float(mutual_coherence(SynthesisOperator(spread[:, :, None, None], (1, 1), (1, 1))))


def test_groups_have_a_bound_of_their_own():
    atoms = torch.zeros(12, 3, 1, 1)
    for channel in range(3):
        atoms[4 * channel : 4 * channel + 4, channel] = 1  # four atoms for each channel: they are the same but for their length
    assert least_coherence(SynthesisOperator(atoms, (1, 1), (1, 1))) == pytest.approx(1.0)


def test_dead_atoms_do_not_count():
    atoms = torch.cat((torch.eye(3), torch.zeros(5, 3)))[:, :, None, None]
    of = SynthesisOperator(atoms, (1, 1), (1, 1))
    assert least_coherence(of) == 0 and float(mutual_coherence(of)) == 0


def test_what_is_below_the_limit_has_no_other_code_as_sparse():
    """Every pair of small supports, by brute force: below the limit no two codes of one signal, and at it there are some."""
    angle = math.radians(60)
    atoms = torch.tensor([[1.0, 0], [math.cos(angle), math.sin(angle)], [math.cos(angle), -math.sin(angle)]], dtype=torch.float64)
    of = SynthesisOperator(atoms[:, :, None, None], (1, 1), (1, 1))
    limit = uniqueness_limit(float(mutual_coherence(of)))
    assert limit == pytest.approx(1.5)
    whole = matrix(of, (1, 2))
    columns = range(whole.shape[1])
    spark = next(
        count
        for count in range(1, 7)
        if any(torch.linalg.matrix_rank(whole[:, list(chosen)]) < count for chosen in itertools.combinations(columns, count))
    )
    assert spark == 3  # so codes of one non-zero a needle are unique, and those of two are not
    counts = Counts(reach(of))
    counts.add(torch.eye(3)[:1, :, None, None].expand(1, 3, 1, 2), [4])
    found = layer("D1", "head", of, counts, cut=False)
    assert found.unique and found.spark_at_most == 3


def test_two_codes_of_signals_that_are_near_are_as_near_as_the_bound_says():
    torch.manual_seed(0)
    atoms = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))[0][:3].view(3, 3, 2, 2)
    of = SynthesisOperator(atoms + 0.02 * torch.randn_like(atoms), (2, 2), (1, 1))
    coherence = float(mutual_coherence(of))
    grid, whole = (2, 2), F.normalize(matrix(of, (2, 2)), dim=0)
    assert 2 < uniqueness_limit(coherence) < math.inf
    for _ in range(50):
        one, other = (torch.randn(3, 4, dtype=torch.float64) * (torch.rand(3, 4).argsort(0) < 2) for _ in range(2))
        fullest = 2
        factor = stability_factor(fullest, coherence)
        distance = (whole @ (one - other).flatten()).norm() / 2  # both are so far from the signal in the middle
        assert (one - other).square().sum() <= factor * distance**2 + 1e-12
    assert stability_factor(2, 0.5) is None and stability_factor(3, 0.0) == 4.0 and grid == (2, 2)


def test_atoms_that_are_the_same_but_for_a_shift_and_a_sign():
    atoms = torch.zeros(3, 1, 3, 3)
    atoms[0, 0, 0, 0] = 1
    atoms[1, 0, 2, 1] = -2  # the same, elsewhere
    atoms[2, 0] = torch.randn(3, 3)
    of = SynthesisOperator(atoms, (1, 1), (1, 1))
    counts = Counts(reach(of))
    counts.add(torch.tensor([1.0, 0.0, 1.0])[None, :, None, None].expand(2, 3, 4, 4), [16, 16])
    found = layer("D1", "head", of, counts, cut=True)
    assert (found.duplicates, found.coherence, found.never_used) == (1, pytest.approx(1.0), 1)
    assert found.effective_atoms == pytest.approx(2) and not found.unique


def test_atoms_in_use():
    assert effective_number(torch.tensor([4, 4, 4, 0])) == pytest.approx(3)
    assert effective_number(torch.tensor([0, 0])) == 0
    assert effective_number(torch.tensor([1000, 1])) == pytest.approx(1.008, abs=1e-3)


def test_counting_goes_on_over_batches():
    of = operator("dcgan")
    together, apart = Counts(reach(of)), Counts(reach(of))
    gamma = torch.rand(6, 5, 4, 4).round()
    together.add(gamma, [7] * 6)
    for part in gamma.split(4):
        apart.add(part, [7] * len(part))
    assert layer("D1", "x", of, together, cut=True) == layer("D1", "x", of, apart, cut=True)


def test_reach_of_one_axis():
    of = SynthesisOperator(nn.Parameter(torch.ones(1, 1, 4)), (2,), (1,))
    assert reach(of) == [[-1, 0, 1]]
    assert reach(SynthesisOperator(torch.ones(1, 1, 3), (1,), (2,))) == [[-4, -2, 0, 2, 4]]
    assert reach(SynthesisOperator(torch.ones(1, 1, 1), (1,), (1,))) == [[0]]
