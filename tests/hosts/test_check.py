"""`sparse-plugin check`: what a folder with somebody's code is, and whether the plugin would attach."""

import json
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import starts
from click.testing import CliRunner
from drives import BIGGAN, DIFFAUG, DIP, MSGAN, STUDIO, STYLEGAN
from host_roots import STAND_INS, driven, is_real, root
from launched import sparse_plugin

from sparse_plugin.commands.cli import cli
from sparse_plugin.hosts import check as checking

KNOWN = {
    "biggan": (BIGGAN, {"BigGAN", "BigGANdeep"}, "output_layer.2", "losses:generator_loss"),
    "diffaugment": (DIFFAUG, {"BigGAN"}, "output_layer.2", "losses:generator_loss"),
    "msgan": (MSGAN, {"DCGAN"}, "deconv4", "half a penalty is added to what model:CDCGAN.backward_G"),
    "stylegan": (STYLEGAN, {"networks"}, "synthesis.b32.torgb", "gradient"),
    "deep_image_prior": (DIP, {"skip, denoising", "skip, library", "UNet"}, "output of 1.1.6", "gradient"),
    "studiogan": (
        STUDIO,
        {"DCGAN", "WGAN-GP", "SNGAN", "SAGAN", "BigGAN", "BigGAN-Deep", "BigGAN-Deep-StudioGAN", "StyleGAN2"},
        "conv2d5",
        "config:Configurations.define_losses",
    ),
}


@pytest.fixture(autouse=True)
def _forked(monkeypatch, request):
    """The process that builds a host's generators is a fork, of all tests but one."""

    def run(command, *, stdout, stderr, **how):
        done = starts.run(command, **how)
        stdout.write((done.stdout + done.stderr).encode())
        return done

    if request.function is not test_it_is_printed_for_people:
        monkeypatch.setattr(checking, "subprocess", SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired))


def check(*words):
    done = CliRunner().invoke(cli, ["check", *map(str, words)])
    return done.exit_code, done.output


@pytest.mark.parametrize("host", KNOWN)
def test_known_hosts(host):
    folder, names, place, loss = KNOWN[host]
    driven.add(str(folder))
    done = CliRunner().invoke(cli, ["check", str(folder), "--json"])
    code, (report,) = done.exit_code, json.loads(done.stdout)
    if "cannot be imported here" in report["why"]:
        pytest.skip(f"needs what the host requires: {report['why']}")
    assert code == 0 and report["attaches"], report["why"]
    assert names <= {generator["name"] for generator in report["generators"]}
    assert any(place in site["where"] for generator in report["generators"] for site in generator["sites"])
    assert loss in report["loss"]
    for generator in report["generators"]:
        levels = [site["gamma"] for site in generator["sites"]]
        assert len(levels) >= 2 and levels == [f"Γ{n}" for n in range(1, len(levels) + 1)]
    if STAND_INS in folder.parents:
        assert report["source"].startswith("differs from")
    else:
        assert " at " in report["source"]


def test_it_is_printed_for_people():
    code, out = check(MSGAN)
    assert code == 0
    for word in ("host    msgan", "input of deconv4", "x16x16  ", "--sparse l0_inf --sparse_k 16", "It attaches."):
        assert word in out


def test_several_hosts_in_one_repository():
    code, out = check(root("mit-han-lab+data-efficient-gans"))
    assert code == 0 and "host    biggan" in out and "host    stylegan" in out


@pytest.fixture
def moved(tmp_path):
    """A revision of BigGAN-PyTorch whose generator has another name."""
    copy = shutil.copytree(BIGGAN, tmp_path / "host", ignore=shutil.ignore_patterns(".git"))
    for file in ("BigGAN.py", "BigGANdeep.py"):
        path = copy / file
        path.write_text(path.read_text().replace("class Generator", "class SynthesisNet"))
    return copy


def test_a_revision_with_moved_classes(moved):
    code, out = check(moved)
    assert code == 3 and "does not define BigGAN:Generator" in out and '--generator "module:Class"' in out
    done = sparse_plugin("run", "--sparse", "l0", "--set", "sparse.k=1", "--", "python", "train.py", cwd=moved)
    assert done.returncode == 2 and "does not define BigGAN:Generator" in done.stderr


def test_a_loss_that_moved_is_said(tmp_path):
    copy = shutil.copytree(MSGAN, tmp_path / "host")
    path = copy / "model.py"
    path.write_text(path.read_text().replace("backward_G", "generator_step"))
    code, out = check(copy)
    assert code == 0 and "model:CDCGAN.backward_G IS NOT THERE" in out.replace("\n", " ")


def test_an_unknown_host_with_a_generator():
    code, out = check(root("pytorch+examples") / "dcgan")
    assert code == 0 and "main.py:Generator" in out and "none that is known" in out


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("class Net: pass", "no class that is named like a generator"),
        (
            "from torch import nn\nclass Generator(nn.Module):\n    def __init__(self):\n        self.model = nn.Linear(3, 4)",
            "train.py:Generator: no convolution, so no dictionary",
        ),
    ],
)
def test_an_unknown_host_without(tmp_path, source, sentence):
    (tmp_path / "train.py").write_text(source)
    code, out = check(tmp_path)
    assert code == 3 and sentence in " ".join(out.split())


OLD = "class Generator:\n    def __init__(self):\n        self.conv = 1\n        print 'built'\n"


def test_python_2_is_said(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(OLD)
    code, out = check(tmp_path)
    out = " ".join(out.split())
    assert code == 3 and "IT WOULD NOT ATTACH: train.py is Python 2, line 4: Missing parentheses" in out and "2to3" in out
    for text in ("def f(:\n", "try:\n    x\nexcept A, e:\n    pass\n", "x = 0777\n", "exec 'a'\n", "\0", "if x:\n\tpass\n        y\n"):
        (tmp_path / "train.py").write_text(text)
        code, out = check(tmp_path)
        assert code == 3 and "train.py is " in out, out
    # One file that does not run here beside a generator that does.
    (tmp_path / "nets.py").write_text("class Generator:\n    def __init__(self):\n        self.c = Conv2d()\n")
    code, out = check(tmp_path)
    assert code == 0 and "unread  train.py is no Python" in out and "nets.py:Generator" in out


def test_python_2_in_a_known_host_is_said(tmp_path):
    copy = shutil.copytree(MSGAN, tmp_path / "host")
    path = copy / "networks.py"
    path.write_text(path.read_text() + "\nprint 'built'\n")
    code, out = check(copy)
    assert code == 3 and "is msgan by its other files, and networks.py is Python 2, line" in " ".join(out.split())


def test_what_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        code, out = check(path)
        assert code == 2 and "is no folder" in out
    code, out = check(tmp_path, "--host", "bigan")
    assert code == 2 and "Did you mean 'biggan'?" in out
    code, out = check(tmp_path, "--host", "biggan")
    assert code == 2 and "is not biggan" in out


RIVAL = """
from sparse_plugin import Host, register_host

register_host(Host("rival", generators=["BigGAN:Generator"], marks=["losses:generator_loss"]))
"""


def test_two_patches_that_claim_one_host(tmp_path):
    file = tmp_path / "rival.py"
    file.write_text(RIVAL)
    done = sparse_plugin("check", BIGGAN, "--import", file, cwd=tmp_path)
    assert done.returncode == 2 and "'biggan' and 'rival' both claim" in done.stderr and "--host rival" in done.stderr
    on = ["--sparse", "l0", "--set", "sparse.k=1", "--import", file, "--", "python"]
    done = sparse_plugin("run", *on, BIGGAN / "train.py", cwd=tmp_path)
    assert done.returncode == 2 and "both claim" in done.stderr
    # The same where nothing tells it beforehand.
    (tmp_path / "own.py").write_text(
        f"import sys; sys.path.insert(0, {str(BIGGAN)!r}); import BigGAN; print('went on')"
    )
    done = sparse_plugin("run", *on, "own.py", cwd=tmp_path)
    assert done.returncode == 2 and "both claim BigGAN:Generator" in done.stderr and not done.stdout


def test_a_host_without_examples_or_revisions(tmp_path):
    (tmp_path / "networks.py").write_text("class Painter: pass\ndef paint_loss(): pass\n")
    file = tmp_path / "own.py"
    losses = "losses=['networks:paint_loss']"
    file.write_text(
        f"import sparse_plugin as s\ns.register_host(s.Host('painter', generators=['networks:Painter'], {losses}))"
    )
    done = sparse_plugin("check", tmp_path, "--import", file, cwd=tmp_path)
    assert done.returncode == 0 and "its patch names no revision" in done.stdout
    assert "Nothing was built" in done.stdout and "It attaches." not in done.stdout


def test_the_revision_is_told_from_another(tmp_path):
    if not is_real("HelenMao+MSGAN"):
        pytest.skip("needs a checkout: SPARSE_PLUGIN_HOSTS names a folder with HelenMao+MSGAN in it")
    assert "as the patch was written for" in check(MSGAN)[1]
    copy = shutil.copytree(MSGAN, tmp_path / "host")
    with open(copy / "networks.py", "a") as f:
        f.write("# another revision\n")
    assert "in networks.py" in check(copy)[1]
