"""The demo: photographs without a download, two real runs, a page that holds all it shows."""

import io
import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from sparse_plugin.demo import run as demo
from sparse_plugin.demo.result import crops
from sparse_plugin.demo.training import TrainingError
from sparse_plugin.errors import ConfigError

TINY = ("--batch-size", "4", "--crops", "16")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A demo of four steps: its folder, and what was said."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, demo.make_demo(4, str(folder), width=8, flags=TINY)


@pytest.fixture(scope="module")
def page(made):
    return (made[0] / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_says_where_the_page_is(made):
    folder, said = made
    assert said == f"The page is {folder / 'index.html'}, the picture {folder / 'demo.png'}."


def test_the_page_holds_all_it_shows(page):
    shown = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert len(shown) >= 8
    assert all(address.startswith("data:image/png;base64,") for address in shown)
    text = re.sub(r'"data:[^"]*"', '""', page)
    assert "<script" not in text and "<link" not in text and "url(" not in text and "http" not in text
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text


def test_the_page_shows_both_runs_and_their_commands(made, page):
    folder, _ = made
    for k, name in (("1.0", "vanilla"), ("2", "l0_inf")):
        command = (
            f"OMP_NUM_THREADS=1 sparse-plugin run --sparse l0_inf --set sparse.k={k} -- "
            f"python train.py --steps 4 --width 8 {shlex.join(TINY)} --log-dir runs/{name}"
        )
        assert command in page
        assert command in json.loads((folder / "demo.json").read_text())["commands"]
        assert f"<b>{name}</b>" in page
    assert "sparse-plugin run --sparse l0_inf --set sparse.k=16 --generator" in page
    assert "not of quality" in page
    assert str(folder) not in page


def test_the_numbers_are_those_of_the_runs(made, page):
    rows = dict(re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", page))
    values = {what: re.findall(r"<td>(.*?)</td>", cells) for what, cells in rows.items()}
    assert values["Steps of the generator"] == ["4", "4"]
    assert values["k, coefficients that a needle keeps"] == ["all 8", "2 of 8"]
    fullest = [int(text.split()[0]) for text in values["Non-zeros of the fullest needle"]]
    assert fullest[0] > 2 and fullest[1] == 2
    vanilla, sparse = (float(text.split()[0]) for text in values["Sparsity level, non-zeros of Γ"])
    assert sparse <= 25 < vanilla
    assert all(float(text) > 0 for text in values["Seconds per step, median"])
    for name, bound in (("vanilla", 100), ("l0_inf", 25)):
        lines = (made[0] / "runs" / name / "sparsity.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
        assert all(0 < json.loads(line)["sparsity"] <= bound for line in lines)


def test_both_runs_start_alike(made):
    """The same initial weights and noise: what the generators offer at the first step, before any projection, is one."""
    first = [
        json.loads((made[0] / "runs" / name / "sparsity.jsonl").read_text().splitlines()[0])
        for name in ("vanilla", "l0_inf")
    ]
    assert first[0]["sparsity_before"] == first[1]["sparsity_before"]


def test_the_picture(made):
    picture = Image.open(io.BytesIO((made[0] / "demo.png").read_bytes()))
    assert picture.size == (1600, 890)
    assert len((made[0] / "demo.png").read_bytes()) < 400_000
    assert len(picture.convert("RGB").resize((160, 89)).getcolors(160 * 89)) > 100


def test_a_second_demo_and_a_run_that_fails(made, tmp_path, monkeypatch, capsys):
    folder, _ = made
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    script = tmp_path / "train.py"
    script.write_text("print('out of luck', flush=True)\nraise SystemExit(7)\n")
    monkeypatch.setattr(demo, "SCRIPT", script)
    with pytest.raises(TrainingError) as error:
        demo.make_demo(4, str(folder), width=8)
    second = folder.with_name("demo-2")
    assert f"{folder} holds an earlier demo, which stays; this one goes to {second}" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    text = str(error.value)
    assert re.match(r"the training run (vanilla|l0_inf) exited with code 7; its log .* ends with\n", text)
    assert "\n  | out of luck\n" in text and "OMP_NUM_THREADS=1 sparse-plugin run" in text
    assert not (second / "index.html").exists()


def test_a_folder_with_something_else_in_it(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something that is no demo; name a new or an empty one"):
        demo.make_demo(4, str(tmp_path))
    with pytest.raises(ConfigError, match=r"notes\.txt is a file; name a folder"):
        demo.make_demo(4, str(tmp_path / "notes.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "NEEDED", (*demo.NEEDED, "no_such_package"))
    with pytest.raises(
        ConfigError, match=r"the demo needs no_such_package, which is not installed; .*sparse-plugin\[demo\]"
    ):
        demo.make_demo(4, str(tmp_path / "demo"))
    assert not (tmp_path / "demo").exists()


def test_photographs_without_a_download_cut_the_same_each_time(monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("the demo must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    first, again, other = crops(64, 0), crops(64, 0), crops(64, 1)
    assert first.shape == (64, 3, 32, 32) and -1 <= first.min() < -0.5 and 0.5 < first.max() <= 1
    assert first.equal(again) and not first.equal(other)
    assert first.std((1, 2, 3)).median() > 0.05  # photographs, not flat colours

    from sparse_plugin.demo.train import HEIGHTS, PHOTOGRAPHS, photographs

    assert len(photographs()) == len(PHOTOGRAPHS) * len(HEIGHTS)


def test_the_training_script_knows_nothing_of_the_plugin():
    code = "\n".join(line for line in Path(demo.SCRIPT).read_text().splitlines() if "import" in line)
    assert "torch_mimicry" in code and "sparse_plugin" not in code
