"""Stand-in written for the tests: names and call structure of pytorch/examples (dcgan), none of its text."""

# It has no main guard, and its networks are globals of __main__.
import argparse
from itertools import pairwise

import torch
from torch import nn
from torchvision.utils import save_image

flags = argparse.ArgumentParser()
flags.add_argument("--dataset", required=True, choices=["fake"])
flags.add_argument("--dry-run", action="store_true")
for flag, default in {"batchSize": 64, "workers": 2, "ngf": 64, "ndf": 64, "manualSeed": 0}.items():
    flags.add_argument(f"--{flag}", type=int, default=default)
opt = flags.parse_args()
torch.manual_seed(opt.manualSeed)
nz, batches = 100, 3


def weights_init(m):
    # Whatever has this in the name of its class, whoever put it there.
    kind = type(m).__name__
    if "Conv" in kind:
        nn.init.normal_(m.weight, std=0.02)
    if "BatchNorm" in kind:
        nn.init.normal_(m.weight, mean=1.0, std=0.02)


class Generator(nn.Module):
    def __init__(self, ngpu):
        super().__init__()
        layers, widths = [], [nz, 8 * opt.ngf, 4 * opt.ngf, 2 * opt.ngf, opt.ngf]
        for before, after in pairwise(widths):
            stride, padding = (1, 0) if before == nz else (2, 1)
            layers.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
            layers += (nn.BatchNorm2d(after), nn.ReLU(inplace=True))
        layers += (nn.ConvTranspose2d(opt.ngf, 3, 4, 2, 1, bias=False), nn.Tanh())
        self.main = nn.Sequential(*layers)

    def forward(self, input):
        return self.main(input)


class Discriminator(nn.Module):
    def __init__(self, ngpu):
        super().__init__()
        first, last = nn.Conv2d(3, opt.ndf, 4, 4), nn.Conv2d(opt.ndf, 1, 16)
        self.main = nn.Sequential(first, nn.LeakyReLU(0.2, inplace=True), last, nn.Sigmoid())

    def forward(self, input):
        return self.main(input).flatten()


netG, netD = (kind(ngpu=1).apply(weights_init) for kind in (Generator, Discriminator))
criterion = nn.BCELoss()
optimizerD, optimizerG = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (netD, netG))
real_images = torch.rand(batches * opt.batchSize, 3, 64, 64)
fixed_noise = torch.randn(opt.batchSize, nz, 1, 1)


def judged(images, real):
    verdict = netD(images)
    return criterion(verdict, torch.full_like(verdict, real))


for number, real in enumerate(torch.utils.data.DataLoader(real_images, opt.batchSize, num_workers=opt.workers)):
    netD.zero_grad()
    fake = netG(torch.randn(len(real), nz, 1, 1))  # one pass, for both steps
    (judged(real, 1.0) + judged(fake.detach(), 0.0)).backward()
    optimizerD.step()
    netG.zero_grad()
    errG = judged(fake, 1.0)
    errG.backward()
    optimizerG.step()
    print(f"[{number}] Loss_G: {errG.item():f}")
    if number == 0:
        save_image(netG(fixed_noise).detach(), "fake_samples_epoch_000.png", normalize=True)
    if opt.dry_run:
        break
for name, net in {"netG": netG, "netD": netD}.items():
    torch.save(net.state_dict(), f"{name}_epoch_0.pth")
