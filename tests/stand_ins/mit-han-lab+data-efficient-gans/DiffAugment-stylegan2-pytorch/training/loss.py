"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import torch
from torch.autograd import grad
from torch.nn.functional import softplus
from torch_utils import training_stats


class StyleGAN2Loss:
    def __init__(self, device, G_mapping, G_synthesis, D, r1_gamma, pl_weight):
        self.mapping, self.synthesis, self.D = G_mapping, G_synthesis, D
        self.r1_gamma, self.pl_weight = r1_gamma, pl_weight
        self.pl_mean = torch.zeros((), device=device)

    def accumulate_gradients(self, phase, real_img, real_c, gen_z, gen_c, sync, gain):
        """One function of four losses; one that is switched off has no backward pass."""
        if phase[0] == "G":
            loss = self.fooling(gen_z, gen_c) if phase == "Gmain" else self.path_lengths(gen_z, gen_c)
        elif phase == "Dmain":
            fakes = self.synthesis(self.mapping(gen_z, gen_c))
            loss = softplus(self.D(fakes, gen_c)) + softplus(-self.D(real_img, real_c))
        else:
            shown = real_img.clone().requires_grad_()
            slopes = grad(self.D(shown, real_c).sum(), shown, create_graph=True)[0]
            loss = slopes.pow(2).sum((1, 2, 3)) * self.r1_gamma / 2
        if loss is not None:
            (gain * loss.mean()).backward()

    def fooling(self, z, c):
        loss = softplus(-self.D(self.synthesis(self.mapping(z, c)), c))
        training_stats.report("Loss/G/loss", loss)
        return loss

    def path_lengths(self, z, c):
        """Of half a batch: a second-order gradient through a forward pass of its own."""
        if not self.pl_weight:
            return None
        ws = self.mapping(*(given[::2] for given in (z, c)))
        img = self.synthesis(ws)
        direction = torch.randn_like(img) / img.shape[-1]
        lengths = grad((img * direction).sum(), ws, create_graph=True)[0].pow(2).sum(2).mean(1).sqrt()
        self.pl_mean += (lengths.detach().mean() - self.pl_mean) / 100
        return self.pl_weight * (lengths - self.pl_mean) ** 2
