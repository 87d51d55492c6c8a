"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn

from .common import act, conv


class ResidualSequential(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + x

    def eval(self):
        for m in self.modules():
            m.eval()
        exit()  # as in the real code: eval() of a net with residual blocks ends the process


def get_block(num_channels, norm_layer, act_fun):
    return [
        nn.Conv2d(num_channels, num_channels, 3, 1, 1, bias=False), norm_layer(num_channels, affine=True), act(act_fun),
        nn.Conv2d(num_channels, num_channels, 3, 1, 1, bias=False), norm_layer(num_channels, affine=True),
    ]  # fmt: skip


class ResNet(nn.Module):
    def __init__(
        self, num_input_channels, num_output_channels, num_blocks, num_channels, need_residual=True,
        act_fun="LeakyReLU", need_sigmoid=True, norm_layer=nn.BatchNorm2d, pad="reflection",
    ):  # fmt: skip
        super().__init__()
        block = ResidualSequential if need_residual else nn.Sequential
        self.model = nn.Sequential(
            conv(num_input_channels, num_channels, 3, stride=1, bias=True, pad=pad), act(act_fun),
            *(block(*get_block(num_channels, norm_layer, act_fun)) for _ in range(num_blocks)),
            nn.Conv2d(num_channels, num_channels, 3, 1, 1), norm_layer(num_channels, affine=True),
            conv(num_channels, num_output_channels, 3, 1, bias=True, pad=pad), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, input):
        return self.model(input)

    def eval(self):
        self.model.eval()
