"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import json
import os
import tempfile

import click
import dnnlib
import torch
from torch_utils import training_stats
from training import training_loop


class UserError(Exception):
    pass


def setup_training_loop_kwargs(
    gpus=None, snap=None, metrics=None, seed=None, data=None, cond=None, subset=None, mirror=None, cfg=None, gamma=None,
    kimg=None, batch=None, diffaugment=None, aug=None, p=None, target=None, augpipe=None, resume=None, freezed=None,
    fp32=None, nhwc=None, allow_tf32=None, nobench=None, workers=None,
):  # fmt: skip
    args = dnnlib.EasyDict(num_gpus=gpus or 1, metrics=metrics or [], random_seed=seed or 0)
    args.training_set_kwargs = dnnlib.EasyDict(
        class_name="training.dataset.ImageFolderDataset",
        path=data,
        use_labels=bool(cond),
        max_size=None,
        xflip=bool(mirror),
    )
    args.data_loader_kwargs = dnnlib.EasyDict(pin_memory=True, num_workers=3, prefetch_factor=2)
    cfg = cfg or "low_shot"
    args.G_kwargs = dnnlib.EasyDict(
        class_name="training.networks.Generator", z_dim=16, w_dim=16, mapping_kwargs=dnnlib.EasyDict(num_layers=2),
        synthesis_kwargs=dnnlib.EasyDict(channel_base=512, channel_max=16, num_fp16_res=0, conv_clamp=256),
    )  # fmt: skip
    args.D_kwargs = dnnlib.EasyDict(
        class_name="training.networks.Discriminator", channel_base=512, channel_max=16, num_fp16_res=0,
        block_kwargs=dnnlib.EasyDict(), mapping_kwargs=dnnlib.EasyDict(), epilogue_kwargs=dnnlib.EasyDict(),
    )  # fmt: skip
    opt = {"class_name": "torch.optim.Adam", "lr": 0.0025, "betas": [0, 0.99], "eps": 1e-8}
    args.G_opt_kwargs, args.D_opt_kwargs = dnnlib.EasyDict(opt), dnnlib.EasyDict(opt)
    args.loss_kwargs = dnnlib.EasyDict(
        class_name="training.loss.StyleGAN2Loss", r1_gamma=10 if gamma is None else gamma
    )
    if cfg == "cifar":
        args.loss_kwargs.update(pl_weight=0, style_mixing_prob=0)
    args.total_kimg, args.batch_size = kimg or 1, batch or 256
    args.batch_gpu = args.batch_size // args.num_gpus
    args.ema_kimg, args.ema_rampup = 10, None
    args.loss_kwargs.diffaugment = "color,translation,cutout" if diffaugment is None else diffaugment
    if resume not in (None, "noresume"):
        args.resume_pkl = resume
    return cfg, args


def subprocess_fn(rank, args, temp_dir):
    if args.num_gpus > 1:
        init_method = f"file://{os.path.abspath(os.path.join(temp_dir, '.torch_distributed_init'))}"
        torch.distributed.init_process_group(
            backend="gloo", init_method=init_method, rank=rank, world_size=args.num_gpus
        )
    training_stats.init_multiprocessing(rank=rank, sync_device=None)
    training_loop.training_loop(rank=rank, **args)


def _metrics(ctx, param, value):
    return [] if value in (None, "", "none") else value.split(",")


@click.command()
@click.pass_context
@click.option("--outdir", required=True)
@click.option("--gpus", type=int)
@click.option("--snap", type=int)
@click.option("--metrics", callback=_metrics)
@click.option("--seed", type=int)
@click.option("-n", "--dry-run", is_flag=True)
@click.option("--data", required=True)
@click.option("--cond", type=bool)
@click.option("--subset", type=int)
@click.option("--mirror", type=bool)
@click.option("--cfg", type=click.Choice(["low_shot", "auto", "stylegan2", "paper256", "cifar"]))
@click.option("--gamma", type=float)
@click.option("--kimg", type=int)
@click.option("--batch", type=int)
@click.option("--DiffAugment", type=str)
@click.option("--resume")
@click.option("--workers", type=int)
def main(ctx, outdir, dry_run, **config_kwargs):
    try:
        run_desc, args = setup_training_loop_kwargs(**config_kwargs)
    except UserError as err:
        ctx.fail(err)
    os.makedirs(outdir, exist_ok=True)
    args.run_dir = os.path.join(outdir, f"{len(os.listdir(outdir)):05d}-{run_desc}")
    print(json.dumps(args, indent=2))
    if dry_run:
        return
    os.makedirs(args.run_dir)
    with open(os.path.join(args.run_dir, "training_options.json"), "w") as f:
        json.dump(args, f, indent=2)
    torch.multiprocessing.set_start_method("spawn")
    with tempfile.TemporaryDirectory() as temp_dir:
        if args.num_gpus == 1:
            subprocess_fn(rank=0, args=args, temp_dir=temp_dir)
        else:
            torch.multiprocessing.spawn(fn=subprocess_fn, args=(args, temp_dir), nprocs=args.num_gpus)


if __name__ == "__main__":
    main()
