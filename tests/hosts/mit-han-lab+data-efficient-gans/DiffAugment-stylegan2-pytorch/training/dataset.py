"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import numpy as np
import torch


class Dataset(torch.utils.data.Dataset):
    def __init__(self, name, raw_shape, max_size=None, use_labels=False, xflip=False, random_seed=0):
        self.name, self._raw_shape, self.has_labels = name, list(raw_shape), use_labels
        self.image_shape, self.num_channels, self.resolution = self._raw_shape[1:], raw_shape[1], raw_shape[2]
        self.label_dim = 10 if use_labels else 0
        self.label_shape = [self.label_dim]

    def __len__(self):
        return self._raw_shape[0]

    def __getitem__(self, idx):
        return self._load_raw_image(idx), self.get_label(idx)

    def get_label(self, idx):
        return np.eye(10, dtype=np.float32)[idx % 10][: self.label_dim]


class ImageFolderDataset(Dataset):
    """Random images; nothing is read from the path."""

    def __init__(self, path, resolution=None, **super_kwargs):
        super().__init__(name="random", raw_shape=[64, 3, 32, 32], **super_kwargs)

    def _load_raw_image(self, raw_idx):
        return np.random.RandomState(raw_idx).randint(256, size=self.image_shape, dtype=np.uint8)
