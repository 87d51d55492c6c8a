"""Figures of too few points, legends, places that cannot be written, and progress without a terminal."""

import io
import json
import math
import re
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gan_runs import train
from matplotlib.figure import Figure

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments.table4_report import DenoisingOutcome as Outcome
from sparse_plugin.experiments.table4_report import by_run, markdown
from sparse_plugin.figures import psnr, training
from sparse_plugin.restore import figure as report
from sparse_plugin.restore.result import Curves
from sparse_plugin.restore.result import RestorationResult as Result
from sparse_plugin.support import progress


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function: a run's directory with such a log."""
    trained = tmp_path_factory.mktemp("runs") / "a"
    train("dcgan", trained, None, steps=1)

    def make(path, steps, sparse=None, **values):
        shutil.copytree(trained, path)
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {"sparse": sparse}))
        lines = [json.dumps({"step": step, "generator/adversarial": 1.0, **values}) for step in steps]
        (path / "log.jsonl").write_text("\n".join(lines) + "\n")
        return path

    return make


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_panels_without_points_say_so_and_dashes_are_explained(run, tmp_path):
    sparse = {"regularizer": "l0_inf", "k": 0.25}
    vanilla = run(tmp_path / "a", range(1, 50))
    constrained = run(tmp_path / "b", [2], sparse, sparsity_1=25.0, sparsity_before_1=50.0)
    drawn = training.draw([vanilla])
    assert [texts(axes) for axes in drawn.axes] == [[], *[["not in the logs of these runs"]] * 2]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["vanilla"]
    drawn = training.draw([vanilla, constrained])
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "vanilla",
        "L0,∞ k 0.25",
        "before the projection",
    ]
    assert [line.get_marker() for line in drawn.axes[0].lines] == ["", "o"]  # one point alone would not be seen
    assert [line.get_marker() for line in drawn.axes[2].lines] == ["o", "o"] and not texts(drawn.axes[2])


def made(method, points):
    return Outcome("x", method, 0, 20.0, {}, [0.5], {"single": [20.0] * points, "average": [21.0] * points}, {})


def test_psnr_of_few_iterations():
    assert [line.get_marker() for axes in psnr.draw([made("vanilla", 1)]).axes for line in axes.lines] == ["o", "o"]
    with pytest.raises(ConfigError, match="has a point every 10 iterations, and these restorations have fewer"):
        psnr.draw([made("vanilla", 0)])
    with pytest.raises(ConfigError, match="do not compare: they have 30 and 40 iterations"):
        psnr.draw([made("vanilla", 3), made("l0-k=0.5", 4)])


def restored(count, clean=False, level=(0.9, 0.5, 0.02)):
    values = Curves(loss=list(np.exp(-np.linspace(0, 3, count))), variance=[math.nan] * count)
    values.density = {i: list(level) for i in range(1, count + 1, 50)} if level else {}
    if count > 100:
        values.variance[99:] = np.exp(-np.linspace(0, 3, count - 99)).tolist()
    if clean:
        values.psnr_single = values.psnr_average = np.linspace(15, 30, count).tolist()
    image = np.zeros((8, 8, 3), np.float32)
    return Result(image, image, count, count, False, {}, values, ((8, 8), (4, 4), (2, 2)))


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k))[1])
    return saved


@pytest.mark.parametrize("count", [1, 5, 300])
@pytest.mark.parametrize("clean", [False, True])
def test_reports_of_restorations(count, clean, figures):
    result = restored(count, clean)
    image = result.average
    report.report("x", image, result, image if clean else None)
    levels, loss, last = figures[0].axes[-3:]
    for axes in (levels, loss, last):
        visible = [line for line in axes.lines if np.isfinite(line.get_ydata()).sum() > 1 or line.get_marker() == "o"]
        assert texts(axes) or len(visible) >= 1, axes.get_title()
        legend = axes.get_legend()
        if legend is None:
            continue
        box, inside = legend.get_window_extent(), axes.get_window_extent()
        assert box.y1 < inside.y0 and box.y0 >= 0  # under the axes, on no curve, in the picture
    assert f"the result, iteration {count}" in [text.get_text() for text in loss.get_legend().get_texts()]
    if count < 100 and not clean:
        assert texts(last) == ["none was taken: there are fewer\nthan 100 iterations, or no rule"]
    report.report("x", image, restored(count, clean, level=()))
    assert texts(figures[1].axes[-3]) == ["not measured in these iterations"]


def test_places_that_cannot_be_written(run, tmp_path, monkeypatch):
    path = run(tmp_path / "a", [1, 2, 3])
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.png").mkdir()
    for out in (
        tmp_path / "file" / "f.png",
        tmp_path / "file" / "deeper" / "f.png",
        tmp_path / ("x" * 300 + ".png"),
        "/proc/none/f.png",
    ):
        done = CliRunner().invoke(cli, ["figure", "training", str(path), "-o", str(out)])
        assert done.exit_code == 2 and done.output.count("\n") == 1, done.output
        assert "could not be written: " in done.output and "; name a place that can be written to" in done.output
    done = CliRunner().invoke(cli, ["figure", "training", str(path), "-o", str(tmp_path / "folder.png"), "--force"])
    assert done.exit_code == 2 and "could not be written" in done.output and (tmp_path / "folder.png").is_dir()

    def full(self, file, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    done = CliRunner().invoke(cli, ["figure", "training", str(path), "-o", str(tmp_path / "new" / "f.png")])
    assert done.exit_code == 1 and "could not be written: No space left on device; make room" in done.output
    assert not list((tmp_path / "new").iterdir())


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    for _ in progress.track([1, 2], "quick", 4, 2):
        pass
    with progress.busy("quick"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "QUIET", 0.02)
    for _ in progress.track(range(3), "slow", 50_000, 20_000):
        time.sleep(0.03)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and re.match("slow: 20000 of 50000, [0-9]+ s gone, [0-9]+ s left", lines[0])
    with progress.busy("FID"):
        said = ""
        while not said.endswith("\n"):
            time.sleep(0.02)
            said += capsys.readouterr().err
    capsys.readouterr()
    assert re.fullmatch(r"(FID: \d+ s so far\n)+", said)
    time.sleep(0.05)
    assert capsys.readouterr().err == ""  # it stops with what it speaks of


def test_reading_and_sampling_show_progress(monkeypatch, capsys, tmp_path):
    from PIL import Image

    from sparse_plugin.data import load
    from sparse_plugin.gans.trained import TrainedGenerator as Trained

    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    for i in range(300):
        (tmp_path / f"{i}.png").write_bytes(png.getvalue())
    monkeypatch.setattr(progress, "QUIET", 0.0)
    load(str(tmp_path), 8)
    assert f"reading the images of {tmp_path.name}: 128 of 300" in capsys.readouterr().err
    batches = SimpleNamespace(sample=lambda count, seed: iter(torch.zeros(4, 100, 3, 8, 8)))
    assert len(Trained.sampled(batches, 400)) == 400
    assert "sampling 400 images: 100 of 400" in capsys.readouterr().err


def test_means_over_images_are_of_those_that_every_method_has():
    """A half-finished table compares methods, not images: an easy one that vanilla alone has is in no mean."""

    def of(image, method, value):
        return Outcome(image, method, 0, 20.0, {"single": (value, 5), "average": (value, 5)}, [0.5], {"single": [value], "average": [value]},
                       {"iterations": 10, "width": 1.0, "size": [64, 64]})  # fmt: skip

    some = [of("hard", "vanilla", 25.0), of("easy", "vanilla", 35.0), of("hard", "l0-k=0.25", 26.0)]
    assert by_run(some, "single") == {"vanilla": [25.0], "l0-k=0.25": [26.0]}
    text = markdown(some)
    assert "| best single output | here | 25.00 | 26.00 |" in text and "| easy | 20.00 | 35.00 / 35.00 at 5 |  |" in text
    assert "- not in the means over images, for want of the same image and run of every method: easy, vanilla, run 0" in text
    assert sorted(line.get_ydata()[0] for line in psnr.draw(some).axes[0].lines) == [25.0, 26.0]
    assert "not in the means" not in markdown([some[0], some[2]])
    apart = [of("easy", "vanilla", 35.0), of("hard", "l0-k=0.25", 26.0)]
    assert "| best single output | here |  |  |" in markdown(apart)
    with pytest.raises(ConfigError, match="the methods have no image and run in common"):
        psnr.draw(apart)
