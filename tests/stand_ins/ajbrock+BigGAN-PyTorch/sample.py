"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text.

Module inception_utils is the driver's.
"""

import importlib

import inception_utils
import utils


def run(config):
    utils.complete(config)
    G = importlib.import_module(config["model"]).Generator(**config, no_optim=True)
    z_, y_ = utils.prepare_z_y(config["batch_size"], G.dim_z, config["n_classes"])
    name = "G_ema" if config["ema"] and config["use_ema"] else "G"
    # Not strict: missing and unexpected keys go by unsaid.
    utils.load_weights(
        **{"G": None, "D": None, name: G}, state_dict={"itr": 0, "config": config}, strict=False, load_optim=False,
        **{key: config[key] for key in ("weights_root", "experiment_name")},
    )  # fmt: skip
    if not config["sample_inception_metrics"]:
        return
    measure = inception_utils.prepare_inception_metrics(config["dataset"], config["parallel"])
    print(measure(lambda: utils.sample(G, z_, y_, config), config["num_inception_images"]))


def main():
    run(vars(utils.add_sample_parser(utils.prepare_parser()).parse_args()))


if __name__ == "__main__":
    main()
