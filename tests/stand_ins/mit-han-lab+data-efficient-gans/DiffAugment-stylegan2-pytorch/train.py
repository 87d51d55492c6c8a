"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import tempfile

import click
from dnnlib import EasyDict
from training import training_loop

PATH_LENGTHS = {"auto": 2, "cifar": 0}


def setup_training_loop_kwargs(data, cond, cfg, batch, metrics):
    adam = EasyDict(class_name="torch.optim.Adam", lr=0.002, betas=(0.0, 0.99))
    parts = {
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", path=data, use_labels=cond),
        "G_kwargs": EasyDict(class_name="training.networks.Generator", synthesis_kwargs=EasyDict()),
        "D_kwargs": EasyDict(class_name="training.networks.Discriminator", epilogue_kwargs=EasyDict()),
        "loss_kwargs": EasyDict(
            class_name="training.loss.StyleGAN2Loss",
            r1_gamma=0.01 if cfg == "cifar" else 1,
            pl_weight=PATH_LENGTHS[cfg],
        ),
    }
    return cfg, EasyDict(parts, batch_size=batch, G_opt_kwargs=adam, D_opt_kwargs=adam)


def subprocess_fn(rank, args, temp_dir):
    training_loop.training_loop(**args, rank=rank)


@click.command()
@click.option("--outdir")
@click.option("--dry-run", is_flag=True)
@click.option("--data")
@click.option("--cond", type=bool)
@click.option("--cfg", type=click.Choice(sorted(PATH_LENGTHS)), default="auto")
@click.option("--batch", type=int)
@click.option("--metrics")
def main(outdir, dry_run, **given):
    name, args = setup_training_loop_kwargs(**given)
    args.update(run_dir=tempfile.mkdtemp("", name, outdir))
    if not dry_run:
        subprocess_fn(0, args, outdir)
