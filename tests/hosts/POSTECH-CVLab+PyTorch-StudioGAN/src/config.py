"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import yaml
from torch import nn
from utils import diffaug, losses, misc, ops

NA = "N/A"
_DEFAULTS = {
    "DATA": {"name": "CIFAR10", "img_size": 32, "num_classes": 10, "img_channels": 3},
    "MODEL": {
        "backbone": "resnet", "g_cond_mtd": "W/O", "d_cond_mtd": "W/O", "aux_cls_type": "W/O",
        "normalize_d_embed": False, "d_embed_dim": NA, "apply_g_sn": False, "apply_d_sn": False, "g_act_fn": "ReLU",
        "d_act_fn": "ReLU", "apply_attn": False, "attn_g_loc": [NA], "attn_d_loc": [NA], "z_prior": "gaussian",
        "z_dim": 128, "w_dim": NA, "g_shared_dim": NA, "g_conv_dim": 64, "d_conv_dim": 64, "g_depth": NA,
        "d_depth": NA, "apply_g_ema": False, "g_ema_decay": NA, "g_ema_start": NA, "g_init": "ortho",
        "d_init": "ortho", "info_type": NA, "g_info_injection": NA,
    },
    "LOSS": {
        "adv_loss": "vanilla", "cond_lambda": NA, "mh_lambda": NA, "apply_fm": False, "fm_lambda": NA,
        "apply_r1_reg": False, "r1_place": NA, "r1_lambda": NA, "apply_gp": False, "gp_lambda": NA,
        "apply_lo": False, "apply_zcr": False, "radius": NA, "g_lambda": NA, "d_lambda": NA, "apply_topk": False,
        "lo_steps4train": NA, "lo_steps4eval": NA,
    },
    "OPTIMIZATION": {
        "type_": "Adam", "batch_size": 64, "acml_steps": 1, "g_lr": 0.0002, "d_lr": 0.0002, "g_weight_decay": 0.0,
        "d_weight_decay": 0.0, "momentum": NA, "nesterov": NA, "alpha": NA, "beta1": 0.5, "beta2": 0.999,
        "d_first": True, "g_updates_per_step": 1, "d_updates_per_step": 5, "total_steps": 100000,
    },
    "PRE": {"apply_rflip": True},
    "AUG": {
        "apply_diffaug": False, "apply_ada": False, "ada_initial_augment_p": NA, "ada_target": NA, "ada_kimg": NA,
        "ada_interval": NA, "ada_aug_type": "W/O", "apply_apa": False, "apa_initial_augment_p": NA,
        "diffaug_type": "W/O", "cr_aug_type": "W/O", "bcr_aug_type": "W/O",
    },
    "STYLEGAN": {
        "stylegan3_cfg": NA, "cond_type": ["PD", "SPD", "2C", "D2DCE"], "g_reg_interval": NA, "d_reg_interval": NA,
        "mapping_network": NA, "style_mixing_p": NA, "g_ema_kimg": NA, "g_ema_rampup": NA, "apply_pl_reg": False,
        "pl_weight": NA, "d_architecture": NA, "d_epilogue_mbstd_group_size": NA, "blur_init_sigma": NA,
    },
}  # fmt: skip


class Configurations:
    def __init__(self, cfg_file):
        self.cfg_file = cfg_file
        self.load_base_cfgs()
        self._overwrite_cfgs(self.cfg_file)
        self.define_modules()

    def load_base_cfgs(self):
        for section, values in _DEFAULTS.items():
            setattr(self, section, misc.make_empty_object())
            vars(getattr(self, section)).update({key: list(v) if type(v) is list else v for key, v in values.items()})
        self.RUN, self.MISC, self.MODULES = (misc.make_empty_object() for _ in range(3))
        self.MISC.base_folders = ["checkpoints", "figures", "logs", "moments", "samples", "values"]
        self.MISC.classifier_based_GAN = ["AC", "2C", "D2DCE"]
        self.super_cfgs = {
            "DATA": self.DATA, "MODEL": self.MODEL, "LOSS": self.LOSS, "OPTIMIZATION": self.OPTIMIZATION,
            "PRE": self.PRE, "AUG": self.AUG, "RUN": self.RUN, "STYLEGAN": self.STYLEGAN,
        }  # fmt: skip

    def update_cfgs(self, cfgs, super="RUN"):
        for attr, value in cfgs.items():
            setattr(self.super_cfgs[super], attr, value)

    def _overwrite_cfgs(self, cfg_file):
        with open(cfg_file) as f:
            yaml_cfg = yaml.load(f, Loader=yaml.FullLoader)
        for super_cfg_name, attr_value in yaml_cfg.items():
            for attr, value in attr_value.items():
                if not hasattr(self.super_cfgs[super_cfg_name], attr):
                    raise AttributeError(f"There is no '{super_cfg_name}.{attr}' in config.py.")
                setattr(self.super_cfgs[super_cfg_name], attr, value)

    def define_losses(self):
        if self.MODEL.d_cond_mtd == "MH" and self.LOSS.adv_loss == "MH":
            self.LOSS.g_loss = self.LOSS.d_loss = losses.crammer_singer_loss
        else:
            name = {"least_square": "ls"}.get(self.LOSS.adv_loss, self.LOSS.adv_loss)
            self.LOSS.g_loss = getattr(losses, f"g_{name}")
            self.LOSS.d_loss = getattr(losses, f"d_{name}")

    def define_modules(self):
        for part, spectral in (("g", self.MODEL.apply_g_sn), ("d", self.MODEL.apply_d_sn)):
            for name in ("conv2d", "deconv2d", "linear"):
                setattr(self.MODULES, f"{part}_{name}", getattr(ops, f"sn{name}" if spectral else name))
            setattr(self.MODULES, f"{part}_embedding", ops.sn_embedding if spectral else ops.embedding)
            # One object for all blocks, in place.
            act_fn = getattr(self.MODEL, f"{part}_act_fn")
            if act_fn == "ReLU":
                setattr(self.MODULES, f"{part}_act_fn", nn.ReLU(inplace=True))
            elif act_fn == "Leaky_ReLU":
                setattr(self.MODULES, f"{part}_act_fn", nn.LeakyReLU(negative_slope=0.1, inplace=True))
            elif act_fn != "Auto":
                raise NotImplementedError
        if self.MODEL.g_cond_mtd == "cBN" or self.MODEL.backbone == "big_resnet":
            self.MODULES.g_bn = ops.ConditionalBatchNorm2d
        elif self.MODEL.g_cond_mtd == "W/O":
            self.MODULES.g_bn = ops.batchnorm_2d
        elif self.MODEL.g_cond_mtd != "cAdaIN":
            raise NotImplementedError
        return self.MODULES

    def define_optimizer(self, Gen, Dis):
        o = self.OPTIMIZATION
        if o.type_ != "Adam":
            raise NotImplementedError
        ratio = {"g": 1, "d": 1}
        if self.MODEL.backbone in ["stylegan2", "stylegan3"]:
            intervals = {"g": self.STYLEGAN.g_reg_interval, "d": self.STYLEGAN.d_reg_interval}
            ratio = {part: n / (n + 1) if n != 1 else 1 for part, n in intervals.items()}
            o.g_lr, o.d_lr = o.g_lr * ratio["g"], o.d_lr * ratio["d"]
        eps = 1e-8 if self.MODEL.backbone in ["stylegan2", "stylegan3"] else 1e-6
        for part, net in (("g", Gen), ("d", Dis)):
            optimizer = torch.optim.Adam(
                params=[p for _, p in net.named_parameters()], lr=getattr(o, f"{part}_lr"), eps=eps,
                betas=[o.beta1 ** ratio[part], o.beta2 ** ratio[part]],
                weight_decay=getattr(o, f"{part}_weight_decay"),
            )  # fmt: skip
            setattr(o, f"{part}_optimizer", optimizer)

    def define_augments(self, device):
        self.AUG.series_augment = diffaug.apply_diffaug if self.AUG.apply_diffaug else misc.identity

    def check_compatability(self):
        for item in self.RUN.eval_metrics:
            assert item in ["is", "fid", "prdc", "none"], "-metrics option can only contain is, fid, prdc or none."
        if not self.RUN.train and self.RUN.eval_metrics != "none":
            assert self.RUN.ckpt_dir is not None, "Specify -ckpt CHECKPOINT_FOLDER to evaluate GAN without training."
        if self.OPTIMIZATION.world_size == 1:
            assert not self.RUN.distributed_data_parallel, "Cannot perform distributed training with a single gpu."
        if self.MODEL.backbone == "stylegan3":
            assert self.STYLEGAN.stylegan3_cfg in ["stylegan3-t", "stylegan3-r"]
        assert self.RUN.data_dir is not None or self.RUN.save_fake_images, "Please specify data_dir."
        assert self.OPTIMIZATION.batch_size % self.OPTIMIZATION.world_size == 0, "Batch_size over the number of gpus."
        assert self.RUN.save_freq % self.RUN.print_freq == 0, "RUN.save_freq should be divided by RUN.print_freq."
