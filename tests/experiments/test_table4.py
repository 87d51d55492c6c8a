"""`experiment table4`: denoising by Deep Image Prior, as in the paper's Table 4."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.experiments import table4
from sparse_plugin.experiments.denoising_run import find
from sparse_plugin.experiments.records import restorations
from sparse_plugin.experiments.restored_page import groups
from sparse_plugin.experiments.table4 import SCALES
from sparse_plugin.experiments.table4 import run_table4 as run
from sparse_plugin.experiments.table4_report import PAPER, by_run
from sparse_plugin.figures import make

QUICK = {"crop": 64, "iterations": 20, "runs": 2, "width": 1 / 16, "methods": ["vanilla", "l0:k=0.25"], "device": "cpu"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:70, :80]
    for name, of in {"one": x, "two": y}.items():
        pixels = np.stack([127 + 100 * np.sin(of / s) for s in (5, 8, 13)], -1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return str(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("out")
    said, code = run(out, [images], command="the command", **QUICK)
    assert code == 0
    return out, said


def test_the_table_has_every_image_method_and_run(made):
    out, said = made
    outcomes = find([out])
    assert {(o.image, o.method, o.seed) for o in outcomes} == {
        (image, method, seed) for image in ("one", "two") for method in ("vanilla", "l0-k=0.25") for seed in (0, 1)
    }
    assert said.startswith((out / "table4.md").read_text()) and "| best single output | here |" in said
    assert "28.74 ± 0.03 | 29.22 ± 0.06" in said and "20 iterations, width 0.0625, 2 images of 64x64 pixels" in said
    rows = json.loads((out / "table4.json").read_text())
    means = by_run(outcomes, "average")
    expected = np.mean([r["psnr"]["average"][0] for r in rows if (r["method"], r["seed"]) == ("l0-k=0.25", 1)])
    assert means["l0-k=0.25"][1] == pytest.approx(expected)


def test_noise_is_the_papers_and_the_same_for_all_methods(made):
    outcomes = find([made[0]])
    noisy = {(o.image, o.seed): {p.noisy for p in outcomes if (p.image, p.seed) == (o.image, o.seed)} for o in outcomes}
    assert all(len(values) == 1 for values in noisy.values()) and len({v for (v,) in noisy.values()}) == 4
    assert all(20 < value < 21.5 for (value,) in noisy.values())  # -20 log10(25/255), a little more where it is cut


def test_every_scale_is_held_to_its_density(made):
    for found in find([made[0]]):
        assert len(found.density) == 5
        held = [density <= 0.25 + 1e-6 for density in found.density]
        assert all(held) if found.method != "vanilla" else not any(held)


def test_the_same_command_again_denoises_nothing(made, images, monkeypatch):
    out, said = made
    monkeypatch.setattr("sparse_plugin.restore.restore", lambda *_, **__: pytest.fail("denoised again"))
    assert run(out, [images], command="the command", **QUICK) == (said, 0)


def test_a_run_of_another_configuration_is_refused(made, images):
    with pytest.raises(
        ConfigError, match=r"vanilla/run0 holds a run of another configuration \(iterations\); name another"
    ):
        run(made[0], [images], **{**QUICK, "iterations": 30})


def test_a_killed_table_goes_on_to_the_same_numbers(images, tmp_path, monkeypatch, made):
    from sparse_plugin.restore import restoration

    step = restoration.Restoration.step

    class Killed(BaseException):
        pass

    def dies(self, logged):
        if self.iteration == 15:
            raise Killed
        return step(self, logged)

    monkeypatch.setattr(restoration.Restoration, "step", dies)
    with pytest.raises(Killed):
        run(tmp_path, [images], **QUICK)
    monkeypatch.undo()
    run(tmp_path, [images], **QUICK)
    assert [o.psnr for o in find([tmp_path])] == [o.psnr for o in find([made[0]])]


def test_the_curves_are_drawn(made, tmp_path):
    picture = np.asarray(Image.open(make("psnr", [str(made[0])], tmp_path / "psnr.png")).convert("L"))
    assert picture.std() > 5
    with pytest.raises(ConfigError, match="holds no finished runs of table 4"):
        make("psnr", [str(tmp_path)], tmp_path / "none.png")


def test_the_papers_numbers_and_scale():
    assert PAPER["average"]["l0"] == (30.21, 0.05) and PAPER["single"]["vanilla"] == (28.74, 0.03)
    assert (SCALES["paper"].crop, SCALES["paper"].iterations) == (None, 3000)
    assert [m.name for m in table4.methods_of((), ())] == ["vanilla", "l0_inf", "l0"]
    assert [m.label for m in table4.methods_of(("vanilla", "l0_channel:k=0.25"), ())] == ["vanilla", "l0_channel-k=0.25"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop": 71}, "a square of 71 pixels was to be cut from one, which is 80x70; give a crop from 1 to 70"),
        ({"scale": "huge"}, "there is no scale 'huge'"),
        ({"runs": 0}, "0 runs were asked for"),
        ({"iterations": 0}, "iterations is 0"),
        ({"methods": ["l7"]}, "there is no method 'l7'"),
        ({"crop": 16}, "the restored image is 16x16 and a network of 5 scales reaches over 64 pixels"),
    ],
)
def test_what_is_refused(images, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, [images], **{**QUICK, **options})


def test_images_that_cannot_be_used(images, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty holds no images; give a folder with .png"):
        run(tmp_path / "out", [str(tmp_path / "empty")], **QUICK)
    with pytest.raises(ConfigError, match="two images are called one"):
        run(tmp_path / "out", [images, images], **QUICK)
    (tmp_path / "text.png").write_text("no image")
    done = CliRunner().invoke(
        cli, ["experiment", "table4", "--images", str(tmp_path / "text.png"), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 2 and "text.png is not an image" in done.output


def test_all_images_are_checked_before_the_first_is_denoised(tmp_path):
    for name, side in (("large", 64), ("small", 48)):
        Image.fromarray(np.full((side, side, 3), 99, np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.raises(
        ConfigError, match="the restored image is 48x48 and a network of 5 scales reaches over 64 pixels"
    ):
        run(tmp_path / "out", [str(tmp_path)], **{**QUICK, "crop": None}, scale="paper")
    assert not (tmp_path / "out").exists()


def test_a_damaged_result_is_refused_by_its_name(images, tmp_path):
    quick = {**QUICK, "runs": 1, "iterations": 1, "methods": ["vanilla"]}
    path = tmp_path / "one/vanilla/run0/result.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"result.json is damaged: .*; delete it, and the image is denoised again"
    ):
        run(tmp_path, [images], **quick)


WHOLE = {
    "image": "one", "method": "l0", "seed": 0, "noisy": 20.0, "psnr": {"single": [28.0, 9], "average": [29.0, 10]}, "density": [0.5],
    "curves": {"single": [27.0], "average": [28.0]}, "protocol": {"iterations": 10, "width": 1.0, "size": [64, 64]},
    "chosen": {"k": [0.5], "psnr": {"single": 1.0, "average": 2.0}, "iteration": 3, "value": 0.1, "pixels": 40, "iterations": 80},
}  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {"density": []}, {"density": ["x"]}, {"curves": {"single": [1.0]}}, {"curves": {"single": 1, "average": 2}}, {"noisy": "20"},
        {"psnr": {"single": [28.0, 9]}}, {"seed": None}, {"image": 7}, {"protocol": {"iterations": 10}}, {"chosen": {"k": []}},
        {"chosen": {**WHOLE["chosen"], "psnr": {}}}, {"chosen": [1]}, {"final": [3]}, {"further": 1},
    ],
)  # fmt: skip
def test_a_result_with_a_field_of_another_kind_is_refused_where_it_is_read(other, tmp_path):
    path = tmp_path / "one/l0/run0/result.json"
    (path.parent / "restoration").mkdir(parents=True)
    path.write_text(json.dumps(WHOLE))
    assert [made.psnr["average"] for made in find([tmp_path])] == [(29.0, 10)]
    path.write_text(json.dumps(WHOLE | other))
    with pytest.raises(CheckpointError, match=r"result.json is damaged: .*; delete it, and the image is denoised again"):
        find([tmp_path])


def test_built_in_photographs_by_default(tmp_path):
    quick = ["--iterations", "10", "--width", "0.0625", "--crop", "64", "--methods", "vanilla", "--device", "cpu"]
    done = CliRunner().invoke(cli, ["experiment", "table4", "--out", str(tmp_path), *quick])
    assert done.exit_code == 0 and "| astronaut |" in done.output, done.output


def test_auto_chooses_without_the_clean_image_and_says_what(images, tmp_path):
    options = {**QUICK, "runs": 1, "iterations": 40, "methods": ["vanilla", "l0_inf:k=auto"], "record": tmp_path / "runs.jsonl"}
    said, code = run(tmp_path / "out", [images], **options)
    assert code == 0
    automatic = {made.image: made for made in find([tmp_path / "out"]) if made.method == "l0_inf-k=auto"}
    assert set(automatic) == {"one", "two"}
    for made in automatic.values():
        chosen = made.chosen
        assert chosen["criterion"] == "heldout" and len(chosen["k"]) == 5 and chosen["iterations"] <= 80
        assert chosen["refit"] == 2 and chosen["psnr"]["average"] != made.psnr["average"][0]  # what followed is in it alone
        row = f"| l0_inf-k=auto | {made.image} | 0 | {chosen['k'][0]:g} | {chosen['iteration']} | "
        assert row + f"{chosen['psnr']['single']:.2f} / {chosen['psnr']['average']:.2f}" in said
    assert not any(made.chosen for made in find([tmp_path / "out"]) if made.method == "vanilla")
    records = restorations(tmp_path / "runs.jsonl")
    assert {record.image["name"]: record.chosen for record in records if record.chosen} == {
        name: made.chosen for name, made in automatic.items()
    }
    (group,) = groups(records)  # beside the plain ones, of which it differs by its rule
    assert len(group.records) == 4
    assert run(tmp_path / "out", [images], **options)[1] == 0


def test_auto_that_cannot_choose_is_refused_before_anything_is_denoised(images, tmp_path):
    with pytest.raises(ConfigError, match="20 iterations are too few to tell one k from another"):
        run(tmp_path / "out", [images], **{**QUICK, "methods": ["vanilla", "l0_inf:k=auto"]})
    assert not (tmp_path / "out").exists()
