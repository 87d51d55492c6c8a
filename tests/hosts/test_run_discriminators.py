"""Scripts that do not know of the plugin, run with their discriminator regularized: by name, by a host's patch, or not at all."""

import importlib.util
import json
import textwrap

import pytest
from launched import script, sparse_plugin

D1 = ("--sparse", "l0_inf", "--set", "sparse.k=2", "--set", "sparse.role=discriminator")
NAMED = ("--discriminator", "__main__:Critic")
SCRIPT = """
class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 4, 2, 1), nn.LeakyReLU(0.2))
        self.head = nn.Conv2d(12, 1, 4)
        self.head.register_forward_hook(lambda m, args, out: seen.append(int((args[0] != 0).sum(1).max())))

    def forward(self, x):
        return self.head(self.body(x)).flatten()

seen = []
torch.manual_seed(0)
g, d = Generator(), Critic()
own, other = torch.optim.SGD(d.parameters(), 0.1), torch.optim.SGD(g.parameters(), 0.1)
for _ in range(3):
    own.zero_grad()
    fake = g(torch.randn(4, 6))
    (torch.relu(1 - d(torch.randn(4, 3, 8, 8))).mean() + torch.relu(1 + d(fake.detach())).mean()).backward()
    own.step()
    other.zero_grad()
    (-d(fake).mean()).backward()
    other.step()
print(sorted(set(seen)), sorted(set(counts)))
torch.save(d.state_dict(), "D.pth")
"""


def ran(tmp_path, *options, body=SCRIPT):
    script(tmp_path, body)
    return sparse_plugin("run", *options, "--", "python", "train.py", cwd=tmp_path)


def test_it_is_named(tmp_path):
    done = ran(tmp_path, *D1, *NAMED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[2] [") and not done.stdout.startswith("[2] [2]")  # the generator's are as they were
    assert "l0_inf(k=2) attached to Critic at the input of head (Conv2d 1x12x4x4)" in done.stderr
    (file,) = tmp_path.glob("sparse_runs/*/sparsity.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert {record["role"] for record in records} == {"discriminator"} and records[0]["sparsity"] <= 100 / 6 + 1e-3


def test_both_in_one_file(tmp_path):
    (tmp_path / "both.yaml").write_text(
        textwrap.dedent("""
        version: 1
        sparse:
          - {regularizer: l0_inf, k: 3}
          - {role: discriminator, regularizer: l0_inf, k: 2, discriminator: "__main__:Critic"}
        """)
    )
    done = ran(tmp_path, "--config", "both.yaml")
    assert done.returncode == 0 and done.stdout.startswith("[2] [3]\n"), done.stderr
    (tmp_path / "both.toml").write_text(
        'version = 1\n[[sparse]]\nregularizer = "l0_inf"\nk = 3\n[[sparse]]\nrole = "discriminator"\nregularizer = "l0_inf"\nk = 4\n'
    )
    done = ran(tmp_path, "--config", "both.toml", *NAMED)
    assert done.returncode == 0 and done.stdout.startswith("[4] [3]\n"), done.stderr


def test_one_of_both_that_was_never_built(tmp_path):
    (tmp_path / "both.yaml").write_text("version: 1\nsparse: [{regularizer: l0_inf, k: 3}, {role: discriminator, regularizer: l1}]\n")
    done = ran(tmp_path, "--config", "both.yaml", "--discriminator", "__main__:Nobody")
    assert done.returncode == 3 and "NOTHING WAS ATTACHED TO A DISCRIMINATOR" in done.stderr and "--discriminator" in done.stderr


def test_the_discriminator_remains_untouched_by_default(tmp_path):
    done = ran(tmp_path, "--sparse", "l0_inf", "--set", "sparse.k=2")
    assert done.returncode == 0 and done.stdout.startswith("[12] [2]\n"), done.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (D1, 2, "none that a host patch knows was built before training began"),
        ((*D1, "--discriminator", "__main__:Nobody"), 3, "no discriminator of a known host"),
        (("--sparse", "l0_inf", "--set", "sparse.k=2", *NAMED), 2, "l0_inf acts on the generator"),
        ((*D1, "--discriminator", "Critic"), 2, 'write "module:Class"'),
        (("--sparse", "ml_csc", "--set", "sparse.k=2", "--set", "sparse.role=discriminator", *NAMED), 2, "synthesizes none"),
        ((*D1, "--set", "sparse.role=critic", *NAMED), 2, "sparse.role is 'critic'"),
        ((*D1, "--discriminator", "__main__:Generator"), 2, "an image: a discriminator makes scores of images"),
        (
            ("--sparse", "l1", "--set", "sparse.role=discriminator", "--set", "sparse.delivery=loss", *NAMED),
            2,
            "whose loss no host patch knows",
        ),
    ],
)
def test_what_is_refused(tmp_path, options, code, said):
    done = ran(tmp_path, *options)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_penalty_acts_in_its_own_step(tmp_path):
    options = ("--sparse", "l1", "--set", "sparse.weight=1", "--set", "sparse.role=discriminator", *NAMED)
    done = ran(tmp_path, *options, "--set", "sparse.measure_every=1")
    assert done.returncode == 0 and "left out" not in done.stderr, done.stderr
    (file,) = tmp_path.glob("sparse_runs/*/sparsity.jsonl")
    assert len(file.read_text().splitlines()) == 3


def test_its_checkpoint_says_what_it_was_trained_with(tmp_path):
    assert ran(tmp_path, *D1, *NAMED).returncode == 0
    body = SCRIPT.partition("torch.manual_seed")[0] + """
d = Critic()
d.load_state_dict(torch.load("D.pth"))
d(torch.randn(2, 3, 8, 8))
print(seen)
"""
    done = ran(tmp_path, *NAMED, body=body)
    assert done.returncode == 0 and done.stdout == "[2]\n", done.stderr
    assert "the checkpoint was trained with l0_inf(k=2), which is attached again" in done.stderr
    assert "Unexpected key" in sparse_plugin("run", "--", "python", "train.py", cwd=tmp_path).stderr


@pytest.mark.skipif(importlib.util.find_spec("torch_mimicry") is None, reason="torch_mimicry is not installed")
def test_mimicry_knows_its_discriminators(tmp_path):
    (tmp_path / "train.py").write_text(
        textwrap.dedent("""
        import torch
        from torch_mimicry.nets import sngan

        torch.manual_seed(0)
        d = sngan.SNGANDiscriminator32(ndf=16)
        optimizer = torch.optim.Adam(d.parameters(), 1e-4)
        for _ in range(2):
            optimizer.zero_grad()
            d(torch.randn(4, 3, 32, 32)).mean().backward()
            optimizer.step()
        """)
    )
    done = sparse_plugin("run", *D1, "--", "python", "train.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "l0_inf(k=2) attached to SNGANDiscriminator32 at the input of l5" in done.stderr
