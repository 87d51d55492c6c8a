"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text."""

import os

import losses
import torch
import utils


def dummy_training_function():
    def train(x, y):
        return {}

    return train


def GAN_training_function(G, D, GD, z_, y_, ema, state_dict, config):
    def train(x, y):
        G.optim.zero_grad()
        D.optim.zero_grad()
        x, y = torch.split(x, config["batch_size"]), torch.split(y, config["batch_size"])
        counter = 0
        if config["toggle_grads"]:
            utils.toggle_grad(D, True)
            utils.toggle_grad(G, False)
        for _ in range(config["num_D_steps"]):
            D.optim.zero_grad()
            for _ in range(config["num_D_accumulations"]):
                z_.sample_()
                y_.sample_()
                D_fake, D_real = GD(
                    z_[: config["batch_size"]], y_[: config["batch_size"]], x[counter], y[counter],
                    train_G=False, split_D=config["split_D"],
                )  # fmt: skip
                D_loss_real, D_loss_fake = losses.discriminator_loss(D_fake, D_real)
                ((D_loss_real + D_loss_fake) / float(config["num_D_accumulations"])).backward()
                counter += 1
            if config["D_ortho"] > 0.0:
                utils.ortho(D, config["D_ortho"])
            D.optim.step()
        if config["toggle_grads"]:
            utils.toggle_grad(D, False)
            utils.toggle_grad(G, True)
        G.optim.zero_grad()
        for _ in range(config["num_G_accumulations"]):
            z_.sample_()
            y_.sample_()
            D_fake = GD(z_, y_, train_G=True, split_D=config["split_D"])
            G_loss = losses.generator_loss(D_fake) / float(config["num_G_accumulations"])
            G_loss.backward()
        if config["G_ortho"] > 0.0:
            utils.ortho(G, config["G_ortho"], blacklist=list(G.shared.parameters()))
        G.optim.step()
        if config["ema"]:
            ema.update(state_dict["itr"])
        return {
            "G_loss": float(G_loss.item()),
            "D_loss_real": float(D_loss_real.item()),
            "D_loss_fake": float(D_loss_fake.item()),
        }

    return train


def save_and_sample(G, D, G_ema, z_, y_, fixed_z, fixed_y, state_dict, config, experiment_name):
    ema = G_ema if config["ema"] else None
    utils.save_weights(G, D, state_dict, config["weights_root"], experiment_name, None, ema)
    if config["num_save_copies"] > 0:
        suffix = f"copy{state_dict['save_num']}"
        utils.save_weights(G, D, state_dict, config["weights_root"], experiment_name, suffix, ema)
        state_dict["save_num"] = (state_dict["save_num"] + 1) % config["num_save_copies"]
    which_G = G_ema if config["ema"] and config["use_ema"] else G
    with torch.no_grad():
        fixed_Gz = which_G(fixed_z, which_G.shared(fixed_y))
    folder = f"{config['samples_root']}/{experiment_name}"
    os.makedirs(folder, exist_ok=True)
    utils.save_image(fixed_Gz.float().cpu(), f"{folder}/fixed_samples{state_dict['itr']}.jpg")
    roots = {"samples_root": config["samples_root"], "experiment_name": experiment_name}
    utils.sample_sheet(
        which_G, classes_per_sheet=utils.classes_per_sheet_dict[config["dataset"]], num_classes=config["n_classes"],
        samples_per_class=10, parallel=config["parallel"], folder_number=state_dict["itr"], z_=z_, **roots,
    )  # fmt: skip
    for fix_z, fix_y in [(False, False), (False, True), (True, False)]:
        utils.interp_sheet(
            which_G, num_per_sheet=16, num_midpoints=8, num_classes=config["n_classes"], parallel=config["parallel"],
            folder_number=state_dict["itr"], sheet_number=0, fix_z=fix_z, fix_y=fix_y, device="cpu", **roots,
        )  # fmt: skip


def test(G, D, G_ema, z_, y_, state_dict, config, sample, get_inception_metrics, experiment_name, test_log):
    IS_mean, IS_std, FID = get_inception_metrics(sample, config["num_inception_images"], num_splits=10)
    print(f"Itr {state_dict['itr']}: IS {IS_mean:.3f}, FID {FID:.4f}")
    better = {"IS": IS_mean > state_dict["best_IS"], "FID": state_dict["best_FID"] > FID}
    if better[config["which_best"]]:
        utils.save_weights(
            G, D, state_dict, config["weights_root"], experiment_name, f"best{state_dict['save_best_num']}",
            G_ema if config["ema"] else None,
        )  # fmt: skip
        state_dict["save_best_num"] = (state_dict["save_best_num"] + 1) % config["num_best_copies"]
    state_dict["best_IS"] = max(state_dict["best_IS"], IS_mean)
    state_dict["best_FID"] = min(state_dict["best_FID"], FID)
    test_log.log(itr=int(state_dict["itr"]), IS_mean=float(IS_mean), IS_std=float(IS_std), FID=float(FID))
