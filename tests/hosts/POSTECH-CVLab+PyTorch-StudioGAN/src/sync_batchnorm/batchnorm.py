"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

from torch import nn


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    pass


def convert_model(module):
    """Replace every BatchNorm2d by a new module; hooks on the old ones are lost."""
    if isinstance(module, nn.DataParallel):
        return nn.DataParallel(convert_model(module.module), device_ids=module.device_ids)
    made = module
    if isinstance(module, nn.BatchNorm2d):
        made = SynchronizedBatchNorm2d(module.num_features, module.eps, module.momentum, module.affine)
        made.running_mean, made.running_var = module.running_mean, module.running_var
        if module.affine:
            made.weight.data, made.bias.data = module.weight.data.clone(), module.bias.data.clone()
    for name, child in module.named_children():
        made.add_module(name, convert_model(child))
    return made
