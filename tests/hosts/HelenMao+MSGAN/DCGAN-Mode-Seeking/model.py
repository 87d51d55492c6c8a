"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import networks
import torch
from torch import nn


class CDCGAN(nn.Module):
    def __init__(self, opts):
        super().__init__()
        lr = 0.0002
        self.nz, self.class_num = opts.nz, opts.class_num
        self.G = networks.generator(opts)
        self.D = networks.discriminator(opts)
        self.gen_opt = torch.optim.Adam(self.G.parameters(), lr=lr, betas=(0.5, 0.999), weight_decay=0.0001)
        self.dis_opt = torch.optim.Adam(self.D.parameters(), lr=lr, betas=(0.5, 0.999), weight_decay=0.0001)
        self.BCE_loss = torch.nn.BCELoss()

    def initialize(self):
        self.G.weight_init()
        self.D.weight_init()

    def setgpu(self, gpu):
        self.gpu = gpu
        self.D.to("cpu")
        self.G.to("cpu")

    def get_z_random(self, batchSize, nz):
        return torch.randn(batchSize, nz)

    def onehot_encoding(self, label):
        return torch.eye(self.class_num)[label].view(-1, self.class_num, 1, 1)

    def forward(self):
        self.label_one_hot = self.onehot_encoding(self.label)
        self.z_random = self.get_z_random(self.real_image.size(0), self.nz)
        self.z_random2 = self.get_z_random(self.real_image.size(0), self.nz)
        labels = torch.cat((self.label_one_hot, self.label_one_hot), 0)
        self.fake_image = self.G.forward(torch.cat((self.z_random, self.z_random2), 0), labels)
        self.fake_image1, self.fake_image2 = torch.split(self.fake_image, self.z_random.size(0), dim=0)
        shown = (self.real_image.detach(), self.fake_image1, self.fake_image2)
        self.image_display = torch.cat([images.cpu() for images in shown], dim=2)

    def update_D(self, image, label):
        self.real_image, self.label = image, label
        self.forward()
        self.dis_opt.zero_grad()
        self.loss_D = self.backward_D(self.D, self.real_image, self.fake_image1, self.label_one_hot)
        self.loss_D = self.loss_D + self.backward_D(self.D, self.real_image, self.fake_image2, self.label_one_hot)
        self.loss_D.backward()
        self.dis_opt.step()

    def update_G(self):
        self.gen_opt.zero_grad()
        self.loss_G_GAN = self.backward_G(self.D, self.fake_image1, self.label_one_hot)
        self.loss_G_GAN = self.loss_G_GAN + self.backward_G(self.D, self.fake_image2, self.label_one_hot)
        apart = (self.fake_image2 - self.fake_image1).abs().mean() / (self.z_random2 - self.z_random).abs().mean()
        self.loss_lz = 1 / (apart + 1e-5)
        self.loss_G = self.loss_G_GAN + self.loss_lz
        self.loss_G.backward()
        self.gen_opt.step()

    def backward_D(self, netD, real, fake, label):
        pred_fake, pred_real = netD.forward(fake.detach(), label), netD.forward(real, label)
        loss_fake = nn.functional.binary_cross_entropy(pred_fake, torch.zeros_like(pred_fake))
        return nn.functional.binary_cross_entropy(pred_real, torch.ones_like(pred_real)) + loss_fake

    def backward_G(self, netD, fake, label):
        pred_fake = netD.forward(fake, label)
        return nn.functional.binary_cross_entropy(pred_fake, torch.ones_like(pred_fake))

    def resume(self, model_dir, train=True):
        checkpoint = torch.load(model_dir)
        if train:
            self.D.load_state_dict(checkpoint["dis"])
        self.G.load_state_dict(checkpoint["gen"])
        if train:
            self.dis_opt.load_state_dict(checkpoint["dis_opt"])
            self.gen_opt.load_state_dict(checkpoint["gen_opt"])
        return checkpoint["ep"], checkpoint["total_it"]

    def save(self, filename, ep, total_it):
        nets = {"dis": self.D, "gen": self.G, "dis_opt": self.dis_opt, "gen_opt": self.gen_opt}
        state = {name: part.state_dict() for name, part in nets.items()}
        torch.save({**state, "ep": ep, "total_it": total_it}, filename)

    def assemble_outputs(self):
        return torch.cat((self.real_image, self.fake_image1, self.fake_image2), 2).detach()

    def test_forward(self, label):
        return self.G.forward(self.get_z_random(label.size(0), self.nz), self.onehot_encoding(label))
