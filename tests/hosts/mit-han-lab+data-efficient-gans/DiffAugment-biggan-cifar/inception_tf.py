"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import numpy as np
import torch


def prepare_inception_metrics(dataset, parallel, config):
    """The real one needs TensorFlow and networks from the net; this one looks at nothing but mean and deviation."""

    def get_inception_metrics(sample, num_inception_images, num_splits=10, prints=True):
        seen = []
        while sum(map(len, seen)) < num_inception_images:
            with torch.no_grad():
                images, _ = sample()
            seen.append(images.float().as_subclass(torch.Tensor).numpy())
        pool = np.concatenate(seen)
        return 1.0 + float(pool.std()), 0.1, 100.0 + float(abs(pool.mean()))

    return get_inception_metrics
