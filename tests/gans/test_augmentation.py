"""Augmentation of what the discriminator sees: what moves, what is cut out, and that gradients pass."""


import torch

from sparse_plugin.gans.augment import augment, cutout, flip, translate


def marked(n=400, side=32):
    """Images without zeros, in which every pixel differs."""
    return (torch.arange(side * side, dtype=torch.float32) + 1).view(1, 1, side, side).repeat(n, 3, 1, 1)


def test_translation_moves_by_up_to_an_eighth_and_fills_with_zeros():
    torch.manual_seed(0)
    images = marked()
    moved = translate(images)
    shifts = set()
    for image, out in zip(images, moved, strict=True):
        centre = out[0, 16, 16] - 1  # the pixel that came to the middle
        dy, dx = 16 - int(centre) // 32, 16 - int(centre) % 32
        expected = torch.zeros_like(image)
        ys, xs = slice(max(0, dy), 32 + min(0, dy)), slice(max(0, dx), 32 + min(0, dx))
        from_y, from_x = slice(max(0, -dy), 32 + min(0, -dy)), slice(max(0, -dx), 32 + min(0, -dx))
        expected[:, ys, xs] = image[:, from_y, from_x]
        assert torch.equal(out, expected)
        shifts.add((dy, dx))
    assert {dy for dy, _ in shifts} == {dx for _, dx in shifts} == set(range(-4, 5))


def test_cutout_zeroes_one_box_of_half_the_sides_that_may_overhang():
    torch.manual_seed(0)
    cut = cutout(marked()) == 0
    starts = set()
    for mask in cut:
        rows, columns = mask[0].any(1).nonzero().flatten(), mask[0].any(0).nonzero().flatten()
        assert torch.equal(mask, (mask[0].any(1)[:, None] & mask[0].any(0)[None]).expand(3, 32, 32))
        assert len(rows) == rows[-1] - rows[0] + 1 and 8 <= len(rows) <= 16
        assert len(columns) == 16 or columns[0] == 0 or columns[-1] == 31
        starts.add((int(rows[0]), len(rows)))
    assert (0, 8) in starts and (24, 8) in starts and (10, 16) in starts


def test_augmentation_is_differentiable_and_each_images_own():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 16, 16, requires_grad=True)
    out = augment(images, ("flip", "translation", "cutout"))
    out.sum().backward()
    assert out.shape == images.shape and set(images.grad.unique().tolist()) == {0.0, 1.0}
    assert len({tuple(g[0].flatten().tolist()) for g in images.grad}) > 50
    turned_ = flip(torch.arange(8.0).view(1, 1, 1, 8).repeat(100, 3, 1, 1))[:, 0, 0, 0]
    assert 30 < (turned_ == 7).sum() < 70
    assert torch.equal(augment(images, ()), images)
