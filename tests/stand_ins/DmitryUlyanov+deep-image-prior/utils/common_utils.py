"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

import torch


def get_params(opt_over, net, net_input, downsampler=None):
    assert opt_over == "net", "the stand-in optimizes nothing else"
    return list(net.parameters())


def get_noise(input_depth, method, spatial_size, noise_type="u", var=1.0 / 10):
    assert (method, noise_type) == ("noise", "u"), "the stand-in has uniform noise only"
    return var * torch.rand(1, input_depth, *spatial_size)


def optimize(optimizer_type, parameters, closure, LR, num_iter):
    assert optimizer_type == "adam", "the stand-in has no other"
    adam = torch.optim.Adam(parameters, LR)
    for _ in range(num_iter):
        adam.zero_grad()
        closure()
        adam.step()
