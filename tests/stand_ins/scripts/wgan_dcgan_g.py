"""Written for the tests: a script of the kind of martinarjovsky/WassersteinGAN, none of its text: colons in names."""

import argparse

import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("--niter", type=int, default=3)
parser.add_argument("--batchSize", type=int, default=4)
parser.add_argument("--nz", type=int, default=16)
parser.add_argument("--ngf", type=int, default=8)
opt = parser.parse_args()
torch.manual_seed(0)


class DCGAN_G(nn.Module):
    def __init__(self, isize, nz, nc, ngf, ngpu, n_extra_layers=0):
        super().__init__()
        self.ngpu = ngpu
        main = nn.Sequential()
        width = ngf * isize // 8
        main.add_module(f"initial:{nz}-{width}:convt", nn.ConvTranspose2d(nz, width, 4, 1, 0, bias=False))
        main.add_module(f"initial:{width}:batchnorm", nn.BatchNorm2d(width))
        main.add_module(f"initial:{width}:relu", nn.ReLU(True))
        while width > ngf:
            half = width // 2
            main.add_module(f"pyramid:{width}-{half}:convt", nn.ConvTranspose2d(width, half, 4, 2, 1, bias=False))
            main.add_module(f"pyramid:{half}:batchnorm", nn.BatchNorm2d(half))
            main.add_module(f"pyramid:{half}:relu", nn.ReLU(True))
            width = half
        main.add_module(f"final:{width}-{nc}:convt", nn.ConvTranspose2d(width, nc, 4, 2, 1, bias=False))
        main.add_module(f"final:{nc}:tanh", nn.Tanh())
        self.main = main

    def forward(self, input):
        return self.main(input)


class DCGAN_D(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 1, 8))

    def forward(self, input):
        return self.main(input).mean(0).view(1)


netG = DCGAN_G(32, opt.nz, 3, opt.ngf, 1)
netD = DCGAN_D()
one = torch.FloatTensor([1])
optimizerD = torch.optim.RMSprop(netD.parameters(), lr=5e-5)
optimizerG = torch.optim.RMSprop(netG.parameters(), lr=5e-5)
for epoch in range(opt.niter):
    for p in netD.parameters():
        p.requires_grad = True
    for _ in range(2):
        for p in netD.parameters():
            p.data.clamp_(-0.01, 0.01)
        netD.zero_grad()
        netD(torch.rand(opt.batchSize, 3, 32, 32)).backward(one)
        with torch.no_grad():
            fake = netG(torch.randn(opt.batchSize, opt.nz, 1, 1))
        netD(fake).backward(one * -1)
        optimizerD.step()
    for p in netD.parameters():
        p.requires_grad = False
    netG.zero_grad()
    errG = netD(netG(torch.randn(opt.batchSize, opt.nz, 1, 1)))
    errG.backward(one)  # not a mean's backward(): a gradient is handed in
    optimizerG.step()
    print(f"[{epoch}/{opt.niter}] Loss_G: {errG.item():f}")
torch.save(netG.state_dict(), "netG_epoch.pth")
