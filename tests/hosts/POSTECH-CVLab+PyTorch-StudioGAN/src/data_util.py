"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
from torch.utils.data import Dataset


class Dataset_(Dataset):
    """Random images; nothing is read from the disk."""

    def __init__(
        self, data_name, data_dir, train, crop_long_edge=False, resize_size=None, resizer="lanczos",
        random_flip=False, normalize=True, hdf5_path=None, load_data_in_memory=False,
    ):  # fmt: skip
        source = torch.Generator().manual_seed(int(train))
        self.data = torch.rand(256, 3, 32, 32, generator=source) * 2 - 1
        self.labels = torch.randint(10, (256,), generator=source).tolist()

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index], self.labels[index]
