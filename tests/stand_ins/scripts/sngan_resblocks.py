"""Written for the tests: a script of the kind of christiancosgrove/pytorch-spectral-normalization-gan, none of its text."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--batch_size", type=int, default=4)
parser.add_argument("--steps", type=int, default=3)
args = parser.parse_args()
torch.manual_seed(0)
Z_dim, channels, GEN_SIZE = 16, 3, 8


class ResBlockGenerator(nn.Module):
    """A block of a generator, not a generator."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, 1, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, padding=1)
        self.model = nn.Sequential(
            nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Upsample(scale_factor=2), self.conv1,
            nn.BatchNorm2d(out_channels), nn.ReLU(), self.conv2,
        )  # fmt: skip
        self.bypass = nn.Upsample(scale_factor=2) if stride != 1 else nn.Sequential()

    def forward(self, x):
        return self.model(x) + self.bypass(x)


class Generator(nn.Module):
    def __init__(self, z_dim):
        super().__init__()
        self.dense = nn.Linear(z_dim, 4 * 4 * GEN_SIZE)
        self.final = nn.Conv2d(GEN_SIZE, channels, 3, stride=1, padding=1)  # one module of two names
        self.model = nn.Sequential(
            *(ResBlockGenerator(GEN_SIZE, GEN_SIZE, stride=2) for _ in range(3)),
            nn.BatchNorm2d(GEN_SIZE), nn.ReLU(), self.final, nn.Tanh(),
        )  # fmt: skip

    def forward(self, z):
        return self.model(self.dense(z).view(-1, GEN_SIZE, 4, 4))


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(channels, 8, 4, 4))
        self.fc = nn.utils.spectral_norm(nn.Linear(8, 1))

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean(dim=[2, 3]))


discriminator = Discriminator()
generator = Generator(Z_dim)
optim_disc = torch.optim.Adam(filter(lambda p: p.requires_grad, discriminator.parameters()), lr=2e-4, betas=(0.0, 0.9))
optim_gen = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.0, 0.9))
scheduler_g = torch.optim.lr_scheduler.ExponentialLR(optim_gen, gamma=0.99)
for step in range(args.steps):
    data = torch.rand(args.batch_size, channels, 32, 32) * 2 - 1
    optim_disc.zero_grad()
    optim_gen.zero_grad()
    # Not detached: the gradients that reach the generator here are thrown away.
    fake = generator(torch.randn(args.batch_size, Z_dim))
    disc_loss = F.relu(1.0 - discriminator(data)).mean() + F.relu(1.0 + discriminator(fake)).mean()
    disc_loss.backward()
    optim_disc.step()
    optim_disc.zero_grad()
    optim_gen.zero_grad()
    gen_loss = -discriminator(generator(torch.randn(args.batch_size, Z_dim))).mean()
    gen_loss.backward()
    optim_gen.step()
    scheduler_g.step()
    print(f"step {step} disc loss {disc_loss.item():f} gen loss {gen_loss.item():f}")
torch.save(generator.state_dict(), "gen_0")
