"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text.

Module inception_tf is the driver's.
"""

import importlib

import inception_tf
import train_fns
import utils
from torch import nn


def run(config):
    utils.complete(config)
    networks = importlib.import_module(config["model"])
    G, D = networks.Generator(**config), networks.Discriminator(**config)
    G_ema = ema = None
    if config["ema"]:
        G_ema = networks.Generator(**config, no_optim=True)
        ema = utils.ema(G, G_ema, decay=config["ema_decay"])
    shown = G_ema if G_ema is not None and config["use_ema"] else G
    GD = networks.G_D(G, D)
    if config["parallel"]:
        GD = nn.DataParallel(GD)
    state_dict = {"itr": 0, "epoch": 0, "config": config}
    place = config["weights_root"], config["experiment_name"]
    if config["resume"]:
        utils.load_weights(G, D, state_dict, *place, G_ema)
    z_, y_ = utils.prepare_z_y(config["batch_size"], G.dim_z, config["n_classes"])
    step = train_fns.GAN_training_function(G, D, GD, z_, y_, ema, state_dict, config)
    (loader,) = utils.get_data_loaders(**config | {"batch_size": config["batch_size"] * config["num_D_steps"]})
    measure = inception_tf.prepare_inception_metrics(config["dataset"], config["parallel"], config)

    def rest(last=False):
        if last or state_dict["itr"] % config["save_every"] == 0:
            utils.save_weights(G, D, state_dict, *place, G_ema)
        if last or state_dict["itr"] % config["test_every"] == 0:
            print(measure(lambda: utils.sample(shown, z_, y_, config), config["num_inception_images"]))

    while state_dict["epoch"] < config["num_epochs"]:
        for x, y in loader:
            print(state_dict["itr"], step(x, y))
            rest()  # before it counts, so after the first step too
            state_dict["itr"] += 1
        state_dict["epoch"] += 1
    rest(last=True)


def main():
    run(vars(utils.prepare_parser().parse_args()))


if __name__ == "__main__":
    main()
