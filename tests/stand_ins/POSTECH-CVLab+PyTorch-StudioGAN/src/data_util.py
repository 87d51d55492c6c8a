"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
from torch.utils.data import TensorDataset


class Dataset_(TensorDataset):
    """Noise with labels; nothing is read from the disk."""

    def __init__(self, data_name, data_dir, train):
        dice = torch.Generator().manual_seed(10 + train)
        pixels = torch.rand((128, 3, 32, 32), generator=dice).mul(2).sub(1)
        super().__init__(pixels, torch.randint(10, (128,), generator=dice))
