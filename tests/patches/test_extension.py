"""A package of someone else's, built and installed, brings a regularizer, an adapter and a host."""

import json
import subprocess
import sys
import textwrap

import pytest
from launched import sparse_plugin

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "their-sparsity"
version = "3.1"
[tool.setuptools]
py-modules = ["their_sparsity", "their_nets"]
[project.entry-points."sparse_plugin.regularizers"]
topk_space = "their_sparsity:TopKSpace"
[project.entry-points."sparse_plugin.adapters"]
their_nets = "their_sparsity:ADAPTER"
[project.entry-points."sparse_plugin.hosts"]
their_nets = "their_sparsity:HOST"
"""

CODE = """
from sparse_plugin import Adapter, Constraint, Host

class TopKSpace(Constraint):
    k: int
    def project(self, gamma):
        flat = gamma.flatten(2)
        kept = flat.abs().topk(self.k, dim=2).indices
        return flat.new_zeros(flat.shape).scatter(2, kept, flat.gather(2, kept)).view_as(gamma)

ADAPTER = Adapter("their_nets", {"their_nets:Painter": "paint"})
HOST = Host("their_nets", generators=["their_nets:Painter"], losses=["their_nets:generator_loss"])
"""

NETS = """
import torch
from torch import nn

class Painter(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(4, 4, 1)
        self.paint, self.mask = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(4, 3, 1)
        self.paint.register_forward_hook(lambda m, args, out: seen.append((args[0] != 0).flatten(2).sum(2).max().item()))
    def forward(self, z):
        z = torch.relu(self.body(z))
        return self.paint(z) * torch.sigmoid(self.mask(z))[..., :1, :1]

seen = []

def generator_loss(scores):
    return -scores.mean()

def main():
    torch.manual_seed(0)
    painter = Painter()
    optimizer = torch.optim.SGD(painter.parameters(), 0.1)
    for _ in range(2):
        loss = generator_loss(painter(torch.randn(2, 4, 8, 8)))
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    print(seen, float(loss))

if __name__ == "__main__":
    import their_nets
    their_nets.main()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name, text in (("pyproject.toml", PYPROJECT), ("their_sparsity.py", CODE), ("their_nets.py", NETS)):
        (source / name).write_text(textwrap.dedent(text))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, str(source)], check=True, capture_output=True)
    return target


def run(installed, *args, **how):
    return sparse_plugin(*args, cwd=installed, env={"PYTHONPATH": str(installed)}, **how)


def test_it_is_listed_with_its_package(installed):
    rows = json.loads(run(installed, "list", "--json").stdout)
    theirs = {(r["kind"], r["name"]) for r in rows if r["from"] == "their-sparsity 3.1"}
    assert theirs == {("regularizer", "topk_space"), ("adapter", "their_nets"), ("host", "their_nets")}
    assert {"l1", "l0", "l0_inf", "l0_channel", "ml_csc", "mimicry"} <= {
        r["name"] for r in rows if r["from"].startswith("sparse-plugin")
    }


def test_its_trainer_runs_with_its_regularizer(installed):
    done = run(installed, "run", "--sparse", "topk_space", "--set", "sparse.k=5", "--", "python", "their_nets.py", bare=True)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.startswith("[5, 5]") and "topk_space(k=5) attached to Painter at the input of paint" in done.stderr
    )


@pytest.mark.slow
def test_its_loss_takes_a_penalty(installed):
    losses = []
    for weight in ("0.0", "10.0"):
        done = run(
            installed, "run", "--sparse", "l1", "--set", f"sparse.weight={weight}", "--", "python", "their_nets.py"
        )
        assert done.returncode == 0, done.stderr
        losses.append(float(done.stdout.split()[-1]))
    assert losses[1] > losses[0] + 0.5


def test_an_unknown_field_of_its_regularizer(installed):
    done = run(installed, "run", "--sparse", "topk_space", "--set", "sparse.kk=5", "--", "python", "their_nets.py")
    assert done.returncode == 2 and "topk_space: there is no field 'kk'; there are k. Did you mean 'k'?" in done.stderr


def test_two_owners_of_a_name(installed, tmp_path):
    (tmp_path / "x-1.dist-info").mkdir()
    (tmp_path / "x-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    (tmp_path / "x-1.dist-info" / "entry_points.txt").write_text(
        "[sparse_plugin.regularizers]\nl1 = their_sparsity:TopKSpace\n"
    )
    done = run(tmp_path, "list")
    assert done.returncode == 2
    assert (
        "there are two regularizers 'l1'" in done.stderr
        and "sparse-plugin 0.1.0" in done.stderr
        and "x 1" in done.stderr
    )
