"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import glob
import os

import torch


def _pattern(folder, model, when, step="*"):
    return os.path.join(folder, f"model={model}-{when}-weights-step={step}.pth")


def save(folder, model, when, step, content):
    """In place of the one before."""
    for old in glob.glob(_pattern(folder, model, when)):
        os.unlink(old)
    torch.save(content, _pattern(folder, model, when, step))


def load_ckpt(model, optimizer, ckpt_path):
    """Strictly. torch 2.6 and newer refuse a file with a numpy number in it, as best_fid is."""
    content = torch.load(ckpt_path, map_location="cpu")
    model.load_state_dict(content["state_dict"])
    if optimizer is not None:
        optimizer.load_state_dict(content["optimizer"])
    return content.get("state")


def load_StudioGAN_ckpts(ckpt_dir, Gen, Dis, Gen_ema, optimization, when="current"):
    """Into what is there, and into the optimizers where optimization holds them; returns how far the run had come."""
    state = None
    for name, network in {"G": Gen, "D": Dis, "G_ema": Gen_ema}.items():
        if network is not None:
            (path,) = glob.glob(_pattern(ckpt_dir, name, when))
            state = load_ckpt(network, getattr(optimization, f"{name.lower()}_optimizer", None), path) or state
    return state


def load_best_model(ckpt_dir, Gen, Dis, Gen_ema):
    return load_StudioGAN_ckpts(ckpt_dir, Gen, Dis, Gen_ema, None, when="best")["best_step"]
