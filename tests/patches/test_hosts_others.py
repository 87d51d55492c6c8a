"""Official code without a loss function of its own to patch: StyleGAN2 in NVIDIA's layout, and scripts."""

import pytest
from drives import STYLEGAN, Drive, drive
from host_roots import root

QUARTER = ["--sparse", "l0_inf", "--set", "sparse.k=0.25"]
SCRIPTS = {
    "pytorch+examples": (root("pytorch+examples") / "dcgan" / "main.py", "main.12"),
    "dcgan_blocks": (root("scripts") / "dcgan_blocks.py", "conv_blocks.9"),
    "netg": (root("scripts") / "netg.py", ""),
    "wgan_dcgan_g": (root("scripts") / "wgan_dcgan_g.py", ""),
    "sngan_resblocks": (root("scripts") / "sngan_resblocks.py", ""),
}


def script(name):
    words = [
        "--dataset",
        "fake",
        "--dry-run",
        "--batchSize",
        "4",
        "--workers",
        "0",
        "--ngf",
        "8",
        "--ndf",
        "8",
        "--manualSeed",
        "1",
    ]
    return Drive(SCRIPTS[name][0], "script", words if name == "pytorch+examples" else [])


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_need_no_name(name, tmp_path):
    """The generator's class is found in __main__ by its name, and its D1 by detection."""
    host, place = script(name), SCRIPTS[name][1]
    done, plain = drive(host, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done, quarter = drive(host, cwd=tmp_path, plugin=QUARTER, bare=name == "pytorch+examples")
    assert done.returncode == 0 and f"at the input of {place}" in done.stderr, done.stderr
    assert quarter["generator"] != plain["generator"] and quarter["calls"] == plain["calls"]
    assert max(quarter["nonzeros"]) <= 0.25


def test_a_script_with_k_of_everything(tmp_path):
    host = script("pytorch+examples")
    _, plain = drive(host, cwd=tmp_path)
    done, everything = drive(host, cwd=tmp_path, plugin=["--sparse", "l0", "--set", "sparse.k=1.0"])
    assert done.returncode == 0 and everything["generator"] == plain["generator"]


def test_an_mlp_is_refused_with_the_reason(tmp_path):
    done, report = drive(Drive(root("scripts") / "cgan_mlp.py", "script"), cwd=tmp_path, plugin=QUARTER)
    assert done.returncode == 2 and "Generator has no convolution, so no dictionary" in done.stderr
    assert not report


STYLE = Drive(STYLEGAN, "stylegan", ["--cfg=cifar"])


@pytest.mark.slow
def test_stylegan2(tmp_path):
    """Mapping and synthesis are called separately; snapshots are pickles of whole modules, which keep what is attached."""
    (tmp_path / "plain").mkdir()
    done, plain = drive(STYLE, cwd=tmp_path / "plain")
    assert done.returncode == 0, done.stderr
    (tmp_path / "one").mkdir()
    done, everything = drive(STYLE, cwd=tmp_path / "one", plugin=["--sparse", "l0_inf", "--set", "sparse.k=1.0"])
    assert done.returncode == 0 and everything["generator"] == plain["generator"], done.stderr
    done, quarter = drive(STYLE, cwd=tmp_path, plugin=QUARTER, bare=True)
    # The host takes stderr over and prints it.
    assert done.returncode == 0 and "synthesis.b32.torgb" in done.stdout + done.stderr, done.stderr
    assert quarter["generator"] != plain["generator"] and quarter["calls"] == plain["calls"]
    assert max(quarter["nonzeros"]) <= 0.25
    done, sampled = drive(STYLE, cwd=tmp_path, DRIVE_MODE="sample")
    assert done.returncode == 0 and max(sampled["nonzeros"]) <= 0.25, done.stderr


@pytest.mark.slow
def test_stylegan2_is_penalized_in_its_main_phase(tmp_path):
    """And not in that of path-length regularization, which its configuration for CIFAR-10 does without."""
    host = Drive(STYLEGAN, "stylegan", ["--cfg=auto"])
    (tmp_path / "plain").mkdir()
    _, plain = drive(host, cwd=tmp_path / "plain")
    done, penalized = drive(host, cwd=tmp_path, plugin=["--sparse", "l1", "--set", "sparse.weight=10.0"])
    assert done.returncode == 0, done.stderr
    assert penalized["generator"] != plain["generator"] and penalized["losses"][0] == plain["losses"][0]
    assert "left out of that pass" in done.stdout + done.stderr
