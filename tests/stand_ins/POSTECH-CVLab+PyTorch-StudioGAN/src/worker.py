"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import os

import numpy as np
import torch
from torchvision.utils import save_image
from utils import ckpt, losses, misc, sample


class WORKER:
    def __init__(self, cfgs, players, ema, batches, global_rank, state):
        cfgs.define_losses()
        vars(self).update(cfgs.super_cfgs)
        vars(self).update(players)
        self.ema, self.batches, self.global_rank, self.state = ema, batches, global_rank, state
        self.mixed = self.RUN.mixed_precision and self.Gen_mapping is None
        self.scaler = torch.amp.GradScaler("cpu", enabled=self.mixed)

    def fakes(self, source="Gen", batch_size=None, **more):
        """Images by a generator, or by its two halves where it has them; the labels they were made for; and w."""
        halves = [getattr(self, f"{source}_{half}") for half in ("mapping", "synthesis")]
        return sample.generate_images(
            generator=getattr(self, source), generator_mapping=halves[0], generator_synthesis=halves[1],
            batch_size=batch_size or self.OPTIMIZATION.batch_size, z_dim=self.MODEL.z_dim,
            num_classes=self.DATA.num_classes, **more,
        )  # fmt: skip

    def begin(self, learning, resting):
        """Everybody in training mode, and one player's parameters frozen."""
        misc.set_mode(self.Gen, self.Gen_ema, self.Dis, training=True)
        for network in (learning, resting):
            misc.toggle_grad(network, grad=network is learning)

    def accumulate(self, optimizer, compute):
        """One step of optimizer, by the gradients of several batches."""
        optimizer.zero_grad()
        parts = self.OPTIMIZATION.acml_steps
        for _ in range(parts):
            with torch.autocast("cpu", enabled=self.mixed):
                loss = compute() / parts
            self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()
        return loss

    def train_discriminator(self, current_step):
        self.begin(self.Dis, resting=self.Gen)
        for _ in range(self.OPTIMIZATION.d_updates_per_step):
            loss = self.accumulate(self.OPTIMIZATION.d_optimizer, self.judge)
        return loss

    def judge(self):
        # Fakes are made with gradients on, of a generator whose parameters want none, and are not detached.
        images, labels, _ = self.fakes(update_emas=True)
        pair = self.Dis(*next(self.batches)), self.Dis(images, labels)
        settings = {"DDP": self.RUN.distributed_data_parallel}
        if self.LOSS.adv_loss != "MH":
            return self.LOSS.d_loss(*(verdict["adv_output"] for verdict in pair), **settings)
        pair[1]["label"] = torch.full_like(labels, self.DATA.num_classes)
        return sum(self.LOSS.d_loss(**settings, **verdict) for verdict in pair)

    def train_generator(self, current_step):
        self.begin(self.Gen, resting=self.Dis)
        optimizer = self.OPTIMIZATION.g_optimizer
        loss = self.accumulate(optimizer, self.fool)
        if self.STYLEGAN.apply_pl_reg and current_step % self.STYLEGAN.g_reg_interval == 0:
            self.accumulate(optimizer, self.smooth)
        if self.ema is not None:
            self.ema.update(current_step)
        return loss

    def fool(self):
        images, labels, _ = self.fakes()
        fake_dict, ddp = self.Dis(images, labels), self.RUN.distributed_data_parallel
        if self.LOSS.adv_loss != "MH":
            return self.LOSS.g_loss(fake_dict["adv_output"], DDP=ddp)
        return self.LOSS.g_loss(DDP=ddp, **fake_dict) * self.LOSS.mh_lambda

    def smooth(self):
        """For a second step of the same optimizer: half a batch, gradients of gradients, and no g_loss."""
        images, _, ws = self.fakes(batch_size=self.OPTIMIZATION.batch_size // 2)
        return losses.path_length(images, ws) * self.STYLEGAN.pl_weight * self.STYLEGAN.g_reg_interval

    @torch.no_grad()
    def show(self):
        """A batch of the generator that is kept, and the labels."""
        misc.set_mode(self.Gen, self.Gen_ema, self.Dis, training=False)
        return self.fakes("Gen" if self.Gen_ema is None else "Gen_ema")[:2]

    def evaluate(self, step, metrics):
        if "fid" not in metrics:
            return False
        score = np.float64(self.show()[0].mean().abs().item())  # no FID, and a number of its type
        if better := self.state["best_fid"] is None or score <= self.state["best_fid"]:
            self.state.update(best_fid=score, best_step=step)
        return better

    def save(self, step, is_best):
        self.state["step"] = step
        content = {"G": {}, "D": {"state": self.state}, "G_ema": {}}
        for (name, entry), network in zip(content.items(), (self.Gen, self.Dis, self.Gen_ema), strict=True):
            if network is None:
                continue
            entry["state_dict"] = misc.peel_model(network).state_dict()
            if optimizer := getattr(self.OPTIMIZATION, f"{name.lower()}_optimizer", None):
                entry["optimizer"] = optimizer.state_dict()
            for when in ("current", "best")[: 1 + is_best]:
                ckpt.save(self.RUN.ckpt_dir, name, when, step, entry)

    def save_fake_images(self, num_images):
        folder, made = os.path.join(self.RUN.save_dir, "samples", self.state["run_name"], "fake"), 0
        while made < num_images:
            for image, label in zip(*self.show(), strict=True):
                os.makedirs(f"{folder}/{label}", exist_ok=True)
                if made < num_images:
                    save_image(image, f"{folder}/{label}/{made}.png", normalize=True, value_range=(-1, 1))
                made += 1
