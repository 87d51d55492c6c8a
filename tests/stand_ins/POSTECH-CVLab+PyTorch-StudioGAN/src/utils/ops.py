"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm

LAYERS = {"conv2d": nn.Conv2d, "deconv2d": nn.ConvTranspose2d, "linear": nn.Linear, "embedding": nn.Embedding}


def layer(kind, spectral, *shape, **more):
    made = LAYERS[kind](*shape, **more)
    return spectral_norm(made) if spectral else made


def init_weights(network, how):
    for values in network.parameters():
        if how == "ortho" and values.ndim > 1:
            nn.init.orthogonal_(values)


class ConditionalBatchNorm2d(nn.Module):
    """An ordinary one where there is no condition."""

    def __init__(self, in_features, out_features, MODULES):
        super().__init__()
        self.norm = nn.BatchNorm2d(out_features, affine=in_features == 0)
        self.affine = MODULES.g_linear(in_features, 2 * out_features) if in_features else None

    def forward(self, x, y):
        if self.affine is None:
            return self.norm(x)
        gain, shift = self.affine(y)[..., None, None].tensor_split(2, dim=1)
        return shift + gain.exp() * self.norm(x)


class SelfAttention(nn.Module):
    def __init__(self, width, MODULES):
        super().__init__()
        self.asked = MODULES.g_conv2d(width, 3 * width, 1)
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        pixels = self.asked(x).flatten(2).mT.tensor_split(3, dim=2)
        return x + self.share * F.scaled_dot_product_attention(*pixels).mT.reshape(x.shape)
