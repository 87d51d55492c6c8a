"""PyTorch-StudioGAN: its backbones, its ways of running in parallel, and mistakes in its section SPARSE."""

import dataclasses
import functools
import json
import sys

import pytest
import yaml
from drives import HOSTS, STAND_INS, drive
from host_roots import is_real
from launched import sparse_plugin

STUDIO = HOSTS["studiogan"]
BACKBONES = {
    "DCGAN": "conv4",
    "WGAN-GP": "conv2d5",
    "SAGAN": "conv2d5",
    "BigGAN-Deep": "conv2d5",
    "BigGAN-Deep-StudioGAN": "conv2d5",
    "StyleGAN2": "synthesis.b32.torgb",
    "StyleGAN3-t-ADA": "synthesis.L14_32_3",
    "StyleGAN3-r-ADA": "synthesis.L14_32_3",
}


def studio(config):
    return dataclasses.replace(STUDIO, env={"DRIVE_CONFIG": config})


@pytest.mark.parametrize("config", BACKBONES)
def test_every_backbone(config, tmp_path):
    done, report = drive(studio(config), cwd=tmp_path, plugin=[], **STUDIO.own("l0_inf", k=0.25))
    assert done.returncode == 0, done.stderr
    assert f"at the input of {BACKBONES[config]} " in done.stderr
    assert report["calls"] and max(report["nonzeros"]) <= 0.25


def reports(mode, folder, plugin=None):
    """What each process of a run in this mode reports."""
    config, words, env = MODES[mode]
    done, _ = drive(studio(config), *words, cwd=folder, plugin=plugin, **env)
    assert done.returncode == 0, done.stderr
    return [json.loads(file.read_text()) for file in sorted(folder.glob("report.json*"))]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Reports of runs without the plugin, each run once."""
    return functools.cache(lambda mode: reports(mode, tmp_path_factory.mktemp("plain")))


MODES = {
    "StyleGAN2": ("StyleGAN2", [], {}),
    "DataParallel": ("SNGAN", [], {"DRIVE_GPUS": "2"}),
    "DDP": ("SNGAN", ["-DDP"], {"DRIVE_GPUS": "2"}),
    "mixed precision": ("SNGAN", ["-mpc"], {}),
    "accumulation": ("SNGAN", [], {"DRIVE_SET": '{"OPTIMIZATION": {"acml_steps": 2}}'}),
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["StyleGAN2", "DDP", "mixed precision"])
def test_k_of_everything_changes_nothing(mode, plain, tmp_path):
    everything = reports(mode, tmp_path, ["--sparse", "l0_inf", "--set=sparse.k=1.0"])
    assert len(plain(mode)) == len(everything) == (2 if mode == "DDP" else 1)
    for before, after in zip(plain(mode), everything, strict=True):
        for key in ("generator", "ema", "losses", "calls", "nonzeros"):
            assert after[key] == before[key], key


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["StyleGAN2", "DDP", "DataParallel", "mixed precision", "accumulation"])
def test_l1(mode, plain, tmp_path):
    """StyleGAN2 takes steps for path-length regularization too, which are not to be penalized."""
    penalized = reports(mode, tmp_path, ["--sparse", "l1", "--set=sparse.weight=2.0"])
    logs = sorted(file.name for file in tmp_path.rglob("sparsity*.jsonl"))
    assert logs == (["sparsity.jsonl", "sparsity.rank1.jsonl"] if mode == "DDP" else ["sparsity.jsonl"])
    for before, after in zip(plain(mode), penalized, strict=True):
        assert after["calls"] == before["calls"] and after["generator"] != before["generator"]
        assert after["losses"][0] > before["losses"][0] + 0.1


@pytest.mark.slow
def test_the_multi_hinge_loss_has_a_factor_of_its_own(tmp_path):
    """The penalty counts once, whatever mh_lambda is."""
    weights = []
    for factor in (1.0, 4.0):
        grown = []
        for sparse in ({}, {"SPARSE": {"regularizer": "l1", "weight": 2.0}}):
            folder = tmp_path / f"{factor}{len(sparse)}"
            folder.mkdir()
            given = json.dumps({"LOSS": {"mh_lambda": factor}, **sparse})
            done, report = drive(studio("MHGAN"), cwd=folder, plugin=[] if sparse else None, DRIVE_SET=given)
            assert done.returncode == 0, done.stderr
            grown.append(report["losses"][0])
        weights.append(grown[1] - grown[0])
    assert weights[0] == pytest.approx(weights[1], rel=1e-3) and weights[0] > 0.1


@pytest.mark.slow
def test_checkpoints_with_numpy_scalars_load(tmp_path):
    """best_fid is one, and torch 2.6 and newer refuse it; the host loads its best checkpoint at its end, and on resuming."""
    if is_real("POSTECH-CVLab+PyTorch-StudioGAN"):
        pytest.skip("needs the weights of Inception")
    words, sparse = ["-metrics", "fid"], STUDIO.own("l0_inf", k=0.25)
    done, _ = drive(studio("SNGAN"), *words, cwd=tmp_path, plugin=[], **sparse)
    assert done.returncode == 0, done.stderr
    (checkpoint,) = (tmp_path / "save" / "checkpoints").iterdir()
    longer = json.dumps({**json.loads(sparse["DRIVE_SET"]), "OPTIMIZATION": {"total_steps": 4}})
    done, resumed = drive(studio("SNGAN"), *words, "-ckpt", checkpoint, cwd=tmp_path, plugin=[], DRIVE_SET=longer)
    assert done.returncode == 0 and max(resumed["nonzeros"]) <= 0.25, done.stderr


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"regularizer": "l0inf", "k": 1}, "Did you mean 'l0_inf'?"),
        ({"regularizer": "l0_inf", "kk": 1}, "no field 'kk'"),
        ({"k": 16}, "no regularizer is named"),
        ("l0_inf", "SPARSE is 'l0_inf'; write `regularizer: l0_inf`"),
    ],
)
def test_mistakes_in_its_section(section, sentence, tmp_path):
    done = configure(tmp_path, {"SPARSE": section})
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert "SPARSE" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "error"), [({"SPRASE": {"k": 1}}, "KeyError"), ({"LOSS": {"adv_los": 1}}, "AttributeError")]
)
def test_its_own_errors_for_typos_still_fire(given, error, tmp_path):
    done = configure(tmp_path, given, "--sparse", "l0", "--set", "sparse.k=1")
    assert done.returncode == 1 and error in done.stderr


def configure(folder, sections, *options):
    """The host's Configurations on a file with these sections, with the plugin on."""
    (folder / "given.yaml").write_text(yaml.safe_dump(sections))
    (folder / "script.py").write_text(
        f"import sys\nsys.path.insert(0, {str(STAND_INS)!r})\nimport drive_common as drive\n"
        f"sys.argv = ['script.py', {str(STUDIO.root)!r}]\ndrive.start()\n"
        "drive.stub('wandb', 'seaborn', 'kornia', 'timm', 'sklearn', 'cv2')\n"
        "from packaging.version import parse\ndrive.module('pkg_resources', parse_version=parse)\n"
        "import config\nconfig.Configurations('given.yaml')\n"
    )
    return sparse_plugin("run", *options, "--", sys.executable, "script.py", cwd=folder)
