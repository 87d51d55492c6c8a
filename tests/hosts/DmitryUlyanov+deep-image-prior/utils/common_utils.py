"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

import numpy as np
import torch


def get_params(opt_over, net, net_input, downsampler=None):
    params = []
    for opt in opt_over.split(","):
        if opt == "net":
            params += list(net.parameters())
        elif opt == "down":
            params = list(downsampler.parameters())
        elif opt == "input":
            net_input.requires_grad = True
            params += [net_input]
        else:
            raise AssertionError("what is it?")
    return params


def fill_noise(x, noise_type):
    {"u": x.uniform_, "n": x.normal_}[noise_type]()


def np_to_torch(img_np):
    return torch.from_numpy(img_np)[None, :]


def torch_to_np(img_var):
    return img_var.detach().cpu().numpy()[0]


def get_noise(input_depth, method, spatial_size, noise_type="u", var=1.0 / 10):
    if isinstance(spatial_size, int):
        spatial_size = (spatial_size, spatial_size)
    if method == "noise":
        net_input = torch.zeros([1, input_depth, *spatial_size])
        fill_noise(net_input, noise_type)
        net_input *= var
        return net_input
    assert method == "meshgrid" and input_depth == 2
    rows, columns = (np.arange(size) / float(size - 1) for size in spatial_size)
    return np_to_torch(np.stack(np.meshgrid(columns, rows)))


def optimize(optimizer_type, parameters, closure, LR, num_iter):
    if optimizer_type == "LBFGS":
        optimizer = torch.optim.Adam(parameters, lr=0.001)
        for _ in range(100):
            optimizer.zero_grad()
            closure()
            optimizer.step()

        def closure2():
            optimizer.zero_grad()
            return closure()

        options = {"tolerance_grad": -1, "tolerance_change": -1}
        optimizer = torch.optim.LBFGS(parameters, max_iter=num_iter, lr=LR, **options)
        optimizer.step(closure2)
    elif optimizer_type == "adam":
        optimizer = torch.optim.Adam(parameters, lr=LR)
        for _ in range(num_iter):
            optimizer.zero_grad()
            closure()
            optimizer.step()
    else:
        raise AssertionError
