"""deep-image-prior: its networks, built by its own functions with the plugin on."""

import json
import re

import pytest
from drives import DIP, Drive, drive

HOST = Drive(DIP, "dip")
QUARTER = ["--sparse", "l0_inf", "--set", "sparse.k=0.25"]


def skip(depth=3, skips=4, size=32, act=None, down=8, **options):
    skips = [skips] * depth if isinstance(skips, int) else skips
    channels = [down] * depth if isinstance(down, int) else down
    options.update(num_channels_down=channels, num_channels_up=channels, num_channels_skip=skips)
    return {
        "net": "skip",
        "args": [8, 3],
        "options": options | ({"act_fun": act} if act else {}),
        "input": [8, size, size],
    }


SKIP = [
    *(skip(depth, size=2 ** (depth + 1)) for depth in (1, 2, 3, 4, 5, 6)),
    *(skip(skips=skips) for skips in (0, 8, [0, 0, 4], [4, 0, 0], [0, 4, 0])),
    *(skip(pad=pad, skips=skips) for pad in ("zero", "reflection") for skips in (0, 4)),
    *(skip(downsample_mode=mode, pad="reflection") for mode in ("stride", "avg", "max", "lanczos2")),
    *(skip(upsample_mode=mode) for mode in ("nearest", "bilinear", ["nearest", "bilinear", "nearest"])),
    *(skip(act=act) for act in ("LeakyReLU", "Swish", "ELU", "none", "nn.ReLU")),
    skip(down=[4, 8, 16], need1x1_up=False, filter_size_down=5, filter_size_up=3, skips=0, pad="reflection"),
    skip(filter_size_down=[7, 5, 3], filter_skip_size=3, need_sigmoid=False, need_bias=False),
    skip(size=52),  # not divisible by the scales: Concat crops
]
OTHERS = [
    {"net": "get_net", "args": [8, "skip", "reflection", "bilinear"], "options": {"skip_n33d": 8, "skip_n33u": 8}, "input": [8, 64, 64]},
    {"net": "get_net", "args": [8, "UNet", "zero", "bilinear"], "options": {}, "input": [8, 64, 64]},
    {"net": "UNet", "args": [8, 3, 16], "options": {"upsample_mode": "nearest", "norm_layer": "nn.BatchNorm2d"}, "input": [8, 64, 64]},
    {"net": "UNet", "args": [4, 3, 8], "options": {"upsample_mode": "deconv", "concat_x": True}, "input": [4, 64, 64]},
    {"net": "UNet", "args": [8, 3, 16], "options": {"more_layers": 1, "upsample_mode": "nearest"}, "input": [8, 64, 64]},
]  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Reports of every network, built and run once without the plugin, with k of everything, and with a quarter."""
    folder = tmp_path_factory.mktemp("dip")
    cases = folder / "cases.json"
    cases.write_text(json.dumps(SKIP + OTHERS))
    runs = {}
    for name, plugin in {"plain": None, "all": ["--sparse", "l0", "--set", "sparse.k=1.0"], "quarter": QUARTER}.items():
        done, report = drive(HOST, cases, cwd=folder, plugin=plugin, DRIVE_MODE="build")
        assert done.returncode == 0, done.stderr
        runs[name] = report["cases"]
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SKIP + OTHERS)), ids=lambda n: str((SKIP + OTHERS)[n])[:150])
def test_every_scale_is_projected(built, number):
    plain, everything, quarter = (built[name][number] for name in ("plain", "all", "quarter"))
    assert plain["error"] is None and plain["expected"] and quarter["error"] is None
    assert everything["image"] == plain["image"] != quarter["image"]
    # With concat_x the next scale sees Γ beside the dense input.
    beside = 4 if (SKIP + OTHERS)[number]["options"].get("concat_x") else 0
    for path in plain["expected"]:
        (density,), (_, channels, _, _) = quarter["scales"][path]["nonzeros"], quarter["scales"][path]["shape"]
        most = (0.25 * (channels - beside) + beside) / channels
        assert 0 < density <= most < plain["scales"][path]["nonzeros"][0], path


@pytest.mark.parametrize(
    ("case", "sites"),
    [
        ({"net": "ResNet", "args": [8, 3, 2, 8], "input": [8, 32, 32]}, 1),
        ({"net": "dcgan", "args": [8], "options": {"ndf": 8}, "input": [8, 14, 14]}, 1),
        ({"net": "get_texture_nets", "args": [3, [8, 4, 2, 1]], "input": [3, 32, 32]}, 4),
    ],
    ids=lambda v: v["net"] if isinstance(v, dict) else "",
)
def test_networks_without_an_encoder(case, sites, tmp_path):
    """Those have D1, or a branch a scale."""
    done, report = drive(HOST, json.dumps([case]), cwd=tmp_path, plugin=QUARTER, DRIVE_MODE="build")
    assert done.returncode == 0 and report["cases"][0]["error"] is None, done.stderr
    said = re.search(r"attached to \w+ at (.*)", done.stderr).group(1)
    assert said.count(" of ") == sites, said


@pytest.mark.slow
def test_a_prior_is_fitted(tmp_path):
    done, plain = drive(HOST, cwd=tmp_path)
    done, everything = drive(HOST, cwd=tmp_path, plugin=["--sparse", "l0", "--set", "sparse.k=1.0"])
    assert done.returncode == 0 and everything["losses"] == plain["losses"], done.stderr
    done, quarter = drive(HOST, cwd=tmp_path, plugin=QUARTER, bare=True)
    assert done.returncode == 0 and quarter["losses"] != plain["losses"]
    assert quarter["calls"] == plain["calls"]
    assert all(max(scale["nonzeros"]) <= 0.25 for scale in quarter["scales"].values())
    done, sampled = drive(HOST, cwd=tmp_path, plugin=[], DRIVE_MODE="sample")
    assert done.returncode == 0 and all(max(scale["nonzeros"]) <= 0.25 for scale in sampled["scales"].values())


def test_a_penalty_on_every_scale(tmp_path):
    _, plain = drive(HOST, cwd=tmp_path)
    done, penalized = drive(HOST, cwd=tmp_path, plugin=["--sparse", "l1", "--set", "sparse.weight=0.1"])
    assert done.returncode == 0, done.stderr
    assert penalized["generator"] != plain["generator"] and penalized["losses"][0] == plain["losses"][0]
