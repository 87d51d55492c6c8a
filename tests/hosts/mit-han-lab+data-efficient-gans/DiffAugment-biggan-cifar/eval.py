"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import functools

import dnnlib
import inception_tf
import numpy as np
import torch
import utils


def run_eval(config):
    config["resolution"] = utils.imsize_dict[config["dataset"]]
    config["n_classes"] = utils.nclass_dict[config["dataset"]]
    config["G_activation"] = utils.activation_dict[config["G_nl"]]
    config["D_activation"] = utils.activation_dict[config["D_nl"]]
    config = utils.update_config_roots(config)
    config["skip_init"] = True
    config["no_optim"] = True
    device = "cpu"
    model = __import__(config["model"])
    G = model.Generator(**config).to(device)
    G_batch_size = max(config["G_batch_size"], config["batch_size"])
    z_, y_ = utils.prepare_z_y(
        G_batch_size, G.dim_z, config["n_classes"], device=device, fp16=config["G_fp16"], z_var=config["z_var"]
    )
    get_inception_metrics = inception_tf.prepare_inception_metrics(config["dataset"], config["parallel"], config)
    G.load_state_dict(torch.load(dnnlib.util.open_file_or_url(config["network"])))
    if config["G_eval_mode"]:
        G.eval()
    else:
        G.train()
    sample = functools.partial(utils.sample, G=G, z_=z_, y_=y_, config=config)
    scores = [
        get_inception_metrics(sample, config["num_inception_images"], num_splits=10, prints=False)
        for _ in range(config["repeat"])
    ]
    print(f"IS: {np.mean([IS for IS, _, _ in scores])}, FID: {np.mean([FID for _, _, FID in scores])}")


def main():
    parser = utils.prepare_parser()
    config = vars(parser.parse_args())
    run_eval(config)


if __name__ == "__main__":
    main()
