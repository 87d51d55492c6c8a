"""`tune restore`: whole restorations, raced by their PSNR."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sparse_plugin.commands.cli import cli

pytest.importorskip("skimage")
pytest.importorskip("torch_fidelity")
pytest.importorskip("png")

FAST = ["--iterations", "4", "--width", "0.0625", "--scales", "2", "--log-every", "1", "--stop", "none"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        pixels = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
        Image.fromarray(pixels if name == "a" else pixels[::-1]).save(f"{name}.png")


def go(*words, code=0):
    done = CliRunner().invoke(cli, ["tune", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_restorations_are_raced(monkeypatch):
    options = ["--budget", "1", "--seeds", "1", "--methods", "l0", "--shares", "0.5", "--out", "out", "--", "restore", "denoise", "a.png", "b.png"]
    said = go(*options, "--add-noise", *FAST)
    found = json.loads(Path("out/ranking.json").read_text())
    (best,) = found["standings"]
    # Γ behind LeakyReLU is dense by nature, so the level is around the default of every scale.
    assert best["sparse"]["k"] == [0.25, 0.25] and "it is dense by nature" in said
    assert found["unit"] == "dB" and not found["lower_is_better"] and best["change"]["pairs"] == 1
    values = [json.loads(path.read_text())["scores"]["psnr_average"] for path in Path("out/vanilla/seed0/run").glob("*.run/result.json")]
    assert found["vanilla"][-1]["0"] == pytest.approx(sum(values) / 2) and len(values) == 2
    assert Path("out/page.html").read_text().count("data:image/png") >= 2
    assert found["command"].startswith("sparse-plugin restore denoise a.png b.png --add-noise") and "-o out/best/" in found["command"]
    monkeypatch.setattr("sparse_plugin.restore.restoration.Restoration.step", None)
    assert "holds another race: sigma is 25.0 there and 15.0 here" in go(*options, "--add-noise", "--sigma", "15", *FAST, code=2)
    assert go(*options, "--add-noise", *FAST).endswith(said[said.index("  1  l0") :])


def test_what_is_raced_where_nobody_says():
    said = go("--dry-run", "--budget", "1", "--", "restore", "upscale", "a.png", "--clean", "b.png", "--factor", "2")
    assert "  l0_inf 0.35, l0_inf 0.5, l0_inf 0.75, l0 0.35, l0 0.5, l0 0.75\n" in said


def test_a_regularizer_without_a_place_there_fails_alone():
    options = ["--budget", "1", "--seeds", "1", "--methods", "ml_csc:k=0.5,l0:k=0.5", "--out", "out"]
    said = go(*options, "--", "restore", "denoise", "a.png", "--clean", "a.png", *FAST, code=1)
    assert "failed: ml_csc-k=0.5, seed 0: " in said and "\n  1  l0-k=0.5" in said


@pytest.mark.parametrize(
    ("options", "words", "why"),
    [
        ([], ["denoise", "a.png"], "which takes clean images; give --clean FILE for each image, or --add-noise"),
        ([], ["dnoise", "a.png"], "there is no restoration 'dnoise'"),
        ([], [], "there is no restoration ''"),
        ([], ["denoise", "a.png", "--add-noise", "-o", "x.png"], "--output was given to denoise behind `tune`, and --out says where"),
        ([], ["denoise", "a.png", "--add-noise", "-ox.png"], "--output was given to denoise behind `tune`"),
        (["--device", "cpu"], ["denoise", "a.png", "--add-noise", "--device", "cuda"], "--device is cpu of tune and cuda of the command"),
        ([], ["denoise", "a.png", "--add-noise", "--sparse", "l0"], "it chooses what is attached"),
        (["--metric", "FD-lite0"], ["denoise", "a.png", "--add-noise"], "--metric was given, and restorations are raced by their PSNR"),
        ([], ["denoise", "a.png", "--add-noise"], "as it cannot be stopped and gone on with; give --budget"),
        (["--methods", "l1"], ["denoise", "a.png", "--add-noise"], "l1 has no default weight here; give the ones to race"),
    ],
)
def test_what_is_refused(options, words, why):
    assert why in go("--out", "out", *options, "--", "restore", *words, code=2)
    assert not Path("out").exists()
