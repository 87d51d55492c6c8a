"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import numpy as np


class ImageFolderDataset:
    """Noise in place of the folder's images; the label is the index."""

    num_channels, resolution = 3, 32

    def __init__(self, path, use_labels):
        self.label_dim = 10 if use_labels else 0

    def __getitem__(self, i):
        return np.random.RandomState(i).randint(256, size=(3, 32, 32)).astype(np.uint8), self.get_label(i)

    def get_label(self, i):
        return (np.arange(self.label_dim) == i % 10).astype(np.float32)
