"""`sparse-plugin restore`: files in, files out, and a sentence for everything that is wrong."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from restore_images import photograph

from sparse_plugin.commands.cli import cli
from sparse_plugin.restore import Denoise, add_noise, restore
from sparse_plugin.restore.pictures import encode, read
from sparse_plugin.support.files import write

SMALL = ["--width", "0.0625", "--scales", "3"]
QUICK = [*SMALL, "--iterations", "4", "--log-every", "2"]


def run(*args):
    return CliRunner().invoke(cli, ["restore", *map(str, args)])


def pixels(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with pictures in it."""
    monkeypatch.chdir(tmp_path)
    values = (255 * photograph()).round().astype(np.uint8)
    Image.fromarray(values).save("a.png")
    alpha = np.arange(values[..., :1].size).reshape(values.shape[:2]) % 256
    Image.fromarray(np.dstack([values, alpha.astype(np.uint8)])).save("rgba.png")
    Image.fromarray((65535 * photograph(30, 26, grey=True)).astype(np.uint16)).save("grey16.png")
    mask = np.full(values.shape[:2], 255, np.uint8)
    mask[10:20, 10:30] = 0
    Image.fromarray(mask).save("mask.png")
    return tmp_path


def test_denoise(here):
    done = run("denoise", "a.png", "-o", "out.png", "--sparse", "l0", "--set", "sparse.k=0.5", *QUICK)
    assert done.exit_code == 0, done.output
    assert "out.png: iteration 4 of 4; the report is out.png.run/report.png" in done.stdout
    assert "PSNR" not in done.stdout
    image = read(here / "a.png").pixels
    settings = {"width": 1 / 16, "scales": 3, "progress": False, "iterations": 4}
    from sparse_plugin import SparsityConfig

    expected = restore(image, sparse=SparsityConfig.from_mapping({"regularizer": "l0", "k": 0.5}), **settings)
    assert np.array_equal(pixels("out.png"), (255 * expected.image.astype(np.float64)).round().astype(np.uint8))
    assert Image.open("out.png.run/report.png").size == (1440, 864)
    said = json.loads((here / "out.png.run/result.json").read_text())
    assert said["finished"] and said["iterations"] == 4 and said["image"] == "average" and said["scores"] == {}
    levels = [json.loads(line)["sparsity"] for line in (here / "out.png.run/log.jsonl").read_text().splitlines()]
    assert len(levels) == 3 and all(49 < level <= 50 for three in levels for level in three)


def test_the_papers_protocol(here):
    done = run("denoise", "a.png", "-o", "out.png", "--add-noise", "--sigma", "50", "--seed", "3", "--single", *QUICK)
    assert done.exit_code == 0, done.output
    image = read(here / "a.png").pixels
    expected = restore(
        add_noise(image, 50, 3), Denoise(50), clean=image, seed=3, width=1 / 16, scales=3, iterations=4, progress=False
    )
    scores = expected.scores
    assert f"PSNR {scores['psnr_single']:.2f} dB from {scores['psnr_given']:.2f}, SSIM" in done.stdout
    assert np.array_equal(pixels("out.png"), (255 * expected.single.astype(np.float64)).round().astype(np.uint8))
    said = json.loads((here / "out.png.run/result.json").read_text())
    assert said["scores"] == {name: round(value, 4) for name, value in scores.items()} and said["image"] == "single"


def test_inpaint(here):
    done = run("inpaint", "rgba.png", "--mask", "mask.png", "--clean", "a.png", "-o", "out.tif", *QUICK)
    assert done.exit_code == 0, done.output
    before, after, known = pixels("rgba.png"), pixels("out.tif"), pixels("mask.png") > 0
    assert np.array_equal(after[known], before[known]) and np.array_equal(after[..., 3], before[..., 3])
    assert not np.array_equal(after[~known], before[~known])
    assert "PSNR" in done.stdout


def test_a_mask_whose_transparency_says_something_else_is_refused(here):
    """As one that was made with an eraser: its colours alone were read."""
    known = pixels("mask.png")
    black, white = np.zeros((*known.shape, 3), np.uint8), np.full((*known.shape, 3), 255, np.uint8)
    half = known.copy()
    half[:5] = 0
    for name, layers in {"erased": (white, known), "drawn": (black, known), "more": (np.dstack([known] * 3), half)}.items():
        Image.fromarray(np.dstack(layers)).save(f"{name}.png")
        done = run("inpaint", "a.png", "--mask", f"{name}.png", "-o", "out.png", *QUICK)
        assert done.exit_code == 2 and f"the mask {name}.png has transparent pixels, which say something else" in done.stderr
    for name, layers in {"both": (np.dstack([known] * 3), known), "opaque": (np.dstack([known] * 3), np.full_like(known, 255))}.items():
        Image.fromarray(np.dstack(layers)).save(f"{name}.png")
        assert run("inpaint", "a.png", "--mask", f"{name}.png", "-o", f"of-{name}.png", *QUICK).exit_code == 0
    assert (here / "of-both.png").read_bytes() == (here / "of-opaque.png").read_bytes() and not (here / "out.png").exists()


def test_upscale_several(here):
    done = run("upscale", "a.png", "grey16.png", "--factor", "3", "-o", "large", *QUICK)
    assert done.exit_code == 0, done.output
    assert pixels("large/a.png").shape == (105, 123, 3)
    assert pixels("large/grey16.png").shape == (78, 90) and pixels("large/grey16.png").dtype == np.uint16
    assert [line.split(":")[0] for line in done.stdout.splitlines() if "report" in line] == [
        "large/a.png",
        "large/grey16.png",
    ]


def test_nothing_is_written_over_without_force(here):
    assert run("denoise", "a.png", "-o", "out.png", *QUICK).exit_code == 0
    first = (here / "out.png").read_bytes()
    again = run("denoise", "a.png", "-o", "out.png", *QUICK)  # nothing is left to do
    assert again.exit_code == 0 and (here / "out.png").read_bytes() == first
    other = run("denoise", "a.png", "-o", "out.png", "--seed", "1", *QUICK)
    assert other.exit_code == 2 and "seed is 0 there and 1 here" in other.stderr
    assert (here / "out.png").read_bytes() == first
    assert run("denoise", "a.png", "-o", "out.png", "--seed", "1", "--force", *QUICK).exit_code == 0
    assert (here / "out.png").read_bytes() != first
    for path in ("out.png", "mask.png"):  # a result that was worked on since, and somebody's file
        Image.new("RGB", (5, 5)).save(path)
        before = (here / path).read_bytes()
        refused = run("denoise", "a.png", "-o", path, "--seed", "1", *QUICK)
        assert (
            refused.exit_code == 2
            and f"{path} exists; name another output, or write over it by --force" in refused.stderr
        )
        assert (here / path).read_bytes() == before
    assert run("denoise", "a.png", "-o", "mask.png", "--force", *QUICK).exit_code == 0
    assert pixels("mask.png").shape == (35, 41, 3)


@pytest.mark.parametrize("read_as", ["IMAGE", "--clean", "--mask", "another"])
def test_force_writes_over_nothing_that_is_read(read_as, here):
    (here / "other").mkdir()
    for name in ("other/a.png", "true.png"):
        (here / name).write_bytes((here / "a.png").read_bytes())
    os.symlink("mask.png", "link.png")
    args = {
        "IMAGE": ["denoise", "a.png", "-o", "./a.png"],
        "--clean": ["denoise", "a.png", "--clean", "true.png", "-o", "other/../true.png"],
        "--mask": ["inpaint", "a.png", "--mask", "link.png", "-o", "mask.png"],
        "another": ["inpaint", "a.png", "true.png", "--mask", "other/a.png", "-o", "other"],
    }[read_as]
    before = {path: path.read_bytes() for path in here.rglob("*.png")}
    done = run(*args, "--force", *QUICK)
    assert done.exit_code == 2 and f"is {'the image itself' if read_as == 'IMAGE' else 'given to be read'}; name another" in done.stderr
    assert {path: path.read_bytes() for path in here.rglob("*.png")} == before and not [*here.rglob("*.run")]


def test_force_deletes_no_run_of_another_kind(here):
    (here / "out.png.run").mkdir()
    (here / "out.png.run/config.json").write_text('{"version": 1, "arch": "dcgan"}')
    done = run("denoise", "a.png", "-o", "out.png", "--force", *QUICK)
    assert done.exit_code == 2 and "holds a run that is no restoration" in done.stderr
    assert (here / "out.png.run/config.json").exists()


def _bad(name, args, said):
    return pytest.param(args, said, id=name)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        _bad("no file", ["denoise", "none.png", "-o", "o.png"], "the image none.png cannot be read: No such file"),
        _bad("no image", ["denoise", "text.png", "-o", "o.png"], "text.png is not an image that can be read"),
        _bad("NaN", ["denoise", "nan.tif", "-o", "o.png"], "nan.tif holds NaN or infinity"),
        _bad("too small", ["denoise", "tiny.png", "-o", "o.png"], "is 12x12 and a network of 3 scales reaches over 16"),
        _bad("sigma", ["denoise", "a.png", "-o", "o.png", "--sigma", "-5"], "sigma is -5; give the noise's deviation"),
        _bad("added sigma", ["denoise", "a.png", "-o", "o.png", "--add-noise", "--sigma", "-5"], "sigma is -5; give"),
        _bad("factor", ["upscale", "a.png", "-o", "o.png", "--factor", "5"], "the factor 5 is not supported"),
        _bad("mask's size", ["inpaint", "a.png", "--mask", "tiny.png", "-o", "o.png"], "the mask is 12x12 and the image 41x35"),
        _bad("empty mask", ["inpaint", "a.png", "--mask", "black.png", "-o", "o.png"], "the mask is all zeros"),
        _bad("full mask", ["inpaint", "a.png", "--mask", "white.png", "-o", "o.png"], "the mask has no zeros"),
        _bad("masks", ["inpaint", "a.png", "--mask", "a.png", "--mask", "a.png", "-o", "o.png"], "2 masks are given for 1"),
        _bad("clean's size", ["denoise", "a.png", "--clean", "tiny.png", "-o", "o.png"], "the clean image is 12x12"),
        _bad("cleans", ["denoise", "a.png", "--clean", "a.png", "--clean", "a.png", "-o", "o.png"], "2 clean images are given"),
        _bad("two cleans", ["denoise", "a.png", "--clean", "a.png", "--add-noise", "-o", "o.png"], "takes the image itself"),
        _bad("ending", ["denoise", "a.png", "-o", "o.gif"], "the output o.gif has the ending '.gif'"),
        _bad("transparent JPEG", ["denoise", "rgba.png", "-o", "o.jpg"], "would be JPEG, and the image has transparency"),
        _bad("no folder", ["denoise", "a.png", "-o", "none/o.png"], "none is not there; make it"),
        _bad("itself", ["denoise", "a.png", "-o", "a.png", "--force"], "the output a.png is the image itself"),
        _bad("two to one", ["denoise", "a.png", "rgba.png", "-o", "o.png"], "looks like a file; name a folder"),
        _bad("folder is a file", ["denoise", "a.png", "rgba.png", "-o", "text.png"], "text.png is a file; name a folder"),
        _bad("same names", ["denoise", "a.png", "sub/a.png", "-o", "o"], "two of the images have the same name"),
        _bad("the second", ["denoise", "a.png", "text.png", "-o", "o"], "text.png is not an image"),
        _bad("k", ["denoise", "a.png", "-o", "o.png", "--sparse", "l0", "--set", "sparse.k=2.5"], "field 'k'"),
        _bad("sites", ["denoise", "a.png", "-o", "o.png", "--sparse", "l0", "--set", "sparse.k=0.5", "--set", "sparse.sites=[x]"], "site 'x' does not exist"),
        _bad("iterations", ["denoise", "a.png", "-o", "o.png", "--iterations", "0"], "iterations is 0; give 1 or more"),
    ],
)  # fmt: skip
def test_bad_input(args, said, here):
    (here / "text.png").write_text("hello")
    (here / "sub").mkdir()
    Image.open("a.png").save("sub/a.png")
    Image.open("a.png").resize((12, 12)).save("tiny.png")
    Image.new("L", (41, 35)).save("black.png")
    Image.new("L", (41, 35), 255).save("white.png")
    Image.fromarray(np.full((35, 41), np.nan, np.float32)).save("nan.tif")
    done = run(*QUICK_BEFORE(args))
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("sparse-plugin: ")
    assert not any(path.suffix in (".safetensors",) or path.name in ("o.png", "o.gif") for path in here.rglob("*"))


def QUICK_BEFORE(args):
    """A quick run's options, where those of the case do not say otherwise."""
    return [args[0], *QUICK, *args[1:]]


def start(here, *args, **options):
    """The command as a process, in which iterations take a while."""
    return subprocess.Popen(
        [sys.executable, "-m", "sparse_plugin", "restore", *map(str, args)],
        cwd=here, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def wait_until(condition, process):
    """Wait for what process does; not longer than it lives."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_writes_the_best_so_far_and_the_same_command_goes_on(number, here):
    command = ["denoise", "a.png", "grey16.png", "-o", "o", *SMALL, "--iterations", "100000", "--log-every", "5"]
    process = start(here, *command)
    log = here / "o/a.png.run/log.jsonl"
    wait_until(log.exists, process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert (
        "interrupted after iteration" in said and "the best so far is in o/a.png, and the same command goes on" in said
    )
    assert "1 more image was not begun" in said and "Traceback" not in said
    first = json.loads((here / "o/a.png.run/result.json").read_text())
    assert not first["finished"] and pixels("o/a.png").shape == (35, 41, 3)
    if number == signal.SIGTERM:
        return
    whole = restore(read(here / "a.png").pixels, width=1 / 16, scales=3, iterations=first["iterations"], progress=False)
    assert np.array_equal(pixels("o/a.png"), (255 * whole.image.astype(np.float64)).round().astype(np.uint8))
    process = start(here, *command)
    written = log.stat().st_size
    wait_until(lambda: log.stat().st_size > written, process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130 and f"from iteration {first['iterations']} of 100000" in said
    assert json.loads((here / "o/a.png.run/result.json").read_text())["iterations"] > first["iterations"]


@pytest.mark.slow
def test_a_full_disk(here):
    """A limit on the size of files stands for it: the checkpoint does not fit."""
    limit = 20_000

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(here, "denoise", "a.png", "-o", "out.png", *QUICK, "--checkpoint-every", "2", preexec_fn=limited)
    _, said = process.communicate()
    assert process.returncode == 1, said
    assert "could not be written: " in said and "make room, and the same command goes on" in said
    assert "Traceback" not in said and not (here / "out.png").exists()
    assert run("denoise", "a.png", "-o", "out.png", *QUICK, "--checkpoint-every", "2").exit_code == 0


def test_a_result_that_does_not_fit(here, monkeypatch):
    from sparse_plugin.restore import command

    def full(path, content):
        if path.suffix == ".png":
            raise OSError(28, os.strerror(28), str(path))
        write(path, content)

    monkeypatch.setattr(command, "write", full)
    done = run("denoise", "a.png", "-o", "out.png", *QUICK)
    assert done.exit_code == 1
    assert (
        "out.png could not be written: No space left on device; make room, and the same command goes on" in done.stderr
    )
    monkeypatch.setattr(command, "write", write)
    assert run("denoise", "a.png", "-o", "out.png", *QUICK).exit_code == 0 and (here / "out.png").exists()


def test_the_examples_of_deep_image_prior(here):
    from pathlib import Path

    folder = Path(__file__).parents[3] / "shared/data/dip/inpainting"
    if not folder.is_dir():
        pytest.skip("shared/data/dip, the images of Deep Image Prior's examples, is not here")
    for path in (folder / "kate.png", folder / "kate_mask.png"):
        picture = read(path)
        small = Image.open(path).resize((64, 64), Image.Resampling.NEAREST)
        small.save(path.name)
        assert picture.pixels.shape[:2] == Image.open(path).size[::-1] and encode(picture, ".png")
    done = run("inpaint", "kate.png", "--mask", "kate_mask.png", "-o", "out.png", *QUICK)
    assert done.exit_code == 0, done.output
