"""The Gram matrix of shifted atoms against dictionaries that are materialised column by column, by D1 itself."""

from itertools import product

import pytest
import torch
from torch import nn

from sparse_plugin.dictionary.coherence import coherence_energy, mutual_coherence, normalized_gram, off_diagonal, steps
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.network.synthesis import synthesis_operator

D1S = {
    "conv": lambda: nn.Conv2d(5, 3, 3, padding=1),
    "even kernel": lambda: nn.Conv2d(4, 3, 4, padding=2),
    "reflected": lambda: nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"),
    "1x1": lambda: nn.Conv2d(6, 3, 1),
    "one atom": lambda: nn.Conv2d(1, 2, 3, padding=1),
    "dilated conv": lambda: nn.Conv2d(4, 3, 3, padding=2, dilation=2),
    "grouped conv": lambda: nn.Conv2d(6, 3, 3, padding=1, groups=3),
    "one dimension": lambda: nn.Conv1d(5, 2, 4, padding=2),
    "three dimensions": lambda: nn.Conv3d(3, 2, 2, padding=1),
    "dcgan": lambda: nn.ConvTranspose2d(5, 3, 4, 2, 1),
    "stride 1": lambda: nn.ConvTranspose2d(4, 3, 3, 1, 1),
    "gaps": lambda: nn.ConvTranspose2d(4, 3, 2, 3),
    "stride 3 of 4": lambda: nn.ConvTranspose2d(4, 3, 4, 3, 1, output_padding=1),
    "two strides": lambda: nn.ConvTranspose2d(4, 2, (5, 3), (2, 1), (1, 0)),
    "stride and dilation alike": lambda: nn.ConvTranspose2d(3, 2, 3, 2, dilation=2),
    "stride 4, dilation 2": lambda: nn.ConvTranspose2d(3, 2, 4, 4, dilation=2),
    "stride 2, dilation 3": lambda: nn.ConvTranspose2d(3, 2, 4, 2, dilation=3),
    "grouped transposed": lambda: nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(5, 3, 3, padding=1)),
    "old spectral norm": lambda: nn.utils.spectral_norm(nn.ConvTranspose2d(5, 3, 4, 2, 1)),
    "weight norm by output": lambda: _uneven(nn.utils.parametrizations.weight_norm(nn.Conv2d(5, 3, 3, padding=1))),
}


def _uneven(d1):
    d1.parametrizations.weight.original0.data *= torch.tensor([1.0, 3.0, 0.2])[:, None, None, None]
    return d1


def _materialized(d1, grid):
    """Every column of the dictionary: the image of each unit coefficient on a grid of positions, normalized, and its place."""
    d1 = d1.double().eval()
    channels = d1.in_channels
    places = list(product(range(channels), *(range(side) for side in grid)))
    with torch.no_grad():
        bias = d1(torch.zeros(1, channels, *grid, dtype=torch.float64))
        columns = []
        for place in places:
            unit = torch.zeros(1, channels, *grid, dtype=torch.float64)
            unit[(0, *place)] = 1
            columns.append((d1(unit) - bias).flatten())
    columns = torch.stack(columns)
    return columns, torch.tensor(places)


@pytest.mark.parametrize("name", D1S)
def test_gram_energy_and_coherence_are_those_of_the_materialized_dictionary(name):
    torch.manual_seed(0)
    d1 = D1S[name]()
    sides = d1.kernel_size
    grid = tuple({1: 13, 2: 13 if max(d1.dilation) > 1 else 9, 3: 6}[len(sides)] for _ in sides)
    operator = synthesis_operator(d1.double(), torch.zeros(1, d1.in_channels, *grid, dtype=torch.float64))
    columns, places = _materialized(d1, grid)
    whole = operator.atoms.flatten(1).norm(dim=1)[places[:, 0]]
    inside = (columns.norm(dim=1) - whole).abs() < 1e-9  # nothing of them is cut off by the border
    if name == "reflected":
        inside &= ((places[:, 1:] > 1) & (places[:, 1:] < 7)).all(1)
    columns = columns / columns.norm(dim=1, keepdim=True)
    middle = torch.tensor([side // 2 for side in grid])
    gram, step = normalized_gram(operator), torch.tensor(steps(operator))
    half = torch.tensor(gram.shape[2:]) // 2
    energy, largest = 0.0, 0.0
    for c in range(d1.in_channels):
        at = int(((places[:, 0] == c) & (places[:, 1:] == middle).all(1)).nonzero())
        assert inside[at]
        products = columns @ columns[at]
        compared = 0
        for other in inside.nonzero().flatten().tolist():
            shift = places[other, 1:] - middle
            j = torch.div(shift, step, rounding_mode="floor")
            meets = bool((j * step == shift).all()) and bool((j.abs() <= half).all())
            expected = float(gram[(c, int(places[other, 0]), *(half + j).tolist())]) if meets else 0.0
            assert float(products[other]) == pytest.approx(expected, abs=1e-12)
            compared += meets
            if other != at:
                energy += float(products[other]) ** 2
                largest = max(largest, abs(float(products[other])))
        assert compared == gram[0].numel()  # every relative shift that overlaps was met
    assert float(coherence_energy(operator)) == pytest.approx(energy, rel=1e-10, abs=1e-18)
    assert float(mutual_coherence(operator)) == pytest.approx(largest, rel=1e-10, abs=1e-18)


def _operator(atoms, stride=1, dilation=1):
    dims = atoms.dim() - 2
    return SynthesisOperator(atoms, (stride,) * dims, (dilation,) * dims)


def test_orthogonal_columns_have_none():
    atoms = torch.eye(12).view(12, 3, 2, 2)
    operator = _operator(atoms, stride=2)
    assert float(mutual_coherence(operator)) == float(coherence_energy(operator)) == 0
    assert torch.equal(normalized_gram(operator)[:, :, 0, 0], torch.eye(12))


def test_a_shifted_copy_of_an_atom_is_found():
    first = torch.zeros(1, 3, 4, 4)
    first[..., 1:3, 1:3] = torch.randn(3, 2, 2)
    atoms = torch.cat([first, 5 * first.roll((1, -1), (2, 3))])
    assert float(mutual_coherence(_operator(atoms))) == pytest.approx(1)
    assert float(mutual_coherence(_operator(atoms, stride=2))) < 0.999  # no shift of the grid brings them together
    assert float(off_diagonal(normalized_gram(_operator(atoms)))[0, 1].max()) == pytest.approx(1)


def test_a_tight_frame_reaches_the_lower_bound():
    angles = torch.arange(3) * 2 * torch.pi / 3
    atoms = torch.stack([angles.cos(), angles.sin()], 1)[..., None, None].double()
    assert float(coherence_energy(_operator(atoms))) == pytest.approx(9 / 2 - 3)
    for stride in (1, 2):
        drawn = torch.randn(16, 3, 4, 4, dtype=torch.float64)
        assert float(coherence_energy(_operator(drawn, stride))) >= 16**2 / (3 * stride**2) - 16


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e30])
def test_scale_does_not_matter(scale):
    torch.manual_seed(0)
    atoms = torch.randn(4, 3, 3, 3)
    scales = torch.tensor([scale, 1.0, 1.0, scale])[:, None, None, None]
    torch.testing.assert_close(normalized_gram(_operator(atoms * scales)), normalized_gram(_operator(atoms)))


def test_zero_atoms_are_orthogonal_to_all_and_have_no_gradient():
    atoms = torch.randn(4, 3, 3, 3)
    atoms[1] = 0
    atoms.requires_grad_()
    energy = coherence_energy(_operator(atoms))
    energy.backward()
    assert torch.isfinite(atoms.grad).all() and not atoms.grad[1].any() and atoms.grad[0].any()
    assert float(energy.detach()) == pytest.approx(float(coherence_energy(_operator(atoms.detach()[[0, 2, 3]]))), rel=1e-5)
    assert not normalized_gram(_operator(atoms))[1].any()


def test_gradients_are_those_of_differences():
    torch.manual_seed(0)
    atoms = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    for stride, dilation in ((1, 1), (2, 1), (2, 3)):
        energy = lambda a: coherence_energy(_operator(a, stride, dilation))  # noqa: E731, B023
        assert torch.autograd.gradcheck(energy, (atoms,)) and torch.autograd.gradgradcheck(energy, (atoms,))


def test_half_precision_is_computed_in_float32():
    atoms = torch.randn(8, 3, 4, 4).half()
    assert normalized_gram(_operator(atoms, 2)).dtype == torch.float32
    assert mutual_coherence(_operator(atoms, 2)).dtype == torch.float64
    torch.testing.assert_close(coherence_energy(_operator(atoms, 2)), coherence_energy(_operator(atoms.float(), 2)))
