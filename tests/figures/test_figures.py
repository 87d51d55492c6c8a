"""`figure`: the paper's figures from runs."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from gan_runs import dataset, sparse, train
from PIL import Image

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError
from sparse_plugin.evaluate import outcome
from sparse_plugin.figures import make
from sparse_plugin.figures.kind import FIGURES, Kind, named
from sparse_plugin.figures.palette import colours
from sparse_plugin.gans.trained import load_trained as load
from sparse_plugin.metrics import Score
from sparse_plugin.registry import REGULARIZERS, Constraint
from sparse_plugin.registry.base import Appearance
from sparse_plugin.runs.appearance import rank, title

METHODS = {"vanilla": None, "l0_inf": sparse("l0_inf", k=0.25), "ml_csc": sparse("ml_csc", k=0.5)}


def keep(run, scores):
    outcome.look(run, load(run), 0, scores, {})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three methods, two seeds, measured: the distances are made up, Γ is not."""
    out = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        for place, (name, config) in enumerate(METHODS.items()):
            train("dcgan", out / name / str(seed), config, seed=seed, steps=2)
            keep(out / name / str(seed), {"FD-lite0": Score(50.0 - 5 * place + seed)})
    return out


def drawn(kind, runs):
    """The figure, as an object."""
    return named(kind).draw(outcome.find([str(runs)]))


@pytest.mark.parametrize("kind", ["4a", "B", "4b", "training"])
def test_a_picture_is_written(kind, runs, tmp_path):
    path = make(kind, [str(runs)], tmp_path / "sub" / "figure.png")
    picture = np.asarray(Image.open(path).convert("L"))
    assert min(picture.shape) > 200 and picture.std() > 5
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


def test_bars_show_means_over_seeds(runs):
    left, right = drawn("4a", runs).axes
    levels, distances = ([bar.get_height() for bar in axes.patches] for axes in (left, right))
    assert distances == [50.5, 45.5, 40.5]
    assert levels[1] == pytest.approx(25, abs=1e-3) and levels[0] > 25
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["vanilla", "L0,∞\nk 0.25", "ML\nk 0.5"]
    assert [text.get_text() for text in right.texts] == ["50.5\n± 0.7", "45.5\n± 0.7", "40.5\n± 0.7"]


def test_maps_show_the_needles_of_every_method(runs):
    images = [axes.images[0].get_array() for axes in drawn("4b", runs).axes if axes.images]
    assert [image.shape for image in images] == [(16, 16)] * 3
    assert np.allclose(images[1], 25) and images[0].std() > 0 and images[2].max() <= 50


def test_curves_are_of_the_logs(runs):
    generator, _, level = drawn("training", runs).axes
    assert len([line for line in generator.lines if len(line.get_xdata())]) == 6
    sparse = [line for line in level.lines if len(line.get_xdata())]
    assert len(sparse) == 8  # before and after the projection, of the four runs that have one
    assert {max(line.get_ydata()) <= 50 + 1e-3 for line in sparse if line.get_linestyle() == "-"} == {True}


def test_atoms_of_one_run(runs, tmp_path):
    (d1, effective) = drawn("A", runs / "ml_csc" / "0").axes
    assert "8 atoms of 4x4x3" in d1.get_title(loc="left") and "D_eff = D1 D2: 8 atoms of 8x8x3" in effective.get_title(
        loc="left"
    )
    assert len(drawn("A", runs / "vanilla" / "0").axes) == 1
    with pytest.raises(ConfigError, match="figure A shows the atoms of one run, and 6 were given"):
        make("A", [str(runs)], tmp_path / "a.png")


def test_methods_keep_their_colours():
    found = colours(["vanilla", "l0_inf-k=0.25", "l0_inf-k=0.5", "mine"])
    assert len(set(found.values())) == 4 and colours(["l0_inf-k=0.25"]) == {"l0_inf-k=0.25": found["l0_inf-k=0.25"]}
    assert colours(["mine", "l0_channel-k=0.25"])["l0_channel-k=0.25"] == colours(["l0_channel-k=0.1"])["l0_channel-k=0.1"]
    assert title("l0_channel-k=0.25") == "L0 a channel\nk 0.25"
    assert title("l1-weight=0.1") == "L1\nλ 0.1" and title("vanilla") == "vanilla"


def test_a_regularizer_says_how_it_is_shown(monkeypatch):
    monkeypatch.setattr(REGULARIZERS, "_local", {})
    for name, appearance in (("mine", Appearance("My own", "#123456", 1)), ("plain", None), ("wrong", Appearance(colour="sky"))):
        REGULARIZERS.register(name, type(name, (Constraint,), {} if appearance is None else {"appearance": appearance}), "here")
    found = colours(["vanilla", "l0-k=0.5", "mine-k=1", "plain-k=1", "plain-k=2", "gone-k=1"])
    assert found["mine-k=1"] == "#123456" and found["plain-k=1"] == "#cc79a7" and found["gone-k=1"] == "#f0e442"
    assert found["plain-k=2"] == "#dba1c1" and len({*found.values()}) == 6  # lighter
    labels = ["gone", "ml_csc-k=1", "plain-k=1", "l0_inf-k=1", "mine-k=1", "l1-weight=1", "vanilla", "l0-k=0.25"]
    assert sorted(labels, key=rank) == ["vanilla", "l1-weight=1", "l0-k=0.25", "mine-k=1", "l0_inf-k=1", "ml_csc-k=1", "gone", "plain-k=1"]
    assert title("mine-k=1") == "My own\nk 1" and title("gone-k=1") == "gone\nk 1"
    with pytest.raises(ConfigError, match="the regularizer 'wrong' declares the colour 'sky'; give one such as #CC79A7"):
        colours(["wrong-k=1"])


FIGURE = """
from sparse_plugin.figures.kind import Kind

def draw(runs):
    from matplotlib.figure import Figure
    figure = Figure()
    figure.subplots().bar(range(len(runs)), [len(run.name) for run in runs])
    return figure

NAMES = Kind("how long the names of runs are", draw)
"""


def test_a_package_adds_a_figure(runs, tmp_path, monkeypatch):
    """One file and an entry point; `figure --help` and `list` have it."""
    info = tmp_path / "their_figures-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-figures\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sparse_plugin.figures]\nnames = their_figures:NAMES\nbroken = their_figures:draw\n")
    (tmp_path / "their_figures.py").write_text(FIGURE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FIGURES, "_installed", None)
    monkeypatch.setattr(FIGURES, "_warned", set())
    path = make("Names", [str(runs)], tmp_path / "f.png")
    assert np.asarray(Image.open(path).convert("L")).std() > 5
    shown = CliRunner().invoke(cli, ["figure", "--help"]).output
    assert "4a|4b|A|B|training|psnr|theory|names RUN..." in shown and "  names     how long the names of runs are\n" in shown
    assert "figure names from" not in shown and "  4a, B     sparsity level and distance of every method\n" in shown
    with pytest.raises(ConfigError, match="figure 'broken' from their-figures 1 .* must be a Kind object"):
        make("broken", [str(runs)], tmp_path / "g.png")
    assert isinstance(named("b"), Kind)


def test_help_loads_nothing_that_draws():
    code = "import sys; from sparse_plugin.figures.kind import listed; listed(); print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_what_cannot_be_drawn(runs, tmp_path):
    (tmp_path / "there.png").write_bytes(b"mine")
    for kind, folder, path, said in (
        ("4c", runs, "a.png", "there is no figure '4c'"),
        ("4a", runs, "a.bmp", r"a figure is written as .png, .svg, .pdf, and .*a.bmp was asked for"),
        ("4a", runs, "there.png", "there.png exists; name another file, or replace it with --force"),
        ("4a", tmp_path, "a.png", "is not the directory of a run, and holds none"),
    ):
        with pytest.raises(ConfigError, match=said):
            make(kind, [str(folder)], tmp_path / path)
    with pytest.raises(ConfigError, match="holds none"):
        make("4a", [str(tmp_path)], tmp_path / "new/a.png")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "there.png").read_bytes() == b"mine" and not (tmp_path / "a.png").exists()
    shutil.copytree(runs / "vanilla" / "0", tmp_path / "bare")
    (tmp_path / "bare/result.json").unlink()
    with pytest.raises(
        ConfigError, match=r"bare was not measured; `sparse-plugin evaluate .*bare --data PATH --save` does"
    ):
        make("4a", [str(tmp_path / "bare")], tmp_path / "a.png")
    train("dcgan", tmp_path / "bare", METHODS["vanilla"], steps=2)
    keep(tmp_path / "bare", {"FD-lite0": Score(1.0)})
    train("dcgan", tmp_path / "longer", METHODS["vanilla"], steps=3)
    keep(tmp_path / "longer", {"FD-lite0": Score(1.0)})
    with pytest.raises(ConfigError, match=r"bare and .*longer do not compare: they differ in steps, the step that was measured; draw"):
        make("4a", [str(tmp_path)], tmp_path / "a.png")
    shutil.rmtree(tmp_path / "longer")
    restored = tmp_path / "bare/image/restoration"  # a run of `restore`, which is none of a GAN
    (restored / "checkpoints").mkdir(parents=True)
    (restored / "config.json").write_text('{"version": 1, "kind": "restore"}')
    assert outcome.find([str(tmp_path)]) == [tmp_path / "bare"]
    (tmp_path / "bare/log.jsonl").unlink()
    with pytest.raises(ConfigError, match="bare has no log.jsonl with steps in it"):
        make("training", [str(tmp_path / "bare")], tmp_path / "a.png")


def test_the_command(runs, tmp_path):
    path = str(tmp_path / "f.SVG")
    done = CliRunner().invoke(cli, ["figure", "4b", str(runs), "-o", path])
    assert (done.exit_code, done.output) == (0, f"{path}\n")
    again = CliRunner().invoke(cli, ["figure", "4b", str(runs), "-o", path])
    assert again.exit_code == 2 and "exists" in again.output
    assert CliRunner().invoke(cli, ["figure", "4b", str(runs), "-o", path, "--force"]).exit_code == 0


def test_runs_of_other_steps_or_data_and_the_same_run_twice_do_not_stand_side_by_side(runs, tmp_path):
    """A run that was measured on its way, one that was trained on other images, and a copy, which would be a seed more."""
    shutil.copytree(runs / "vanilla" / "0", tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"/0 and .*copy are of one method, vanilla, and one seed, 0, which would count twice; leave one out"):
        make("4a", [str(runs), str(tmp_path / "copy")], tmp_path / "a.png")
    path = tmp_path / "copy" / "result.json"
    path.write_text(path.read_text().replace('"step": 2', '"step": 1'))
    with pytest.raises(ConfigError, match="do not compare: they differ in the step that was measured"):
        make("4a", [str(runs), str(tmp_path / "copy")], tmp_path / "a.png")
    train("dcgan", tmp_path / "other", steps=2, seed=7, data=dataset(23))
    keep(tmp_path / "other", {"FD-lite0": Score(1.0)})
    for kind in ("4a", "4b"):
        with pytest.raises(ConfigError, match="do not compare: they differ in data"):
            make(kind, [str(runs), str(tmp_path / "other")], tmp_path / "a.png")
