"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import os
import time
from argparse import ArgumentParser
from pathlib import Path

import config
import loader
from torch.multiprocessing import spawn

FLAGS = ("-t --train", "-DDP --distributed_data_parallel", "-mpc --mixed_precision", "-sf --save_fake_images")
VALUES = {
    "-cfg --cfg_file": "configs/CIFAR10/SNGAN.yaml", "-data --data_dir": "", "-save --save_dir": ".",
    "-ckpt --ckpt_dir": "", "-sf_num --save_fake_images_num": 1, "--seed": 0, "--backend": "nccl", "--num_workers": 1,
    "--print_freq": 100, "--save_freq": 1000,
}  # fmt: skip


def load_configs_initialize_training():
    cli = ArgumentParser()
    cli.add_argument("-metrics", "--eval_metrics", nargs="+", default=["none"])
    for names in FLAGS:
        cli.add_argument(*names.split(), action="store_true")
    for names, usual in VALUES.items():
        cli.add_argument(*names.split(), default=usual, type=type(usual))
    given = cli.parse_args()

    cfgs = config.Configurations(given.cfg_file)
    cfgs.update_cfgs(vars(given), super="RUN")
    gpus = int(os.environ.get("STANDIN_GPUS", 1))  # the real one asks torch.cuda
    cfgs.update_cfgs({"world_size": gpus}, super="OPTIMIZATION")
    run_name = f"{cfgs.DATA.name}-{Path(given.cfg_file).stem}-train-{time.strftime('%Y_%m_%d_%H_%M_%S')}"
    return cfgs.check_compatability(), gpus, run_name, None, 0


def run():
    cfgs, gpus, *names, rank = load_configs_initialize_training()
    if gpus > 1 and cfgs.RUN.distributed_data_parallel:
        spawn(loader.load_worker, (cfgs, gpus, *names), nprocs=gpus)
    else:
        loader.load_worker(rank, cfgs, gpus, *names)


if __name__ == "__main__":
    run()
