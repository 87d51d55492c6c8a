"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import numpy as np
import torch
from DiffAugment_pytorch import DiffAugment
from torch_utils import misc, training_stats


class Loss:
    def accumulate_gradients(self, phase, real_img, real_c, gen_z, gen_c, sync, gain):
        raise NotImplementedError()


class StyleGAN2Loss(Loss):
    def __init__(
        self, device, G_mapping, G_synthesis, D, diffaugment="", augment_pipe=None, style_mixing_prob=0.9, r1_gamma=10,
        pl_batch_shrink=2, pl_decay=0.01, pl_weight=2,
    ):  # fmt: skip
        super().__init__()
        self.device, self.G_mapping, self.G_synthesis, self.D = device, G_mapping, G_synthesis, D
        self.diffaugment, self.augment_pipe, self.style_mixing_prob = diffaugment, augment_pipe, style_mixing_prob
        self.r1_gamma, self.pl_batch_shrink, self.pl_decay = r1_gamma, pl_batch_shrink, pl_decay
        self.pl_weight, self.pl_mean = pl_weight, torch.zeros([], device=device)

    def run_G(self, z, c, sync):
        with misc.ddp_sync(self.G_mapping, sync):
            ws = self.G_mapping(z, c)
            if self.style_mixing_prob > 0:
                cutoff = int(torch.randint(1, ws.shape[1], ()))
                cutoff = cutoff if torch.rand(()) < self.style_mixing_prob else ws.shape[1]
                ws[:, cutoff:] = self.G_mapping(torch.randn_like(z), c, skip_w_avg_update=True)[:, cutoff:]
        with misc.ddp_sync(self.G_synthesis, sync):
            return self.G_synthesis(ws), ws

    def run_D(self, img, c, sync):
        img = DiffAugment(img, policy=self.diffaugment) if self.diffaugment else img
        with misc.ddp_sync(self.D, sync):
            return self.D(img, c)

    def accumulate_gradients(self, phase, real_img, real_c, gen_z, gen_c, sync, gain):
        assert phase in ["Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth"]
        do_Gmain, do_Dmain = phase in ["Gmain", "Gboth"], phase in ["Dmain", "Dboth"]
        do_Gpl = phase in ["Greg", "Gboth"] and self.pl_weight != 0
        do_Dr1 = phase in ["Dreg", "Dboth"] and self.r1_gamma != 0
        softplus = torch.nn.functional.softplus
        if do_Gmain:
            gen_img, _ = self.run_G(gen_z, gen_c, sync=sync and not do_Gpl)
            loss_Gmain = softplus(-self.run_D(gen_img, gen_c, sync=False))
            training_stats.report("Loss/G/loss", loss_Gmain)
            loss_Gmain.mean().mul(gain).backward()
        if do_Gpl:
            batch_size = gen_z.shape[0] // self.pl_batch_shrink
            gen_img, gen_ws = self.run_G(gen_z[:batch_size], gen_c[:batch_size], sync=sync)
            noise = torch.randn_like(gen_img) / np.sqrt(gen_img.shape[2] * gen_img.shape[3])
            (grads,) = torch.autograd.grad(outputs=[(gen_img * noise).sum()], inputs=[gen_ws], create_graph=True)
            lengths = grads.square().sum(2).mean(1).sqrt()
            pl_mean = self.pl_mean.lerp(lengths.mean(), self.pl_decay)
            self.pl_mean.copy_(pl_mean.detach())
            loss_Gpl = (lengths - pl_mean).square() * self.pl_weight
            (gen_img[:, 0, 0, 0] * 0 + loss_Gpl).mean().mul(gain).backward()
        if do_Dmain:
            gen_img, _ = self.run_G(gen_z, gen_c, sync=False)
            softplus(self.run_D(gen_img, gen_c, sync=False)).mean().mul(gain).backward()
        if do_Dmain or do_Dr1:
            real_img_tmp = real_img.detach().requires_grad_(do_Dr1)
            real_logits = self.run_D(real_img_tmp, real_c, sync=sync)
            loss = real_logits * 0 + (softplus(-real_logits) if do_Dmain else 0)
            if do_Dr1:
                (grads,) = torch.autograd.grad(outputs=[real_logits.sum()], inputs=[real_img_tmp], create_graph=True)
                loss = loss + grads.square().sum([1, 2, 3])[:, None] * (self.r1_gamma / 2)
            loss.mean().mul(gain).backward()
