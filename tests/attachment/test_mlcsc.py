"""ML-CSC: inserted dictionaries, atoms and effective atoms."""

import pytest
import torch
from generators import Modulated, Padded, Plain, Residual, noise
from torch import nn

import sparse_plugin
from sparse_plugin import Attachment, attach, effective_atoms
from sparse_plugin.attachment.atoms import atoms
from sparse_plugin.errors import AttachmentError, SiteError
from sparse_plugin.network.synthesis import synthesis_operator
from sparse_plugin.registry.dictionaries import Dictionaries


def randomize(generator):
    for parameter in Attachment.of(generator).parameters():
        nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_effective_atoms_are_the_responses_to_unit_impulses(levels, dtype):
    """The paper's head: D1 4x4 of stride 2 on a 16x16 grid, D2 3x3; D_eff is 8x8."""
    d1 = nn.Sequential(nn.ConvTranspose2d(5, 3, 4, 2, 1)).to(dtype)
    attach(d1, "ml_csc", k=1.0, levels=levels, sites="0")
    randomize(d1)
    effective = effective_atoms(d1)
    side = 4 + 2 * 2 * (levels - 1)
    assert effective.shape == (5, 3, side, side)
    still = d1(torch.zeros(1, 5, 16, 16, dtype=dtype))
    for channel in range(5):
        impulse = torch.zeros(1, 5, 16, 16, dtype=dtype)
        impulse[0, channel, 8, 8] = 1
        response = (d1(impulse) - still)[0]
        at = 2 * 8 - 1 - 2 * (levels - 1)  # stride, D1's padding, the reach of each dictionary
        crop = response[:, at : at + side, at : at + side]
        assert torch.allclose(crop, effective[channel], atol=1e-5)
        assert torch.allclose(response.abs().sum(), crop.abs().sum(), atol=1e-4)  # nothing lies outside


@pytest.mark.parametrize(
    "d1",
    [
        nn.Conv2d(6, 3, 3, padding=1),
        nn.Conv2d(6, 3, (3, 5), padding=(1, 2)),
        nn.Conv2d(6, 3, 3, padding=2, dilation=2),
        nn.Conv2d(6, 3, 3, padding=1, groups=3),
        nn.ConvTranspose2d(6, 3, 4, 2, 1),
        nn.ConvTranspose2d(6, 3, 5, 2, 2, output_padding=1),
        nn.ConvTranspose2d(6, 3, 3, 1, 1, groups=3),
        nn.ConvTranspose2d(6, 3, 3, 2, 2, dilation=2),
    ],
    ids=str,
)
def test_atoms_and_effective_atoms_rebuild_every_kind_of_d1(d1):
    """Laying atoms where coefficients are gives what the convolution gives, away from the border."""
    generator = nn.Sequential(d1)
    attach(generator, "ml_csc", k=1.0, sites="0")
    randomize(generator)
    gamma = torch.zeros(1, 6, 12, 12)
    gamma[0, :, 5, 6] = torch.randn(6)
    gamma[0, :, 6, 5] = torch.randn(6)
    bias = generator(torch.zeros_like(gamma))
    painted = generator(gamma) - bias
    shape = Attachment.of(generator).kernel()
    laid = nn.functional.conv_transpose2d(gamma, effective_atoms(generator), stride=shape.stride)
    # Both hold the same patch, at offsets that depend on the padding: compare the non-zero box.
    assert torch.allclose(box(painted), box(laid), atol=1e-5)
    assert atoms(generator).shape[:2] == (6, 3)


def box(image, tiny=1e-5):
    where = (image[0].abs().sum(0) > tiny).nonzero()
    (top, left), (bottom, right) = where.min(0).values, where.max(0).values
    return image[:, :, top : bottom + 1, left : right + 1]


def test_atoms_are_of_the_weights_really_used():
    generator = Residual()
    nn.utils.spectral_norm(generator.out)
    generator.out.weight_orig.data.mul_(10)
    attach(generator, "l0_inf", k=2, example_input=noise())
    u = generator.out.weight_u.clone()
    generator.eval()
    used = []
    generator.out.register_forward_hook(lambda m, args, out: used.append(m.weight.detach().clone()))
    generator(noise())
    assert torch.allclose(atoms(generator), used[0].flip(2, 3).transpose(0, 1))
    assert torch.equal(u, generator.out.weight_u)


def test_dictionaries_start_as_the_identity_and_draw_no_random_numbers():
    state = torch.get_rng_state()
    dictionaries = Dictionaries(3, 4, (3, 3))
    assert torch.equal(state, torch.get_rng_state())
    gamma = torch.randn(2, 4, 5, 5)
    for dictionary in dictionaries.values():
        assert torch.equal(dictionary(gamma), gamma)


def test_every_level_is_held():
    generator = Residual(channels=16)
    attachment = attach(generator, "ml_csc", k=[2, 5, 9], levels=3, example_input=noise())
    randomize(generator)
    measured = {m.level: m for m in attachment.measure(noise())}
    assert [round(measured[level].sparsity * 16 / 100) for level in (1, 2)] == [2, 5]
    assert measured[3].sparsity <= 100 * 9 / 16  # ReLU's own zeros may leave fewer


def test_any_constraint_at_any_level():
    generator = Residual()
    attachment = attach(generator, "ml_csc", k=0.125, constraint="l0", example_input=noise())
    randomize(generator)
    assert [m.sparsity for m in attachment.measure(noise())] == [12.5, 12.5]


def test_a_hosts_initialisation_leaves_the_identity_alone():
    def host_init(m):
        if "Conv" in type(m).__name__ or isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(m.weight, 0.0, 0.02)

    generator = Plain()
    (weight,) = attach(generator, "ml_csc", k=2).parameters()
    before = weight.detach().clone()
    generator.apply(host_init)
    assert torch.equal(before, weight)


def test_a_padded_head_is_preceded_by_its_dictionary():
    generator = Padded()
    attachment = attach(generator, "ml_csc", k=2, example_input=noise())
    assert list(attachment.inserted()[0].dictionaries) == ["D2"]
    assert effective_atoms(generator).shape == (8, 3, 5, 5)


def test_what_has_no_atoms_says_so():
    with pytest.raises(AttachmentError, match="nothing is attached"):
        atoms(Residual())
    generator = Residual()
    attach(generator, "l0_inf", k=2, example_input=noise())
    with pytest.raises(AttachmentError, match="has no inserted dictionaries"):
        effective_atoms(generator)
    with pytest.raises(SiteError, match="downsamples"):
        synthesis_operator(nn.Conv2d(3, 3, 3, 2), torch.zeros(1, 3, 8, 8))
    with pytest.raises(SiteError, match="runs 2 convolutions"):
        synthesis_operator(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)), torch.zeros(1, 3, 8, 8))
    with pytest.raises(SiteError, match="inserts dictionaries before a convolution"):
        attach(Residual(), "ml_csc", k=2, sites="act:output")
    assert sparse_plugin.Attachment.of(Residual()) is None


def test_a_modulated_convolution_has_levels_and_no_atoms():
    """What it paints depends on a style, so there is no dictionary to show; D2 stands before it all the same."""
    generator = Modulated()
    with attach(generator, "ml_csc", k=[0.5, 1.0], example_input=noise()) as attachment:
        assert [m.level for m in attachment.measure(noise())] == [2, 1]
        assert attachment.parameters()[0].shape == (8, 8, 3, 3)
        with pytest.raises(SiteError, match="ToRGB takes more than Γ"):
            atoms(generator)
