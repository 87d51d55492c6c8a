"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
from torch import nn
from torch.nn import init
from torch.nn.utils import spectral_norm


class ConditionalBatchNorm2d(nn.Module):
    def __init__(self, in_features, out_features, MODULES):
        super().__init__()
        self.in_features = in_features
        self.bn = batchnorm_2d(out_features, eps=1e-4, momentum=0.1, affine=False)
        self.gain = MODULES.g_linear(in_features=in_features, out_features=out_features, bias=False)
        self.bias = MODULES.g_linear(in_features=in_features, out_features=out_features, bias=False)

    def forward(self, x, y):
        gain, bias = 1 + self.gain(y), self.bias(y)
        return self.bn(x) * gain[:, :, None, None] + bias[:, :, None, None]


class SelfAttention(nn.Module):
    def __init__(self, in_channels, is_generator, MODULES):
        super().__init__()
        conv2d = MODULES.g_conv2d if is_generator else MODULES.d_conv2d

        def one(in_channels, out_channels):
            return conv2d(in_channels, out_channels, kernel_size=1, stride=1, padding=0, bias=False)

        self.conv1x1_theta = one(in_channels, in_channels // 8)
        self.conv1x1_phi = one(in_channels, in_channels // 8)
        self.conv1x1_g = one(in_channels, in_channels // 2)
        self.conv1x1_attn = one(in_channels // 2, in_channels)
        self.maxpool = nn.MaxPool2d(2, stride=2, padding=0)
        self.softmax = nn.Softmax(dim=-1)
        self.sigma = nn.Parameter(torch.zeros(1), requires_grad=True)

    def forward(self, x):
        theta = self.conv1x1_theta(x).flatten(2).transpose(1, 2)
        attn = self.softmax(theta @ self.maxpool(self.conv1x1_phi(x)).flatten(2)).transpose(1, 2)
        attn_g = (self.maxpool(self.conv1x1_g(x)).flatten(2) @ attn).view(x.size(0), -1, *x.shape[2:])
        return x + self.sigma * self.conv1x1_attn(attn_g)


def init_weights(modules, initialize):
    for module in modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)):
            if initialize == "ortho":
                init.orthogonal_(module.weight)
            elif initialize == "N02":
                init.normal_(module.weight, 0, 0.02)
            if getattr(module, "bias", None) is not None:
                module.bias.data.fill_(0.0)


def conv2d(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)


def deconv2d(in_channels, out_channels, kernel_size, stride=2, padding=0, dilation=1, groups=1, bias=True):
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, padding, 0, groups, bias, dilation)


def linear(in_features, out_features, bias=True):
    return nn.Linear(in_features=in_features, out_features=out_features, bias=bias)


def embedding(num_embeddings, embedding_dim):
    return nn.Embedding(num_embeddings=num_embeddings, embedding_dim=embedding_dim)


def snconv2d(*args, **kwargs):
    return spectral_norm(conv2d(*args, **kwargs), eps=1e-6)


def sndeconv2d(*args, **kwargs):
    return spectral_norm(deconv2d(*args, **kwargs), eps=1e-6)


def snlinear(in_features, out_features, bias=True):
    return spectral_norm(linear(in_features, out_features, bias), eps=1e-6)


def sn_embedding(num_embeddings, embedding_dim):
    return spectral_norm(embedding(num_embeddings, embedding_dim), eps=1e-6)


def batchnorm_2d(in_features, eps=1e-4, momentum=0.1, affine=True):
    return nn.BatchNorm2d(in_features, eps=eps, momentum=momentum, affine=affine, track_running_stats=True)


class LeCamEMA:
    def __init__(self, init=7777, decay=0.9, start_iter=0):
        self.D_real = self.D_fake = init
        self.decay, self.start_itr = decay, start_iter
