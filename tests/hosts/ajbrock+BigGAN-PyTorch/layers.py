"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import Parameter as P


class identity(nn.Module):
    def forward(self, input):
        return input


class SN:
    """Spectral norm by power iteration; its state is in float buffers, and it is off while not training."""

    def __init__(self, num_svs, num_itrs, num_outputs, transpose=False, eps=1e-12):
        self.num_itrs, self.num_svs, self.transpose, self.eps = num_itrs, num_svs, transpose, eps
        for i in range(num_svs):
            self.register_buffer(f"u{i}", torch.randn(1, num_outputs))
            self.register_buffer(f"sv{i}", torch.ones(1))

    @property
    def u(self):
        return [getattr(self, f"u{i}") for i in range(self.num_svs)]

    @property
    def sv(self):
        return [getattr(self, f"sv{i}") for i in range(self.num_svs)]

    def W_(self):
        matrix = self.weight.view(self.weight.size(0), -1)
        for _ in range(self.num_itrs):
            with torch.no_grad():
                v = F.normalize(self.u[0] @ matrix, eps=self.eps)
                u = F.normalize(v @ matrix.t(), eps=self.eps)
                if self.training:
                    self.u[0][:] = u
            sv = ((v @ matrix.t()) @ u.t()).squeeze()
        if self.training:
            with torch.no_grad():
                self.sv[0][:] = sv
        return self.weight / sv


class SNConv2d(nn.Conv2d, SN):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
        num_svs=1, num_itrs=1, eps=1e-12,
    ):  # fmt: skip
        nn.Conv2d.__init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        SN.__init__(self, num_svs, num_itrs, out_channels, eps=eps)

    def forward(self, x):
        return F.conv2d(x, self.W_(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class SNLinear(nn.Linear, SN):
    def __init__(self, in_features, out_features, bias=True, num_svs=1, num_itrs=1, eps=1e-12):
        nn.Linear.__init__(self, in_features, out_features, bias)
        SN.__init__(self, num_svs, num_itrs, out_features, eps=eps)

    def forward(self, x):
        return F.linear(x, self.W_(), self.bias)


class SNEmbedding(nn.Embedding, SN):
    def __init__(self, num_embeddings, embedding_dim, num_svs=1, num_itrs=1, eps=1e-12):
        nn.Embedding.__init__(self, num_embeddings, embedding_dim)
        SN.__init__(self, num_svs, num_itrs, num_embeddings, eps=eps)

    def forward(self, x):
        return F.embedding(x, self.W_())


class Attention(nn.Module):
    def __init__(self, ch, which_conv=SNConv2d, name="attention"):
        super().__init__()
        self.ch, self.which_conv = ch, which_conv
        self.theta = which_conv(ch, ch // 8, kernel_size=1, padding=0, bias=False)
        self.phi = which_conv(ch, ch // 8, kernel_size=1, padding=0, bias=False)
        self.g = which_conv(ch, ch // 2, kernel_size=1, padding=0, bias=False)
        self.o = which_conv(ch // 2, ch, kernel_size=1, padding=0, bias=False)
        self.gamma = P(torch.tensor(0.0), requires_grad=True)

    def forward(self, x, y=None):
        query, key, value = self.theta(x).flatten(2), self.phi(x), self.g(x)
        key, value = F.max_pool2d(key, 2).flatten(2), F.max_pool2d(value, 2).flatten(2)
        seen = F.softmax(query.transpose(1, 2) @ key, -1)
        return self.gamma * self.o((value @ seen.transpose(1, 2)).view(x.size(0), -1, *x.shape[2:])) + x


class ccbn(nn.Module):
    def __init__(
        self, output_size, input_size, which_linear, eps=1e-5, momentum=0.1,
        cross_replica=False, mybn=False, norm_style="bn",
    ):  # fmt: skip
        super().__init__()
        self.gain, self.bias = which_linear(input_size, output_size), which_linear(input_size, output_size)
        self.eps, self.norm_style = eps, norm_style
        self.register_buffer("stored_mean", torch.zeros(output_size))
        self.register_buffer("stored_var", torch.ones(output_size))

    def forward(self, x, y):
        gain, bias = (1 + self.gain(y)).view(y.size(0), -1, 1, 1), self.bias(y).view(y.size(0), -1, 1, 1)
        x = F.batch_norm(x, self.stored_mean, self.stored_var, None, None, self.training, 0.1, self.eps)
        return x * gain + bias


class bn(nn.Module):
    def __init__(self, output_size, eps=1e-5, momentum=0.1, cross_replica=False, mybn=False):
        super().__init__()
        self.gain = P(torch.ones(output_size), requires_grad=True)
        self.bias = P(torch.zeros(output_size), requires_grad=True)
        self.eps, self.momentum = eps, momentum
        self.register_buffer("stored_mean", torch.zeros(output_size))
        self.register_buffer("stored_var", torch.ones(output_size))

    def forward(self, x, y=None):
        mean, var = self.stored_mean, self.stored_var
        return F.batch_norm(x, mean, var, self.gain, self.bias, self.training, self.momentum, self.eps)


class GBlock(nn.Module):
    def __init__(self, in_channels, out_channels, which_conv=nn.Conv2d, which_bn=bn, activation=None, upsample=None):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.activation, self.upsample = activation, upsample
        self.conv1 = which_conv(in_channels, out_channels)
        self.conv2 = which_conv(out_channels, out_channels)
        self.learnable_sc = in_channels != out_channels or upsample
        if self.learnable_sc:
            self.conv_sc = which_conv(in_channels, out_channels, kernel_size=1, padding=0)
        self.bn1, self.bn2 = which_bn(in_channels), which_bn(out_channels)

    def forward(self, x, y):
        h = self.activation(self.bn1(x, y))
        if self.upsample:
            h, x = self.upsample(h), self.upsample(x)
        h = self.conv2(self.activation(self.bn2(self.conv1(h), y)))
        return h + (self.conv_sc(x) if self.learnable_sc else x)


class DBlock(nn.Module):
    def __init__(
        self, in_channels, out_channels, which_conv=SNConv2d, wide=True, preactivation=False, activation=None,
        downsample=None,
    ):  # fmt: skip
        super().__init__()
        hidden = out_channels if wide else in_channels
        self.preactivation, self.activation, self.downsample = preactivation, activation, downsample
        self.conv1, self.conv2 = which_conv(in_channels, hidden), which_conv(hidden, out_channels)
        self.learnable_sc = in_channels != out_channels or bool(downsample)
        if self.learnable_sc:
            self.conv_sc = which_conv(in_channels, out_channels, kernel_size=1, padding=0)

    def forward(self, x):
        h = self.conv2(self.activation(self.conv1(F.relu(x) if self.preactivation else x)))
        x = self.conv_sc(x) if self.learnable_sc else x
        return self.downsample(h) + self.downsample(x) if self.downsample else h + x
