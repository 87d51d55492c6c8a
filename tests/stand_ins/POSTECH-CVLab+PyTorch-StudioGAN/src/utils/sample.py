"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F


def generate_images(
    generator, generator_mapping, generator_synthesis, batch_size, z_dim, num_classes, update_emas=False
):
    """By the generator, or by its halves, where there are any, one after the other."""
    zs, labels = torch.randn(batch_size, z_dim), torch.randint(num_classes, (batch_size,))
    if generator_mapping is None:
        return generator(zs, labels, eval=not generator.training), labels, None
    ws = generator_mapping(zs, F.one_hot(labels, num_classes), update_emas=update_emas)
    return generator_synthesis(ws, update_emas=update_emas), labels, ws
