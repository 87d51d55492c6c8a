"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import networks
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy


class CDCGAN(nn.Module):
    def __init__(self, opts):
        super().__init__()
        self.opts = opts
        self.G, self.D = networks.generator(opts), networks.discriminator(opts)
        self.gen_opt, self.dis_opt = (
            torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.9), weight_decay=1e-4) for net in (self.G, self.D)
        )

    def initialize(self):
        for net in self.G, self.D:
            net.weight_init()

    def parts(self):
        return {"gen": self.G, "dis": self.D, "gen_opt": self.gen_opt, "dis_opt": self.dis_opt}

    def forward(self):
        """One pass of two batches of noise side by side, by the root's `forward`, past its hooks."""
        count = len(self.label)
        self.noise = torch.randn(2 * count, self.opts.nz)
        self.code = torch.eye(self.opts.class_num)[self.label][:, :, None, None]
        self.halves = self.G.forward(self.noise, self.code.repeat(2, 1, 1, 1)).chunk(2)

    def update_D(self, image, label):
        self.label = label
        self.forward()
        self.dis_opt.zero_grad()
        sum(self.backward_D(self.D, image, half, self.code) for half in self.halves).backward()
        self.dis_opt.step()

    def update_G(self):
        self.gen_opt.zero_grad()
        fooled = [self.backward_G(self.D, half, self.code) for half in self.halves]
        near, far = ((a - b).abs().mean() for a, b in (self.halves, self.noise.chunk(2)))
        self.loss_G = sum(fooled) + far / (near + 1e-4)
        self.loss_G.backward()
        self.gen_opt.step()

    def backward_D(self, netD, real, fake, label):
        verdicts = [netD.forward(images, label) for images in (fake.detach(), real)]
        return sum(binary_cross_entropy(v, torch.full_like(v, goal)) for goal, v in enumerate(verdicts))

    def backward_G(self, netD, fake, label):
        verdict = netD.forward(fake, label)
        return binary_cross_entropy(verdict, torch.ones_like(verdict))

    def save(self, filename, ep, total_it):
        torch.save({"ep": ep, "total_it": total_it} | {k: v.state_dict() for k, v in self.parts().items()}, filename)

    def resume(self, model_dir, train=True):
        saved = torch.load(model_dir)
        for name, part in self.parts().items():
            if train or name == "gen":
                part.load_state_dict(saved[name])

    def test_forward(self, label):
        return self.G.forward(
            torch.randn(len(label), self.opts.nz), torch.eye(self.opts.class_num)[label][:, :, None, None]
        )
