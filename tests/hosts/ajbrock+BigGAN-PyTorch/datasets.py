"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text."""

import torch
from torch.utils import data


class CIFAR10(data.Dataset):
    """Random images; nothing is read from the disk."""

    classes = 10

    def __init__(self, root, train=True, transform=None, load_in_mem=True, **kwargs):
        source = torch.Generator().manual_seed(0)
        self.data = torch.rand(64, 3, 32, 32, generator=source) * 2 - 1
        self.labels = torch.randint(self.classes, (64,), generator=source).tolist()

    def __getitem__(self, index):
        return self.data[index], self.labels[index]

    def __len__(self):
        return len(self.data)


class CIFAR100(CIFAR10):
    classes = 100
