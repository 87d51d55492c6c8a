"""Scripts that do not know of the plugin, and `python -m sparse_plugin` on them."""

import sys
import textwrap

import starts

HEADER = """
import sys, torch
from torch import nn

class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 3, 3, padding=1)
        self.out.register_forward_hook(lambda m, args, out: counts.append(int((args[0] != 0).sum(1).max())))

    def forward(self, z):
        return torch.tanh(self.out(torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)))))

counts = []

def train(steps=3):
    torch.manual_seed(0)
    g = Generator()
    opt = torch.optim.SGD(g.parameters(), 0.1)
    for _ in range(steps):
        opt.zero_grad()
        g(torch.randn(4, 6)).square().mean().backward()
        opt.step()
    return g
"""


def script(tmp_path, body, name="train.py"):
    file = tmp_path / name
    file.write_text(HEADER + textwrap.dedent(body))
    return file


def sparse_plugin(*args, cwd, **how):
    """`python -m sparse_plugin` with args; how: of starts.run."""
    return starts.run([sys.executable, "-m", "sparse_plugin", *args], cwd=cwd, **how)
