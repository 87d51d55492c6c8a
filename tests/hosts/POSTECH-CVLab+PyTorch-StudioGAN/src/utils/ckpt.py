"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import glob
import os
from os.path import join

import torch
from utils import log, misc


def make_ckpt_dir(ckpt_dir):
    os.makedirs(ckpt_dir, exist_ok=True)
    return ckpt_dir


def load_ckpt(model, optimizer, ckpt_path, load_model=False, load_opt=False, load_misc=False, is_freezeD=False):
    # Refused by torch >= 2.6 once best_fid is a numpy number, unless TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD says otherwise.
    ckpt = torch.load(ckpt_path, map_location=lambda storage, loc: storage)
    if load_model:
        model.load_state_dict(ckpt["state_dict"], strict=True)
    if load_opt:
        optimizer.load_state_dict(ckpt["optimizer"])
    if load_misc:
        keys = ("seed", "run_name", "step", "epoch", "topk", "aa_p", "best_step", "best_fid", "best_fid_ckpt")
        return (*(ckpt[key] for key in keys), ckpt["lecam_emas"])


def _find(ckpt_dir, model, when):
    return glob.glob(join(glob.escape(ckpt_dir), f"model={model}-{when}-weights-step=*.pth"))[0]


def load_StudioGAN_ckpts(
    ckpt_dir, load_best, Gen, Dis, g_optimizer, d_optimizer, run_name, apply_g_ema, Gen_ema, ema, is_train, RUN, logger,
    global_rank, device, cfg_file,
):  # fmt: skip
    when = "best" if load_best is True else "current"
    load_ckpt(
        model=Gen, optimizer=g_optimizer, ckpt_path=_find(ckpt_dir, "G", when), load_model=True,
        load_opt=bool(is_train), load_misc=False, is_freezeD=False,
    )  # fmt: skip
    seed, prev_run_name, step, epoch, topk, aa_p, best_step, best_fid, best_ckpt_path, lecam_emas = load_ckpt(
        model=Dis, optimizer=d_optimizer, ckpt_path=_find(ckpt_dir, "D", when), load_model=True,
        load_opt=bool(is_train), load_misc=True, is_freezeD=False,
    )  # fmt: skip
    if apply_g_ema:
        load_ckpt(
            model=Gen_ema, optimizer=None, ckpt_path=_find(ckpt_dir, "G_ema", when), load_model=True, load_opt=False,
            load_misc=False, is_freezeD=False,
        )  # fmt: skip
        ema.source, ema.target = Gen, Gen_ema
    if is_train and RUN.seed != seed:
        RUN.seed = seed + global_rank
        misc.fix_seed(RUN.seed)
    if device == 0:
        logger = log.make_logger(RUN.save_dir, prev_run_name, None)
        logger.info(f"Generator checkpoint is {_find(ckpt_dir, 'G', when)}")
    return prev_run_name, step, epoch, topk, aa_p, best_step, best_fid, best_ckpt_path, lecam_emas, logger


def load_best_model(ckpt_dir, Gen, Dis, apply_g_ema, Gen_ema, ema):
    # The last two change places on the way in, and back on the way out.
    Gen, Dis, Gen_ema = misc.peel_models(Gen, Dis, Gen_ema)
    load_ckpt(model=Gen, optimizer=None, ckpt_path=_find(ckpt_dir, "G", "best"), load_model=True)
    best_step = load_ckpt(
        model=Dis, optimizer=None, ckpt_path=_find(ckpt_dir, "D", "best"), load_model=True, load_misc=True
    )[6]
    if apply_g_ema:
        load_ckpt(model=Gen_ema, optimizer=None, ckpt_path=_find(ckpt_dir, "G_ema", "best"), load_model=True)
        ema.source, ema.target = Gen, Gen_ema
    return best_step
