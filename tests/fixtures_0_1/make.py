"""Makes the files beside this one, which a test loads: run by the interpreter of an environment that has 0.1 installed.

    git worktree add ../v01 f60235a~1 && cd ../v01 && make .venv/.test     # the last commit of 0.1
    ../v01/.venv/bin/python tests/fixtures_0_1/make.py tests/fixtures_0_1

`attached.pt`: by regularizer, a generator's state_dict, an input, and the image that it made of it. `run/`: a run of `sparse-plugin
train` of two steps, without the checkpoint of the last; `run.pt` has some of its generator's weights after that, and what the
generator of the checkpoint that is kept makes of some noise. The first commit of 0.1 made the same `attached.pt`, to the bit.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

REGULARIZERS = {
    "l1": {"weight": 0.5, "reduction": "sum"},
    "l0": {"k": 0.125},
    "l0_inf": {"k": 2},
    "ml_csc": {"k": [2, 0.5], "levels": 2, "constraint": "l0_inf", "kernel_size": 3},
}


def generator():
    """Small, in double precision: what it makes is the same to many digits on every machine."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh()
    )
    return made.double()


def images():
    """24 images by arithmetic alone, (24, 32, 32, 3)."""
    return ((np.arange(24 * 32 * 32 * 3, dtype=np.int64) * 7919) % 251).astype(np.uint8).reshape(24, 32, 32, 3)


def command(run, data, steps=2):
    """What trains the tiny run, from the first word after the interpreter."""
    return [
        "-m", "sparse_plugin", "train", "dcgan", "--sparse", "l0_inf", "--set", "sparse.k=2", "--run", str(run), "--data", str(data),
        "--width", "0.015625", "--batch", "4", "--steps", str(steps), "--checkpoint-every", "1", "--log-every", "1", "--device", "cpu",
    ]  # fmt: skip


def some(state):
    """Up to 16 values of every tensor."""
    return {key: value.flatten()[:: max(1, value.numel() // 16)][:16].clone() for key, value in state.items()}


def _attached():
    import sparse_plugin

    found = {}
    for name, settings in REGULARIZERS.items():
        net = generator()
        sparse_plugin.attach(net, name, sites="3", **settings)
        optimizer = torch.optim.SGD(net.parameters(), 0.05)
        z = torch.linspace(-2, 2, 4 * 6, dtype=torch.float64).sin().view(4, 6, 1, 1)
        for _ in range(3):  # so that inserted dictionaries are no identities any more
            optimizer.zero_grad()
            (net(z) - 0.3).square().mean().backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            found[name] = {
                "state": net.state_dict(),
                "z": z,
                "image": net(z),
                "kernel": sparse_plugin.Attachment.of(net).kernel().atoms,
            }
    return found


def _run(folder):
    from safetensors.torch import load_file

    import sparse_plugin.reference.trained as trained_runs

    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "images.npz"
        np.savez(data, images=images())
        subprocess.run([sys.executable, *command(run, data)], cwd=scratch, check=True)
    last = run / "checkpoints" / "step-0000002"
    after = load_file(last / "generator.safetensors")
    for path in (last, run / "samples", run / "tensorboard"):
        shutil.rmtree(path)
    trained = trained_runs.load(run)
    z, _ = trained.inputs(1, seed=7)
    with torch.no_grad():
        return {"after": some(after), "z": z, "image": trained.generator(z, None)}


def main(folder):
    torch.save(_attached(), folder / "attached.pt")
    torch.save(_run(folder), folder / "run.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
