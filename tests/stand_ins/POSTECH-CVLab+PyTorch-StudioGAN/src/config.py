"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

from functools import partial
from types import SimpleNamespace

import yaml
from torch import nn, optim
from utils import losses, ops

DEFAULTS = """
DATA: {name: CIFAR10, img_size: 32, num_classes: 10}
MODEL: {backbone: resnet, g_cond_mtd: W/O, d_cond_mtd: W/O, apply_g_sn: false, apply_d_sn: false, apply_attn: false,
  attn_g_loc: [], g_act_fn: ReLU, d_act_fn: ReLU, z_dim: 16, w_dim: 16, g_shared_dim: 16, g_conv_dim: 4, d_conv_dim: 4,
  g_depth: 2, g_init: ortho, d_init: ortho, apply_g_ema: false, g_ema_decay: N/A, g_ema_start: N/A}
LOSS: {adv_loss: vanilla, mh_lambda: N/A}
OPTIMIZATION: {batch_size: 8, acml_steps: 1, g_lr: 0.0002, d_lr: 0.0002, beta1: 0.5, beta2: 0.999, d_first: true,
  d_updates_per_step: 2, total_steps: 2}
STYLEGAN: {stylegan3_cfg: N/A, mapping_network: 2, apply_pl_reg: false, pl_weight: N/A, g_reg_interval: 1,
  g_ema_kimg: 500, g_ema_rampup: 0.05}
RUN: {}
"""


class Configurations:
    def __init__(self, cfg_file):
        self.load_base_cfgs()
        self._overwrite_cfgs(cfg_file)
        self.define_modules()

    def load_base_cfgs(self):
        usual = yaml.safe_load(DEFAULTS)
        self.super_cfgs = {title: SimpleNamespace(**entries) for title, entries in usual.items()}
        vars(self).update(self.super_cfgs)
        self.MODULES = SimpleNamespace()

    def _overwrite_cfgs(self, cfg_file):
        """A title that nobody knows is a KeyError, a key that nobody knows an AttributeError."""
        with open(cfg_file) as stream:
            given = yaml.safe_load(stream)
        for title, entries in given.items():
            section = vars(self.super_cfgs[title])
            if strange := entries.keys() - section.keys():
                raise AttributeError(f"{cfg_file}: {title} has no {sorted(strange)}")
            section.update(entries)

    def update_cfgs(self, cfgs, super="RUN"):
        vars(self.super_cfgs[super]).update(cfgs)

    def define_modules(self):
        """Layers by their kind; one activation, in place, for all blocks of a network."""
        model, made = vars(self.MODEL), vars(self.MODULES)
        for player in "gd":
            layers = {kind: partial(ops.layer, kind, model[f"apply_{player}_sn"]) for kind in ops.LAYERS}
            layers["act_fn"] = nn.ReLU(True) if model[f"{player}_act_fn"] == "ReLU" else nn.LeakyReLU(0.1, True)
            made.update({f"{player}_{kind}": layer for kind, layer in layers.items()})
        made["g_bn"] = ops.ConditionalBatchNorm2d

    def define_losses(self):
        kind = self.LOSS.adv_loss
        both = [losses.crammer_singer_loss] * 2 if kind == "MH" else losses.players(kind)
        self.LOSS.d_loss, self.LOSS.g_loss = both

    def define_optimizer(self, Gen, Dis):
        chosen = vars(self.OPTIMIZATION)
        betas = chosen["beta1"], chosen["beta2"]
        for player, network in zip("gd", (Gen, Dis), strict=True):
            chosen[f"{player}_optimizer"] = optim.Adam(network.parameters(), chosen[f"{player}_lr"], betas)

    def check_compatability(self):
        if self.OPTIMIZATION.batch_size % self.OPTIMIZATION.world_size:
            raise ValueError("every process wants the same share of a batch")
        return self
