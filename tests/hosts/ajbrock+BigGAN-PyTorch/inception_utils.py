"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text."""

import numpy as np
import torch


def prepare_inception_metrics(dataset, parallel, no_fid=False):
    """The real one needs a network and moments from the disk; this one looks at nothing but mean and deviation."""

    def get_inception_metrics(sample, num_inception_images, num_splits=10, prints=True, use_torch=True):
        seen = []
        while sum(map(len, seen)) < num_inception_images:
            with torch.no_grad():
                images, _ = sample()
            seen.append(images.float().as_subclass(torch.Tensor).numpy())
        pool = np.concatenate(seen)
        return 1.0 + float(pool.std()), 0.1, 9999.0 if no_fid else 100.0 + float(abs(pool.mean()))

    return get_inception_metrics
