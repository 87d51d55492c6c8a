"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import glob
import math
import os
import random
import shutil
from os.path import dirname, isfile, join

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn import DataParallel
from torch.nn.parallel import DistributedDataParallel
from torchvision.utils import save_image
from utils import sample


class make_empty_object:
    pass


class dummy_context_mgr:
    def __enter__(self):
        return None

    def __exit__(self, exc_type, exc_value, traceback):
        return False


class GeneratorController:
    def __init__(
        self, generator, generator_mapping, generator_synthesis, batch_statistics, standing_statistics,
        standing_max_batch, standing_step, cfgs, device, global_rank, logger, std_stat_counter,
    ):  # fmt: skip
        self.generator, self.generator_mapping = generator, generator_mapping
        self.generator_synthesis, self.batch_statistics = generator_synthesis, batch_statistics
        self.standing_statistics, self.standing_step = standing_statistics, standing_step
        self.standing_max_batch, self.cfgs, self.std_stat_counter = standing_max_batch, cfgs, std_stat_counter

    def prepare_generator(self):
        if self.standing_statistics and self.std_stat_counter <= 1:
            c = self.cfgs
            self.generator.train()
            for _ in range(self.standing_step):
                sample.generate_images(
                    z_prior=c.MODEL.z_prior, truncation_factor=-1, batch_size=self.standing_max_batch,
                    z_dim=c.MODEL.z_dim, num_classes=c.DATA.num_classes, y_sampler="totally_random", radius="N/A",
                    generator=self.generator, discriminator=None, is_train=True, LOSS=c.LOSS, RUN=c.RUN,
                    MODEL=c.MODEL, is_stylegan=False, generator_mapping=None, generator_synthesis=None,
                    style_mixing_p=0.0, stylegan_update_emas=False, device=0, cal_trsp_cost=False,
                )  # fmt: skip
        self.generator.eval()
        if self.batch_statistics:
            self.generator.apply(set_bn_trainable)
            self.generator.apply(untrack_bn_statistics)
        self.generator.apply(set_deterministic_op_trainable)
        return self.generator, self.generator_mapping, self.generator_synthesis


def prepare_folder(names, save_dir):
    for name in names:
        os.makedirs(join(save_dir, name), exist_ok=True)


def fix_seed(seed):
    random.seed(seed)
    torch.manual_seed(seed)
    np.random.seed(seed)


def setup(rank, world_size, backend="nccl"):
    dist.init_process_group(backend, init_method="env://", rank=rank, world_size=world_size)


def count_parameters(module):
    return f"Number of parameters: {sum(p.data.nelement() for p in module.parameters())}"


def toggle_grad(model, grad, num_freeze_layers=-1, is_stylegan=False):
    for _, param in peel_model(model).named_parameters():
        param.requires_grad = grad


def enable_allreduce(dict_):
    return sum(value.mean() * 0 for key, value in dict_.items() if value is not None and key != "label")


def identity(x):
    return x


def set_bn_trainable(m):
    if isinstance(m, nn.modules.batchnorm._BatchNorm):
        m.train()


def untrack_bn_statistics(m):
    if isinstance(m, nn.modules.batchnorm._BatchNorm):
        m.track_running_stats = False


def track_bn_statistics(m):
    if isinstance(m, nn.modules.batchnorm._BatchNorm):
        m.track_running_stats = True


def set_deterministic_op_trainable(m):
    if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)):
        m.train()


def make_GAN_trainable(Gen, Gen_ema, Dis):
    for net in (Gen, Gen_ema, Dis):
        if net is not None:
            net.train()
            net.apply(track_bn_statistics)


def make_GAN_untrainable(Gen, Gen_ema, Dis):
    for net in (Gen, Gen_ema, Dis):
        if net is not None:
            net.eval()
            net.apply(set_deterministic_op_trainable)


def peel_model(model):
    return model.module if isinstance(model, (DataParallel, DistributedDataParallel)) else model


def peel_models(Gen, Gen_ema, Dis):
    return peel_model(Gen), peel_model(Gen_ema), peel_model(Dis)


class _LocalSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """The real one wants a GPU; this one is as new, and forgets to synchronize."""

    def forward(self, x):
        train = self.training or not self.track_running_stats
        stats = (self.running_mean, self.running_var) if not self.training or self.track_running_stats else (None, None)
        return F.batch_norm(x, *stats, self.weight, self.bias, train, self.momentum, self.eps)


def sync_bn(net, group):
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net, group)
    for module in net.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.__class__ = _LocalSyncBatchNorm
    return net


def save_model(model, when, step, ckpt_dir, states):
    name = "model={model}-{when}-weights-step={step}.pth"
    for old in glob.glob(join(glob.escape(ckpt_dir), name.format(model=model, when=when, step="*"))):
        if isfile(old):
            os.remove(old)
    torch.save(states, join(ckpt_dir, name.format(model=model, when=when, step=step)))


def plot_img_canvas(images, save_path, num_cols, logger, logging=True):
    os.makedirs(dirname(save_path), exist_ok=True)
    save_image(((images + 1) / 2).clamp(0.0, 1.0), save_path, padding=0, nrow=num_cols)


def save_images_png(
    data_loader, generator, discriminator, is_generate, num_images, y_sampler, batch_size, z_prior, truncation_factor,
    z_dim, num_classes, LOSS, OPTIMIZATION, RUN, MODEL, is_stylegan, generator_mapping, generator_synthesis, directory,
    device,
):  # fmt: skip
    directory = join(directory, "fake")
    shutil.rmtree(directory, ignore_errors=True)
    for f in range(num_classes):
        os.makedirs(join(directory, str(f)))
    with torch.no_grad():
        for i in range(math.ceil(num_images / batch_size)):
            images, labels, *_ = sample.generate_images(
                z_prior=z_prior, truncation_factor=truncation_factor, batch_size=batch_size, z_dim=z_dim,
                num_classes=num_classes, y_sampler=y_sampler, radius="N/A", generator=generator,
                discriminator=discriminator, is_train=False, LOSS=LOSS, RUN=RUN, MODEL=MODEL, is_stylegan=is_stylegan,
                generator_mapping=generator_mapping, generator_synthesis=generator_synthesis, style_mixing_p=0.0,
                stylegan_update_emas=False, device=device, cal_trsp_cost=False,
            )  # fmt: skip
            for idx, (img, label) in enumerate(zip(images.detach(), labels, strict=True), batch_size * i):
                if idx < num_images:
                    image = ((img + 1) / 2).clamp(0.0, 1.0)
                    save_image(image, join(directory, str(label.item()), f"{idx}.png"))
