"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text.

Module inception_tf is the driver's.
"""

import importlib

import inception_tf
import torch
import utils


def run_eval(config):
    utils.complete(config)
    G = importlib.import_module(config["model"]).Generator(**config, no_optim=True)
    with open(config["network"], "rb") as file:
        G.load_state_dict(torch.load(file))
    z_, y_ = utils.prepare_z_y(config["batch_size"], G.dim_z, config["n_classes"])
    measure = inception_tf.prepare_inception_metrics(config["dataset"], config["parallel"], config)
    print(measure(lambda: utils.sample(G, z_, y_, config), config["num_inception_images"]))


def main():
    run_eval(vars(utils.prepare_parser().parse_args()))


if __name__ == "__main__":
    main()
