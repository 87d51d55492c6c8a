"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import functools

import inception_tf
import train_fns
import utils
from torch import nn


def run(config):
    config["resolution"] = utils.imsize_dict[config["dataset"]]
    config["n_classes"] = utils.nclass_dict[config["dataset"]]
    config["G_activation"] = utils.activation_dict[config["G_nl"]]
    config["D_activation"] = utils.activation_dict[config["D_nl"]]
    if config["resume"] and not config["load_G_only"]:
        config["skip_init"] = True
    config = utils.update_config_roots(config)
    device = "cpu"
    utils.seed_rng(config["seed"])
    utils.prepare_root(config)
    model = __import__(config["model"])
    experiment_name = config["experiment_name"] if config["experiment_name"] else utils.name_from_config(config)
    print(f"Experiment name is {experiment_name}")

    G = model.Generator(**config).to(device)
    D = model.Discriminator(**config).to(device)
    if config["ema"]:
        G_ema = model.Generator(**{**config, "skip_init": True, "no_optim": True}).to(device)
        ema = utils.ema(G, G_ema, config["ema_decay"], config["ema_start"])
    else:
        G_ema, ema = None, None
    if config["G_fp16"]:
        G = G.half()
        if config["ema"]:
            G_ema = G_ema.half()
    if config["D_fp16"]:
        D = D.half()
    GD = model.G_D(G, D)
    print(G)
    state_dict = {
        "itr": 0, "epoch": 0, "save_num": 0, "save_best_num": 0, "best_IS": 0, "best_FID": 999999, "config": config,
    }  # fmt: skip
    if config["resume"]:
        utils.load_weights(
            G, D, state_dict, config["weights_root"], config["resume_name"] or experiment_name,
            config["load_weights"] or None, G_ema if config["ema"] else None, load_optim=not config["reset_optim"],
            strict=not config["reset_optim"], load_G_only=config["load_G_only"],
        )  # fmt: skip
    if config["parallel"]:
        GD = nn.DataParallel(GD)

    logs = f"{config['logs_root']}/{experiment_name}"
    test_log = utils.MetricsLogger(f"{logs}_log.jsonl", reinitialize=not config["resume"])
    train_log = utils.MyLogger(logs, reinitialize=not config["resume"], logstyle=config["logstyle"])
    utils.write_metadata(config["logs_root"], experiment_name, config, state_dict)
    D_batch_size = config["batch_size"] * config["num_D_steps"] * config["num_D_accumulations"]
    loaders = utils.get_data_loaders(**{**config, "batch_size": D_batch_size, "start_itr": state_dict["itr"]})
    get_inception_metrics = inception_tf.prepare_inception_metrics(config["dataset"], config["parallel"], config)
    G_batch_size = max(config["G_batch_size"], config["batch_size"])
    noise = {"device": device, "fp16": config["G_fp16"]}
    z_, y_ = utils.prepare_z_y(G_batch_size, G.dim_z, config["n_classes"], **noise)
    fixed_z, fixed_y = utils.prepare_z_y(G_batch_size, G.dim_z, config["n_classes"], **noise)
    fixed_z.sample_()
    fixed_y.sample_()
    if config["which_train_fn"] == "GAN":
        train = train_fns.GAN_training_function(G, D, GD, z_, y_, ema, state_dict, config)
    else:
        train = train_fns.dummy_training_function()
    which_G = G_ema if config["ema"] and config["use_ema"] else G
    sample = functools.partial(utils.sample, G=which_G, z_=z_, y_=y_, config=config)

    def save_and_test(save, test):
        if config["G_eval_mode"]:
            G.eval()
            if config["ema"]:
                G_ema.eval()
        if save:
            train_fns.save_and_sample(G, D, G_ema, z_, y_, fixed_z, fixed_y, state_dict, config, experiment_name)
        if test:
            train_fns.test(
                G, D, GD, G_ema, z_, y_, state_dict, config, sample, get_inception_metrics, experiment_name, test_log,
                acc_metrics, acc_itrs,
            )  # fmt: skip

    for _ in range(state_dict["epoch"], config["num_epochs"]):
        acc_metrics = {}
        for acc_itrs, (x, y) in enumerate(utils.progress(loaders[0], displaytype="eta"), 1):  # noqa: B007
            G.train()
            D.train()
            if config["ema"]:
                G_ema.train()
            metrics = train(x, y)
            train_log.log(itr=int(state_dict["itr"]), **metrics)
            acc_metrics = {key: acc_metrics.get(key, 0) + value for key, value in metrics.items()}
            if config["sv_log_interval"] > 0 and not state_dict["itr"] % config["sv_log_interval"]:
                train_log.log(itr=int(state_dict["itr"]), **utils.get_SVs(G, "G"), **utils.get_SVs(D, "D"))
            print(", ".join(f"{key} : {value:+4.3f}" for key, value in metrics.items()), end=" ")
            # Counted up only afterwards, so that both happen at iteration 0 too.
            save_and_test(not state_dict["itr"] % config["save_every"], not state_dict["itr"] % config["test_every"])
            state_dict["itr"] += 1
        if config["use_multiepoch_sampler"]:
            break
        state_dict["epoch"] += 1
    save_and_test(True, True)


def main():
    parser = utils.prepare_parser()
    config = vars(parser.parse_args())
    print(config)
    run(config)


if __name__ == "__main__":
    main()
