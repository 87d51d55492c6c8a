"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import numpy as np
import torch
import torch.nn.functional as F


class PathLengthRegularizer:
    def __init__(self, device, pl_decay=0.01, pl_weight=2, pl_no_weight_grad=False):
        self.pl_decay, self.pl_weight = pl_decay, pl_weight
        self.pl_mean = torch.zeros([])

    def cal_pl_reg(self, fake_images, ws):
        noise = torch.randn_like(fake_images) / np.sqrt(fake_images.shape[2] * fake_images.shape[3])
        (grads,) = torch.autograd.grad(outputs=[(fake_images * noise).sum()], inputs=[ws], create_graph=True)
        lengths = grads.square().sum(2).mean(1).sqrt()
        mean = self.pl_mean.lerp(lengths.mean(), self.pl_decay)
        self.pl_mean.copy_(mean.detach())
        return ((lengths - mean).square() * self.pl_weight).mean(0)


def d_vanilla(d_logit_real, d_logit_fake, DDP):
    return F.softplus(-d_logit_real).mean() + F.softplus(d_logit_fake).mean()


def g_vanilla(d_logit_fake, DDP):
    return F.softplus(-d_logit_fake).mean()


def d_logistic(d_logit_real, d_logit_fake, DDP):
    return (F.softplus(-d_logit_real) + F.softplus(d_logit_fake)).mean()


def g_logistic(d_logit_fake, DDP):
    return F.softplus(-d_logit_fake).mean()


def d_ls(d_logit_real, d_logit_fake, DDP):
    return (0.5 * (d_logit_real - 1) ** 2 + 0.5 * d_logit_fake**2).mean()


def g_ls(d_logit_fake, DDP):
    return (0.5 * (d_logit_fake - 1) ** 2).mean()


def d_hinge(d_logit_real, d_logit_fake, DDP):
    return F.relu(1.0 - d_logit_real).mean() + F.relu(1.0 + d_logit_fake).mean()


def g_hinge(d_logit_fake, DDP):
    return -d_logit_fake.mean()


def d_wasserstein(d_logit_real, d_logit_fake, DDP):
    return (d_logit_fake - d_logit_real).mean()


def g_wasserstein(d_logit_fake, DDP):
    return -d_logit_fake.mean()


def crammer_singer_loss(adv_output, label, DDP, **_):
    """Serves both players."""
    target = adv_output.gather(1, label[:, None])
    others = torch.ones_like(adv_output).scatter_(1, label[:, None], 0).bool()
    wrong = adv_output.masked_select(others).view(adv_output.shape[0], -1).max(1, keepdim=True).values
    return F.relu(1 + wrong - target).mean()


def feature_matching_loss(real_embed, fake_embed):
    return (fake_embed.mean(0) - real_embed.mean(0)).abs().mean()


def cal_grad_penalty(real_images, real_labels, fake_images, discriminator, device):
    alpha = torch.rand(real_images.size(0), 1, 1, 1)
    between = (alpha * real_images + (1 - alpha) * fake_images).detach().requires_grad_(True)
    out = discriminator(between, real_labels, eval=False)["adv_output"]
    (grads,) = torch.autograd.grad(out, between, torch.ones_like(out), create_graph=True)
    return ((grads.flatten(1).norm(2, dim=1) - 1) ** 2).mean() + between[:, 0, 0, 0].mean() * 0


def stylegan_cal_r1_reg(adv_output, images):
    (grads,) = torch.autograd.grad(outputs=[adv_output.sum()], inputs=[images], create_graph=True)
    return (grads.square().sum([1, 2, 3]) / 2).mean()
