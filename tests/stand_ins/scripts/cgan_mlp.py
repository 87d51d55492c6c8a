"""Written for the tests: a script of the kind of eriklindernoren/PyTorch-GAN (cgan), none of its text: no convolution."""

import argparse

import numpy as np
import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("--n_epochs", type=int, default=3)
parser.add_argument("--batch_size", type=int, default=4)
parser.add_argument("--latent_dim", type=int, default=16)
parser.add_argument("--n_classes", type=int, default=10)
parser.add_argument("--img_size", type=int, default=32)
parser.add_argument("--channels", type=int, default=3)
opt = parser.parse_args()
torch.manual_seed(0)
img_shape = (opt.channels, opt.img_size, opt.img_size)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.label_emb = nn.Embedding(opt.n_classes, opt.n_classes)

        def block(in_feat, out_feat, normalize=True):
            norm = [nn.BatchNorm1d(out_feat, 0.8)] if normalize else []
            return [nn.Linear(in_feat, out_feat), *norm, nn.LeakyReLU(0.2, inplace=True)]

        self.model = nn.Sequential(
            *block(opt.latent_dim + opt.n_classes, 32, normalize=False),
            *block(32, 64),
            nn.Linear(64, int(np.prod(img_shape))),
            nn.Tanh(),
        )

    def forward(self, noise, labels):
        img = self.model(torch.cat((self.label_emb(labels), noise), -1))
        return img.view(img.size(0), *img_shape)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Linear(int(np.prod(img_shape)), 1)

    def forward(self, img, labels):
        return self.model(img.flatten(1))


adversarial_loss = torch.nn.MSELoss()
generator = Generator()
discriminator = Discriminator()
optimizer_G = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
valid, fake = torch.ones(opt.batch_size, 1), torch.zeros(opt.batch_size, 1)
for epoch in range(opt.n_epochs):
    labels = torch.randint(opt.n_classes, (opt.batch_size,))
    optimizer_G.zero_grad()
    gen_imgs = generator(torch.randn(opt.batch_size, opt.latent_dim), labels)
    g_loss = adversarial_loss(discriminator(gen_imgs, labels), valid)
    g_loss.backward()
    optimizer_G.step()
    optimizer_D.zero_grad()
    real_loss = adversarial_loss(discriminator(torch.rand(opt.batch_size, *img_shape), labels), valid)
    d_loss = (real_loss + adversarial_loss(discriminator(gen_imgs.detach(), labels), fake)) / 2
    d_loss.backward()
    optimizer_D.step()
    print(f"[Epoch {epoch}/{opt.n_epochs}] [D loss: {d_loss.item():f}] [G loss: {g_loss.item():f}]")
