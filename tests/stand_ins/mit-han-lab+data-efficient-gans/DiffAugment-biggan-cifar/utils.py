"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text.

Data come from the driver, in place of get_data_loaders.
"""

from argparse import ArgumentParser
from pathlib import Path

import torch
from torch import nn

_FLAGS = {
    "model": "BigGAN", "batch_size": 50, "num_epochs": 500, "num_D_steps": 2, "num_G_accumulations": 1, "parallel": True,
    "G_ch": 64, "D_ch": 64, "dim_z": 128, "G_nl": "relu", "D_nl": "relu", "G_lr": 5e-5, "D_lr": 2e-4, "seed": 0,
    "ema": False, "use_ema": False, "ema_decay": 0.9999, "resume": False, "weights_root": "weights",
    "experiment_name": "run", "save_every": 2000, "test_every": 5000, "num_inception_images": 10000,
    "DiffAugment": "", "network": "",
    # Accepted, and without effect in this toy:
    "dataset": "C10", "num_workers": 8, "G_attn": "64", "D_attn": "64", "G_init": "", "D_init": "",
}  # fmt: skip
activation_dict = {"relu": nn.ReLU(), "inplace_relu": nn.ReLU(inplace=True)}


def prepare_parser():
    parser = ArgumentParser()
    for flag, default in _FLAGS.items():
        how = {"action": "store_true"} if isinstance(default, bool) else {"type": type(default)}
        parser.add_argument("--" + flag, default=default, **how)
    return parser


def complete(config):
    """What no flag gives; and the same random numbers in every run."""
    config["n_classes"] = 10
    config.update({f"{net}_activation": activation_dict[config[f"{net}_nl"]] for net in "GD"})
    torch.manual_seed(config["seed"])


class Distribution(torch.Tensor):
    """Draws itself anew in place. What is computed from it has this class, and not what it is drawn from."""

    def init_distribution(self, dist_type, **kwargs):
        self.filler, self.settings = {"normal": "normal_", "categorical": "random_"}[dist_type], kwargs

    def sample_(self):
        getattr(self, self.filler)(**self.settings)


def prepare_z_y(G_batch_size, dim_z, nclasses):
    z_ = torch.empty(G_batch_size, dim_z).as_subclass(Distribution)
    y_ = torch.empty(G_batch_size, dtype=torch.int64).as_subclass(Distribution)
    z_.init_distribution("normal", mean=0, std=1)
    y_.init_distribution("categorical", to=nclasses)
    for noise in (z_, y_):
        noise.sample_()
    return z_, y_


class ema:
    """Averages whatever the state dicts of two generators hold, which it takes only once."""

    def __init__(self, source, target, decay=0.9999):
        self.target, self.decay = target, decay
        averages = target.state_dict()
        self.pairs = [(averages[key], value) for key, value in source.state_dict().items()]
        for average, value in self.pairs:
            average.copy_(value)

    def update(self, itr=None):
        for average, value in self.pairs:
            average.copy_(self.decay * average + (1 - self.decay) * value)


def _parts(G, D, G_ema, optimizers):
    """What has a file of its own."""
    nets = {name: net for name, net in (("G", G), ("D", D), ("G_ema", G_ema)) if net is not None}
    return nets | {f"{name}_optim": nets[name].optim for name in "GD" if optimizers and name in nets}


def save_weights(G, D, state_dict, weights_root, experiment_name, G_ema=None):
    folder = Path(weights_root, experiment_name)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in _parts(G, D, G_ema, True).items():
        torch.save(part.state_dict(), folder / f"{name}.pth")
    torch.save(state_dict, folder / "state_dict.pth")


def load_weights(G, D, state_dict, weights_root, experiment_name, G_ema=None, strict=True, load_optim=True):
    folder = Path(weights_root, experiment_name)
    for name, part in _parts(G, D, G_ema, load_optim).items():
        how = {"strict": strict} if isinstance(part, nn.Module) else {}
        part.load_state_dict(torch.load(folder / f"{name}.pth"), **how)
    # Its config holds activation modules, which torch.load refuses since 2.6 unless told otherwise.
    saved = torch.load(folder / "state_dict.pth")
    state_dict.update((key, saved[key]) for key in state_dict)


@torch.no_grad()
def sample(G, z_, y_, config):
    for noise in (z_, y_):
        noise.sample_()
    inputs = z_, G.shared(y_)
    return nn.parallel.data_parallel(G, inputs) if config["parallel"] else G(*inputs), y_
