"""Three generator steps of BigGAN-PyTorch or DiffAugment-biggan-cifar by their own train.py, or DRIVE_MODE=sample.

    DRIVE_REPORT=report.json python drive_biggan.py ROOT [the host's own flags]

Sampling runs the host's own sample.py; where there is none, its eval.py, by default on weights/drive/G_ema.pth.
"""

import importlib
import sys
from pathlib import Path

import drive_common as drive
import torch

root, argv = drive.start(
    "--dataset", "C10", "--num_workers", 0, "--batch_size", 4, "--num_epochs", 1, "--G_ch", 4, "--D_ch", 4,
    "--G_attn", 0, "--D_attn", 0, "--G_init", "N02", "--D_init", "N02", "--G_lr", 2e-4, "--D_lr", 2e-4, "--ema",
    "--use_ema", "--ema_decay", 0.5, "--save_every", drive.STEPS, "--test_every", 1000,
    "--num_inception_images", 8, "--experiment_name", "drive",
)  # fmt: skip
diffaug = (Path(root) / "eval.py").exists()
if diffaug:
    argv = ["--network=weights/drive/G_ema.pth", *argv]
entry = ("eval" if diffaug else "sample") if drive.SAMPLING else "train"
if entry == "sample":
    argv = ["--sample_inception_metrics", *argv]
drive.no_cuda()
probe = drive.Probe()
sampled, losses, training_calls, seen = [], [], [], {}


def prepare_inception_metrics(dataset, parallel, config=None):
    def get_inception_metrics(sample, num_inception_images, num_splits=10, **how):
        count = 0
        while count < num_inception_images:
            images, _ = sample()
            sampled.append(drive.plain(images))
            count += len(images)
        return 1.0, 0.1, 100.0

    return get_inception_metrics


metrics = "inception_tf" if diffaug else "inception_utils"
drive.module(metrics, prepare_inception_metrics=prepare_inception_metrics)
sys.argv = [f"{entry}.py", *argv]

import torchvision  # noqa: E402
import utils  # noqa: E402

torchvision.utils.save_image = lambda *args, **kwargs: None  # fails on a Distribution


def get_data_loaders(batch_size=64, **how):
    source = torch.Generator().manual_seed(1)
    batch = lambda: (torch.rand(batch_size, 3, 32, 32, generator=source) * 2 - 1, torch.arange(batch_size) % 10)  # noqa: E731
    return [[batch() for _ in range(drive.STEPS)]]


utils.get_data_loaders = get_data_loaders
if entry == "train":
    import train_fns

    original = train_fns.GAN_training_function

    def GAN_training_function(G, D, GD, z_, y_, ema, state_dict, config):
        seen.update(G=G, ema=None if ema is None else ema.target)
        train = original(G, D, GD, z_, y_, ema, state_dict, config)

        def noting(x, y):
            before = len(probe.calls)
            metrics = train(x, y)
            losses.append(metrics["G_loss"])
            training_calls.append(len(probe.calls) - before)
            return metrics

        return noting

    train_fns.GAN_training_function = GAN_training_function
importlib.import_module(entry).main()
drive.write(
    host=root, entry=entry, losses=losses, training_calls=training_calls, generator=drive.digest(seen.get("G")),
    ema=drive.digest(seen.get("ema")), images=drive.digest(sampled) if sampled else None, **probe.report(),
)  # fmt: skip
