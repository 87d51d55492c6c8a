"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import copy
import pickle
from itertools import count

import dnnlib
import numpy as np
import torch
from torch_utils import misc, training_stats


def setup_snapshot_image_grid(training_set):
    """The grid's size, its images, their labels."""
    columns = zip(*map(training_set.__getitem__, range(6)), strict=True)
    return (3, 2), *map(np.stack, columns)


def training_loop(
    run_dir, training_set_kwargs, data_loader_kwargs, G_kwargs, D_kwargs, G_opt_kwargs, D_opt_kwargs, loss_kwargs,
    batch_size, total_kimg, network_snapshot_ticks, rank=0, random_seed=0, G_reg_interval=4, D_reg_interval=16,
):  # fmt: skip
    make = dnnlib.util.construct_class_by_name
    for seed in (torch.manual_seed, np.random.seed):
        seed(random_seed)
    data = make(**training_set_kwargs)
    shape = {"c_dim": data.label_dim, "img_resolution": data.resolution, "img_channels": data.num_channels}
    nets = {"G": make(**G_kwargs, **shape), "D": make(**D_kwargs, **shape)}
    for net in nets.values():
        net.train().requires_grad_(False)  # but for its own phases
    nets["G_ema"] = copy.deepcopy(nets["G"]).eval()
    G, D, G_ema = nets.values()

    def random_labels():
        return torch.from_numpy(np.stack([data.get_label(i) for i in np.random.randint(10, size=batch_size)]))

    junk = [torch.empty(batch_size, size) for size in (G.z_dim, G.c_dim)]
    misc.print_module_summary(D, [misc.print_module_summary(G, junk), junk[1]])

    loss = make("cpu", G.mapping, G.synthesis, D, **loss_kwargs)
    phases = []
    for letter, options, lazily in ("G", G_opt_kwargs, G_reg_interval), ("D", D_opt_kwargs, D_reg_interval):
        shared = make(nets[letter].parameters(), **options)
        phases += [(f"{letter}{kind}", nets[letter], shared, every) for kind, every in (("main", 1), ("reg", lazily))]

    _, _, grid_labels = setup_snapshot_image_grid(training_set=data)
    grid_z = torch.randn(len(grid_labels), G.z_dim)
    for done in count():
        G_ema(grid_z, torch.from_numpy(grid_labels), noise_mode="const")
        if done * batch_size >= round(total_kimg * 1000):
            break
        pictures, labels = zip(*(data[done * batch_size + i] for i in range(batch_size)), strict=True)
        real = {
            "real_img": torch.from_numpy(np.stack(pictures)) / 127.5 - 1,
            "real_c": torch.from_numpy(np.stack(labels)),
        }
        for name, net, opt, every in phases:
            fake = {"gen_z": torch.randn(batch_size, G.z_dim), "gen_c": random_labels()}
            if done % every == 0:
                opt.zero_grad()
                net.requires_grad_()
                loss.accumulate_gradients(name, **real, **fake, sync=True, gain=every)
                net.requires_grad_(False)
                opt.step()
        # Not under no_grad: between its phases nothing of the generator asks for gradients.
        for part, by in (("parameters", 0.1), ("buffers", 1.0)):
            for mean, new in zip(*(getattr(net, part)() for net in (G_ema, G)), strict=True):
                mean.lerp_(new, by)

    print(training_stats.means)
    saved = {name: copy.deepcopy(net).eval() for name, net in nets.items()}
    with open(f"{run_dir}/network-snapshot-{done:06d}.pkl", "wb") as file:
        pickle.dump(saved, file)
