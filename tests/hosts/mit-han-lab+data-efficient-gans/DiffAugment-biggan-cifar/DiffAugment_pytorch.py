"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import torch
import torch.nn.functional as F


def DiffAugment(x, policy="", channels_first=True):
    for p in policy.split(",") if policy else ():
        for f in AUGMENT_FNS[p]:
            x = f(x)
    return x.contiguous()


def _one(x):
    return torch.rand(x.size(0), 1, 1, 1, dtype=x.dtype, device=x.device)


def rand_brightness(x):
    return x + _one(x) - 0.5


def rand_saturation(x):
    mean = x.mean(dim=1, keepdim=True)
    return (x - mean) * _one(x) * 2 + mean


def rand_contrast(x):
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    return (x - mean) * (_one(x) + 0.5) + mean


def rand_translation(x, ratio=0.125):
    far = int(x.size(2) * ratio + 0.5)
    shifts = torch.randint(0, 2 * far + 1, (x.size(0), 2)).tolist()
    wide = F.pad(x, [far] * 4)
    return torch.stack([one[:, i : i + x.size(2), j : j + x.size(3)] for one, (i, j) in zip(wide, shifts, strict=True)])


def rand_cutout(x, ratio=0.5):
    side = int(x.size(2) * ratio + 0.5)
    mask = torch.ones_like(x)
    for one, (i, j) in zip(mask, torch.randint(0, x.size(2), (x.size(0), 2)).tolist(), strict=True):
        one[:, max(0, i - side // 2) : i + side // 2, max(0, j - side // 2) : j + side // 2] = 0
    return x * mask


AUGMENT_FNS = {
    "color": [rand_brightness, rand_saturation, rand_contrast],
    "translation": [rand_translation],
    "cutout": [rand_cutout],
}
