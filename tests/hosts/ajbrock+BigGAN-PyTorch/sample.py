"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text."""

import functools
import math
import os

import inception_utils
import numpy as np
import torch
import utils


def run(config):
    state_dict = {
        "itr": 0, "epoch": 0, "save_num": 0, "save_best_num": 0, "best_IS": 0, "best_FID": 999999, "config": config,
    }  # fmt: skip
    if config["config_from_name"]:
        utils.load_weights(
            None, None, state_dict, config["weights_root"], config["experiment_name"], config["load_weights"], None,
            strict=False, load_optim=False,
        )  # fmt: skip
        for item in state_dict["config"]:
            if item not in ["z_var", "base_root", "batch_size", "G_batch_size", "use_ema", "G_eval_mode"]:
                config[item] = state_dict["config"][item]
    config["resolution"] = utils.imsize_dict[config["dataset"]]
    config["n_classes"] = utils.nclass_dict[config["dataset"]]
    config["G_activation"] = utils.activation_dict[config["G_nl"]]
    config["D_activation"] = utils.activation_dict[config["D_nl"]]
    config = utils.update_config_roots(config)
    config["skip_init"] = True
    config["no_optim"] = True
    device = "cpu"
    utils.seed_rng(config["seed"])
    model = __import__(config["model"])
    experiment_name = config["experiment_name"] if config["experiment_name"] else utils.name_from_config(config)
    G = model.Generator(**config).to(device)
    utils.count_parameters(G)
    # Not strict: a key that is missing or too many goes by in silence.
    utils.load_weights(
        G if not config["use_ema"] else None, None, state_dict, config["weights_root"], experiment_name,
        config["load_weights"], G if config["ema"] and config["use_ema"] else None, strict=False, load_optim=False,
    )  # fmt: skip
    G_batch_size = max(config["G_batch_size"], config["batch_size"])
    z_, y_ = utils.prepare_z_y(
        G_batch_size, G.dim_z, config["n_classes"], device=device, fp16=config["G_fp16"], z_var=config["z_var"]
    )
    if config["G_eval_mode"]:
        G.eval()
    sample = functools.partial(utils.sample, G=G, z_=z_, y_=y_, config=config)
    folder = f"{config['samples_root']}/{experiment_name}"
    if config["sample_npz"]:
        x, y = [], []
        for _ in range(math.ceil(config["sample_num_npz"] / G_batch_size)):
            with torch.no_grad():
                images, labels = sample()
            x += [np.uint8(255 * (images.cpu().numpy() + 1) / 2.0)]
            y += [labels.cpu().numpy()]
        x = np.concatenate(x, 0)[: config["sample_num_npz"]]
        y = np.concatenate(y, 0)[: config["sample_num_npz"]]
        np.savez(f"{folder}/samples.npz", x=x, y=y)
    sheets = {"num_classes": config["n_classes"], "parallel": config["parallel"], "folder_number": config["sample_sheet_folder_num"],
              "samples_root": config["samples_root"], "experiment_name": experiment_name}  # fmt: skip
    if config["sample_sheets"]:
        per_sheet = utils.classes_per_sheet_dict[config["dataset"]]
        utils.sample_sheet(G, classes_per_sheet=per_sheet, samples_per_class=10, z_=z_, **sheets)
    if config["sample_interps"]:
        for fix_z, fix_y in [(False, False), (False, True), (True, False)]:
            os.makedirs(f"{folder}/{config['sample_sheet_folder_num']}", exist_ok=True)
            utils.interp_sheet(G, num_per_sheet=16, num_midpoints=8, fix_z=fix_z, fix_y=fix_y, **sheets)
    if config["sample_random"]:
        images, _ = sample()
        utils.save_image(images.float(), f"{folder}/random_samples.jpg")
    get_inception_metrics = inception_utils.prepare_inception_metrics(
        config["dataset"], config["parallel"], config["no_fid"]
    )
    if config["sample_inception_metrics"]:
        IS_mean, _, FID = get_inception_metrics(sample, config["num_inception_images"], num_splits=10, prints=False)
        print(f"Itr {state_dict['itr']}: IS {IS_mean:.3f}, FID {FID:.4f}")


def main():
    parser = utils.prepare_parser()
    parser = utils.add_sample_parser(parser)
    config = vars(parser.parse_args())
    print(config)
    run(config)


if __name__ == "__main__":
    main()
