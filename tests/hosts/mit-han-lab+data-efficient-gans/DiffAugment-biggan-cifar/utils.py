"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import datetime
import json
import os
import time
from argparse import ArgumentParser

import datasets as dset
import numpy as np
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader

# Flag and default; a flag whose default is False takes no value.
_FLAGS = {
    "dataset": "C10", "mirror_augment": False, "num_workers": 8, "shuffle": False, "load_in_mem": False,
    "use_multiepoch_sampler": False, "reset_optim": False, "load_G_only": False, "model": "BigGAN", "G_param": "SN", "D_param": "SN", "G_ch": 64, "D_ch": 64,
    "G_depth": 1, "D_depth": 1, "G_shared": False, "shared_dim": 0, "fix_G": False, "dim_z": 128, "z_var": 1.0, "hier": False,
    "cross_replica": False, "mybn": False, "G_nl": "relu", "D_nl": "relu", "G_attn": "64", "D_attn": "64",
    "norm_style": "bn", "seed": 0, "G_init": "ortho", "D_init": "ortho", "skip_init": False, "G_lr": 5e-5,
    "D_lr": 2e-4, "G_B1": 0.0, "D_B1": 0.0, "G_B2": 0.999, "D_B2": 0.999, "batch_size": 50, "G_batch_size": 0,
    "num_G_accumulations": 1, "num_D_steps": 2, "num_D_accumulations": 1, "num_epochs": 500,
    "G_fp16": False, "D_fp16": False, "D_mixed_precision": False, "G_mixed_precision": False,
    "accumulate_stats": False, "num_standing_accumulations": 16, "G_eval_mode": False, "save_every": 2000,
    "num_save_copies": 0, "num_best_copies": 1, "which_best": "IS", "no_fid": False, "test_every": 5000,
    "num_inception_images": 10000, "hashname": False, "base_root": "", "data_root": "data", "weights_root": "weights",
    "logs_root": "logs", "samples_root": "samples", "pbar": "mine", "name_suffix": "", "experiment_name": "",
    "config_from_name": False, "ema": False, "ema_decay": 0.9999, "use_ema": False, "ema_start": 0, "adam_eps": 1e-8,
    "BN_eps": 1e-5, "SN_eps": 1e-8, "num_G_SVs": 1, "num_D_SVs": 1, "num_G_SV_itrs": 1, "num_D_SV_itrs": 1,
    "G_ortho": 0.0, "D_ortho": 0.0, "which_train_fn": "GAN", "load_weights": "", "resume": False,
    "repeat": 1, "DiffAugment": "", "CR_augment": "flip,translation", "CR": 0.0, "logstyle": "%3.3e", "log_G_spectra": False, "log_D_spectra": False, "sv_log_interval": 10,
}  # fmt: skip


def _add(parser, flags):
    for name, default in flags.items():
        how = {"action": "store_true"} if default is False else {"type": type(default)}
        parser.add_argument(f"--{name}", default=default, **how)


def prepare_parser():
    parser = ArgumentParser(description="Parser for all scripts.")
    _add(parser, _FLAGS)
    parser.add_argument("--no_pin_memory", action="store_false", dest="pin_memory", default=True)
    parser.add_argument("--D_thin", action="store_false", dest="D_wide", default=True)
    parser.add_argument("--toggle_grads", action="store_true", default=True)
    parser.add_argument("--parallel", action="store_true", default=True)
    parser.add_argument("--num_samples", type=int, default=None)
    parser.add_argument("--resume_name", type=str, default=None)
    parser.add_argument("--network", type=str, default=None)
    return parser


dset_dict = {"C10": dset.CIFAR10, "C100": dset.CIFAR100}
imsize_dict = {"C10": 32, "C100": 32}
root_dict = {"C10": "cifar", "C100": "cifar"}
nclass_dict = {"C10": 10, "C100": 100}
classes_per_sheet_dict = {"C10": 10, "C100": 100}
activation_dict = {
    "inplace_relu": nn.ReLU(inplace=True), "relu": nn.ReLU(inplace=False), "ir": nn.ReLU(inplace=True),
}  # fmt: skip


class MultiEpochSampler(torch.utils.data.Sampler):
    def __init__(self, data_source, num_epochs, start_itr=0, batch_size=128):
        self.data_source, self.num_epochs = data_source, num_epochs
        self.start_itr, self.batch_size = start_itr, batch_size

    def __iter__(self):
        order = torch.cat([torch.randperm(len(self.data_source)) for _ in range(self.num_epochs)])
        return iter(order[self.start_itr * self.batch_size :].tolist())

    def __len__(self):
        return len(self.data_source) * self.num_epochs - self.start_itr * self.batch_size


def get_data_loaders(
    dataset, data_root=None, mirror_augment=False, batch_size=64, num_workers=8, shuffle=True, load_in_mem=False, hdf5=False,
    pin_memory=True, drop_last=True, start_itr=0, num_epochs=500, use_multiepoch_sampler=False, num_samples=None, train=True,
    seed=0, **kwargs,
):  # fmt: skip
    train_set = dset_dict[dataset](
        root=f"{data_root}/{root_dict[dataset]}",
        load_in_mem=load_in_mem,
        num_samples=num_samples,
        train=train,
        seed=seed,
    )
    if use_multiepoch_sampler:
        sampler = MultiEpochSampler(train_set, num_epochs, start_itr, batch_size)
        return [DataLoader(train_set, batch_size=batch_size, sampler=sampler, num_workers=num_workers)]
    how = {"num_workers": num_workers, "drop_last": drop_last}
    return [DataLoader(train_set, batch_size=batch_size, shuffle=shuffle, **how)]


def seed_rng(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)


def update_config_roots(config):
    if config["base_root"]:
        for key in ["data", "weights", "logs", "samples"]:
            config[f"{key}_root"] = f"{config['base_root']}/{key}"
    return config


def prepare_root(config):
    for key in ["weights_root", "logs_root", "samples_root"]:
        if not os.path.exists(config[key]):
            os.mkdir(config[key])


class ema:
    """Averages every entry of the state dict, whatever it is."""

    def __init__(self, source, target, decay=0.9999, start_itr=0):
        self.source, self.target, self.decay, self.start_itr = source, target, decay, start_itr
        self.source_dict, self.target_dict = source.state_dict(), target.state_dict()
        with torch.no_grad():
            for key in self.source_dict:
                self.target_dict[key].data.copy_(self.source_dict[key].data)

    def update(self, itr=None):
        decay = 0.0 if itr and itr < self.start_itr else self.decay
        with torch.no_grad():
            for key in self.source_dict:
                old, new = self.target_dict[key].data, self.source_dict[key].data
                old.copy_(old * decay + new * (1 - decay))


def ortho(model, strength=1e-4, blacklist=()):
    with torch.no_grad():
        for param in model.parameters():
            if len(param.shape) < 2 or any(param is item for item in blacklist):
                continue
            w = param.view(param.shape[0], -1)
            off_diagonal = (w @ w.t()) * (1.0 - torch.eye(w.shape[0], device=w.device))
            param.grad.data += strength * (2 * off_diagonal @ w).view(param.shape)


def toggle_grad(model, on_or_off):
    for param in model.parameters():
        param.requires_grad = on_or_off


def join_strings(base_string, strings):
    return base_string.join([item for item in strings if item])


def save_weights(G, D, state_dict, weights_root, experiment_name, name_suffix=None, G_ema=None):
    root = "/".join([weights_root, experiment_name])
    if not os.path.exists(root):
        os.mkdir(root)
    print(f"Saving weights to {root}/{name_suffix or ''}...")
    what = {"G": G, "G_optim": G.optim, "D": D, "D_optim": D.optim, "G_ema": G_ema}
    for name, part in what.items():
        if part is not None:
            torch.save(part.state_dict(), f"{root}/{join_strings('_', [name, name_suffix])}.pth")
    torch.save(state_dict, f"{root}/{join_strings('_', ['state_dict', name_suffix])}.pth")


def load_weights(
    G,
    D,
    state_dict,
    weights_root,
    experiment_name,
    name_suffix=None,
    G_ema=None,
    strict=True,
    load_optim=True,
    load_G_only=False,
    load_ema=True,
):
    root = "/".join([weights_root, experiment_name])
    print(f"Loading {name_suffix or ''} weights from {root}...")

    def load(name):
        return torch.load(f"{root}/{join_strings('_', [name, name_suffix])}.pth")

    for name, net in [("G", G), ("D", D)]:
        if net is not None and not (name == "D" and load_G_only):
            net.load_state_dict(load(name), strict=strict)
            if load_optim:
                net.optim.load_state_dict(load(f"{name}_optim"))
    # Every key of the live dict is looked up in the file, whose config holds nn.ReLU objects: refused by torch >= 2.6
    # unless TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD says otherwise.
    for item in state_dict:
        state_dict[item] = load("state_dict")[item]
    if G_ema is not None:
        G_ema.load_state_dict(load("G_ema" if load_ema else "G"), strict=strict)


class MetricsLogger:
    def __init__(self, fname, reinitialize=False):
        self.fname = fname
        if reinitialize and os.path.exists(fname):
            os.remove(fname)

    def log(self, record=None, **kwargs):
        with open(self.fname, "a") as f:
            f.write(json.dumps({**(record or {}), **kwargs, "_stamp": time.time()}) + "\n")


class MyLogger:
    def __init__(self, fname, reinitialize=False, logstyle="%3.3f"):
        self.root, self.logstyle = fname, logstyle
        if not os.path.exists(self.root):
            os.mkdir(self.root)

    def log(self, itr, **kwargs):
        for arg, value in kwargs.items():
            with open(f"{self.root}/{arg}.log", "a") as f:
                f.write(f"{itr}: {self.logstyle % value}\n")


def write_metadata(logs_root, experiment_name, config, state_dict):
    with open(f"{logs_root}/{experiment_name}/metalog.txt", "w") as f:
        f.write(f"datetime: {datetime.datetime.now()}\nconfig: {config}\nstate: {state_dict}\n")


def progress(items, desc="", total=None, min_delay=0.1, displaytype="s1k"):
    for n, item in enumerate(items):
        print(f"\r{desc}{n + 1}/{total or len(items)}", end=" ")
        yield item
    print()


def save_image(images, name):
    # Not in the real code, which hands its Distribution to torchvision's save_image, where .to() fails.
    torchvision.utils.save_image(images.as_subclass(torch.Tensor), name, normalize=True)


def data_parallel(G, inputs, parallel):
    if parallel and torch.cuda.is_available():
        return nn.parallel.data_parallel(G, inputs)
    return G(*inputs)


def sample(G, z_, y_, config):
    with torch.no_grad():
        z_.sample_()
        y_.sample_()
        return data_parallel(G, (z_, G.shared(y_)), config["parallel"]), y_


def sample_sheet(
    G, classes_per_sheet, num_classes, samples_per_class, parallel, samples_root, experiment_name, folder_number,
    z_=None,
):  # fmt: skip
    folder = f"{samples_root}/{experiment_name}/{folder_number}"
    os.makedirs(folder, exist_ok=True)
    for i in range(num_classes // classes_per_sheet):
        y = torch.arange(i * classes_per_sheet, (i + 1) * classes_per_sheet)
        ims = []
        for _ in range(samples_per_class):
            if z_ is not None and hasattr(z_, "sample_") and classes_per_sheet <= z_.size(0):
                z_.sample_()
            else:
                z_ = torch.randn(classes_per_sheet, G.dim_z)
            with torch.no_grad():
                ims += [data_parallel(G, (z_[:classes_per_sheet], G.shared(y)), parallel).data.cpu()]
        save_image(torch.stack(ims, 1).flatten(0, 1).float(), f"{folder}/samples{i}.jpg")


def interp(x0, x1, num_midpoints):
    lerp = torch.linspace(0, 1.0, num_midpoints + 2).to(x0.dtype).view(1, -1, 1)
    return x0 * (1 - lerp) + x1 * lerp


def interp_sheet(
    G, num_per_sheet, num_midpoints, num_classes, parallel, samples_root, experiment_name, folder_number,
    sheet_number=0, fix_z=False, fix_y=False, device="cpu",
):  # fmt: skip
    def ends(fixed, draw):
        first = draw().view(num_per_sheet, 1, -1)
        last = first if fixed else draw().view(num_per_sheet, 1, -1)
        return interp(first, last, num_midpoints).flatten(0, 1)

    zs = ends(fix_z, lambda: torch.randn(num_per_sheet, 1, G.dim_z, device=device))
    ys = ends(fix_y, lambda: G.shared(sample_1hot(num_per_sheet, num_classes)))
    with torch.no_grad():
        out_ims = data_parallel(G, (zs, ys), parallel).data.cpu()
    style = ("Z" if not fix_z else "") + ("Y" if not fix_y else "")
    save_image(out_ims, f"{samples_root}/{experiment_name}/{folder_number}/interp{style}{sheet_number}.jpg")


def get_SVs(net, prefix):
    d = net.state_dict()
    return {f"{prefix}_{key}".replace(".", "_"): float(d[key].item()) for key in d if "sv" in key}


def name_from_config(config):
    return f"Big{config['which_train_fn']}_{config['dataset']}_seed{config['seed']}_Gch{config['G_ch']}"


def count_parameters(module):
    print(f"Number of parameters: {sum(p.data.nelement() for p in module.parameters())}")


def sample_1hot(batch_size, num_classes, device="cpu"):
    return torch.randint(low=0, high=num_classes, size=(batch_size,), device=device)


class Distribution(torch.Tensor):
    """Noise that refills itself in place; everything computed from it has this class, but not its settings."""

    def init_distribution(self, dist_type, **kwargs):
        self.dist_type, self.dist_kwargs = dist_type, kwargs
        if dist_type == "normal":
            self.mean, self.var = kwargs["mean"], kwargs["var"]
        elif dist_type == "categorical":
            self.num_categories = kwargs["num_categories"]

    def sample_(self):
        if self.dist_type == "normal":
            self.normal_(self.mean, self.var)
        elif self.dist_type == "categorical":
            self.random_(0, self.num_categories)

    def to(self, *args, **kwargs):
        new = Distribution(self)
        new.init_distribution(self.dist_type, **self.dist_kwargs)
        new.data = super().to(*args, **kwargs)
        return new


def prepare_z_y(G_batch_size, dim_z, nclasses, device="cpu", fp16=False, z_var=1.0):
    z_ = Distribution(torch.randn(G_batch_size, dim_z, requires_grad=False))
    z_.init_distribution("normal", mean=0, var=z_var)
    z_ = z_.to(device, torch.float16 if fp16 else torch.float32)
    y_ = Distribution(torch.zeros(G_batch_size, requires_grad=False))
    y_.init_distribution("categorical", num_categories=nclasses)
    return z_, y_.to(device, torch.int64)
