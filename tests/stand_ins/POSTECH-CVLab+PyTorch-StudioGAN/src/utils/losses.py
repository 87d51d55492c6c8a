"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F

# By the name of an adversarial loss: how D weighs a logit that is to grow, and how G does.
WEIGHED = {
    "vanilla": (lambda v: F.softplus(-v), lambda v: F.softplus(-v)),
    "logistic": (lambda v: F.softplus(-v), lambda v: F.softplus(-v)),
    "hinge": (lambda v: F.relu(1 - v), torch.neg),
    "wasserstein": (torch.neg, torch.neg),
}


def players(kind):
    """The losses of both: d_loss and g_loss."""
    by_d, by_g = WEIGHED[kind]

    def d_loss(d_logit_real, d_logit_fake, DDP):
        return torch.cat([by_d(d_logit_real), by_d(-d_logit_fake)]).mean() * 2

    def g_loss(d_logit_fake, DDP):
        return by_g(d_logit_fake).mean()

    return d_loss, g_loss


def crammer_singer_loss(adv_output, label, DDP, **others):
    """Serves both."""
    return F.multi_margin_loss(adv_output.float(), label)


def path_length(images, ws):
    """How far steps of one length in w are from moving the image by one length."""
    (slopes,) = torch.autograd.grad((images * torch.randn_like(images)).mean(), ws, create_graph=True)
    return (slopes.norm(dim=(1, 2)) - 1).square().mean()
