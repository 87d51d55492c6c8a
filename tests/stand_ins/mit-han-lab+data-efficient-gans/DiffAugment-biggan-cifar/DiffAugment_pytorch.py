"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import torch


def DiffAugment(x, policy=""):
    for name in filter(None, policy.split(",")):
        x = AUGMENT_FNS[name](x)
    return x


def rand_translation(x):
    return torch.stack([image.roll(torch.randint(-4, 5, (2,)).tolist(), (1, 2)) for image in x])


def rand_cutout(x):
    kept = torch.ones(x.shape)
    for mask, (top, left) in zip(kept, torch.randint(0, x.shape[2] // 2, (len(x), 2)).tolist(), strict=True):
        mask[:, top:, left:] = 0
    return x * kept


AUGMENT_FNS = {"translation": rand_translation, "cutout": rand_cutout}
