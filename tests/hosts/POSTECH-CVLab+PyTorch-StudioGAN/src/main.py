"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import os
import random
import sys
from argparse import ArgumentParser

import config
import loader
import torch
import torch.multiprocessing as mp
from utils import log, misc

RUN_NAME_FORMAT = "{data_name}-{framework}-{phase}-{timestamp}"


def load_configs_initialize_training():
    parser = ArgumentParser(add_help=True)
    parser.add_argument("-cfg", "--cfg_file", type=str, default="./src/configs/CIFAR10/SNGAN.yaml")
    parser.add_argument("-data", "--data_dir", type=str, default=None)
    parser.add_argument("-save", "--save_dir", type=str, default="./")
    parser.add_argument("-ckpt", "--ckpt_dir", type=str, default=None)
    parser.add_argument("-best", "--load_best", action="store_true")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("-DDP", "--distributed_data_parallel", action="store_true")
    parser.add_argument("--backend", type=str, default="nccl")
    parser.add_argument("-tn", "--total_nodes", default=1, type=int)
    parser.add_argument("-cn", "--current_node", default=0, type=int)
    parser.add_argument("--num_workers", type=int, default=8)
    parser.add_argument("-sync_bn", "--synchronized_bn", action="store_true")
    parser.add_argument("-mpc", "--mixed_precision", action="store_true")
    parser.add_argument("--truncation_factor", type=float, default=-1.0)
    parser.add_argument("--truncation_cutoff", type=float, default=None)
    parser.add_argument("-batch_stat", "--batch_statistics", action="store_true")
    parser.add_argument("-std_stat", "--standing_statistics", action="store_true")
    parser.add_argument("-std_max", "--standing_max_batch", type=int, default=-1)
    parser.add_argument("-std_step", "--standing_step", type=int, default=-1)
    parser.add_argument("--freezeD", type=int, default=-1)
    parser.add_argument("-t", "--train", action="store_true")
    parser.add_argument("-l", "--load_data_in_memory", action="store_true")
    parser.add_argument("-metrics", "--eval_metrics", nargs="+", default=["fid"])
    parser.add_argument("-sf", "--save_fake_images", action="store_true")
    parser.add_argument("-sf_num", "--save_fake_images_num", type=int, default=1)
    parser.add_argument("-v", "--vis_fake_images", action="store_true")
    parser.add_argument("--print_freq", type=int, default=100)
    parser.add_argument("--save_freq", type=int, default=2000)
    parser.add_argument("-ref", "--ref_dataset", type=str, default="train")
    args = parser.parse_args()
    run_cfgs = vars(args)
    if not args.train and "none" in args.eval_metrics and not args.save_fake_images and not args.vis_fake_images:
        parser.print_help(sys.stderr)
        sys.exit(1)

    gpus_per_node, rank = int(os.environ.get("STANDIN_GPUS", "1")), 0  # the real one asks torch.cuda

    cfgs = config.Configurations(args.cfg_file)
    cfgs.update_cfgs(run_cfgs, super="RUN")
    cfgs.OPTIMIZATION.world_size = gpus_per_node * cfgs.RUN.total_nodes
    cfgs.check_compatability()
    run_name = log.make_run_name(
        RUN_NAME_FORMAT, data_name=cfgs.DATA.name, framework=cfgs.RUN.cfg_file.split("/")[-1][:-5], phase="train"
    )
    cfgs.PRE.crop_long_edge, cfgs.PRE.resize_size = False, None
    misc.prepare_folder(names=cfgs.MISC.base_folders, save_dir=cfgs.RUN.save_dir)
    cfgs.RUN.fix_seed = cfgs.RUN.seed != -1
    if not cfgs.RUN.fix_seed:
        cfgs.RUN.seed = random.randint(1, 4096)
    return cfgs, gpus_per_node, run_name, None, rank


if __name__ == "__main__":
    cfgs, gpus_per_node, run_name, hdf5_path, rank = load_configs_initialize_training()
    if cfgs.RUN.distributed_data_parallel and cfgs.OPTIMIZATION.world_size > 1:
        mp.set_start_method("spawn", force=True)
        ctx = torch.multiprocessing.spawn(
            fn=loader.load_worker, args=(cfgs, gpus_per_node, run_name, hdf5_path), nprocs=gpus_per_node, join=False
        )
        ctx.join()
        for process in ctx.processes:
            process.kill()
    else:
        loader.load_worker(
            local_rank=rank, cfgs=cfgs, gpus_per_node=gpus_per_node, run_name=run_name, hdf5_path=hdf5_path
        )
