"""A progressive GAN's own trainer, on its real code: facebookresearch/pytorch_GAN_zoo under $SPARSE_PLUGIN_HOSTS."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import host_roots
import numpy as np
import pytest
from PIL import Image

HOST = "facebookresearch+pytorch_GAN_zoo"
DRIVER = Path(__file__).parents[1] / "stand_ins" / "drive_gan_zoo.py"
# Without fade-in, which fails by itself on a CPU (`avgG.module`).
CONFIG = {
    "maxIterAtScale": [3, 3, 3],
    "alphaJumpMode": "custom",
    "iterAlphaJump": [[], [], []],
    "alphaJumpVals": [[], [], []],
    "depthScales": [16, 16, 16],
    "dimLatentVector": 16,
    "miniBatchSize": 4,
}


@pytest.mark.skipif(not host_roots.is_real(HOST), reason=f"needs a checkout {HOST} under $SPARSE_PLUGIN_HOSTS")
def test_the_progressive_gan_of_gan_zoo_grows(tmp_path):
    folder = shutil.copytree(host_roots.root(HOST), tmp_path / "host")
    images = tmp_path / "images"
    images.mkdir()
    for i in range(16):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8)).save(images / f"{i}.png")
    (tmp_path / "config.json").write_text(json.dumps({"pathDB": str(images), "config": CONFIG}))
    train = ["train.py", "PGAN", "-c", str(tmp_path / "config.json"), "-n", "t", "--no_vis", "-d", str(tmp_path / "out")]
    command = [sys.executable, "-m", "sparse_plugin", "run", "--sparse", "l0_inf", "--set", "sparse.k=4", "--"]
    done = subprocess.run(
        [*command, "python", str(DRIVER), *train, "--restart"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(seen) == {"4", "8", "16"}
    assert all(fullest <= 4 for _, fullest in seen.values())
    assert "the input of toRGBLayers.2.module" in done.stderr
