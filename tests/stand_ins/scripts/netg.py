"""Written for the tests: a script of the kind of older PyTorch examples, none of their text: a class _netG."""

import torch
import torch.nn as nn

torch.manual_seed(0)


class _netG(nn.Module):
    def __init__(self, ngpu):
        super().__init__()
        self.ngpu = ngpu
        self.main = nn.Sequential(
            nn.ConvTranspose2d(16, 16, 8, 1, 0, bias=False), nn.BatchNorm2d(16), nn.ReLU(True),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
            nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, input):
        return self.main(input)


class _netD(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 1, 8), nn.Sigmoid()
        )

    def forward(self, input):
        return self.main(input).view(-1)


def train():
    netG, netD = _netG(1), _netD()
    criterion = nn.BCELoss()
    optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for step in range(3):
        netD.zero_grad()
        fake = netG(torch.randn(4, 16, 1, 1))
        errD = criterion(netD(torch.rand(4, 3, 32, 32)), torch.ones(4))
        errD = errD + criterion(netD(fake.detach()), torch.zeros(4))
        errD.backward()
        optimizerD.step()
        netG.zero_grad()
        errG = criterion(netD(fake), torch.ones(4))
        errG.backward()
        optimizerG.step()
        print(f"[{step}] Loss_D: {errD.item():f} Loss_G: {errG.item():f}")
    return netG


if __name__ == "__main__":
    netG = train()
