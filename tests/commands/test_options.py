"""Every option of every command has an effect, and every option is in these tables.

An entry tells what is given and what is to be seen of it: of quick commands in what they did, of long ones in the call that
does the work, whose signature is kept.
"""

import importlib
import inspect
import json
import sys

import click
import pytest
import torch
from command_options import TRAIN, call, found
from generators import Residual

from sparse_plugin import attach
from sparse_plugin.commands.cli import cli
from sparse_plugin.registry import REGULARIZERS


def spied(monkeypatch, where, returns):
    """Replaces a function that takes long by one that only notes its arguments, by name."""
    module, _, name = where.partition(":")
    module = importlib.import_module(module)
    signature, calls = inspect.signature(getattr(module, name)), []

    def noted(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        calls.append({**{k: v for k, v in given.items() if k != "settings"}, **given.get("settings", {}), **given.get("options", {})})
        return returns

    monkeypatch.setattr(module, name, noted)
    return calls


# ---- but for train: (what is given, the argument of the call that does the work, its value) ----

EXPERIMENT = {
    "out": (["--out", "x"], "out", "x"),
    "scale": (["--scale", "paper"], "scale", "paper"),
    "archs": (["--archs", "dcgan,sngan"], "archs", ["dcgan", "sngan"]),
    "methods": (["--methods", "vanilla,l1:weight=0.1"], "methods", ["vanilla", "l1:weight=0.1"]),
    "seeds": (["--seeds", 5], "seeds", 5),
    "first_seed": (["--first-seed", 3], "first_seed", 3),
    "fractions": (["--fraction", 0.5], "fractions", (0.5,)),
    "no_control": (["--no-control"], "controls", False),
    "width": (["--width", 0.5], "width", 0.5),
    "steps": (["--steps", 7], "steps", 7),
    "batch": (["--batch", 8], "batch", 8),
    "samples": (["--samples", 99], "samples", 99),
    "precision": (["--precision", "float16"], "precision", "float16"),
    "metrics": (["--metric", "KID-lite0"], "metrics", ("KID-lite0",)),
    "inception": (["--inception", "w.pth"], "inception", "w.pth"),
    "kid_subset": (["--kid-subset", 50], "kid_subset", 50),
    "checkpoint_every": (["--checkpoint-every", 4], "checkpoint_every", 4),
    "measure_at": (["--measure-at", "2,4"], "measure_at", (2, 4)),
    "test_data": (["--test-data", "t"], "test_data", "t"),
    "record": (["--record", "r.jsonl"], "record", "r.jsonl"),
    "device": (["--device", "cuda:1"], "device", "cuda:1"),
    "dry_run": (["--dry-run"], "dry_run", True),
    "collect": (["--collect"], "collect", True),
}

DATA = {
    "data": (["--data", "d"], "path", "d"),
    "split": (["--split", "test"], "split", "test"),
    "image_column": (["--image-column", "c"], "image_column", "c"),
    "label_column": (["--label-column", "c"], "label_column", "c"),
    "resize": (["--resize"], "resize", True),
    "download": (["--download"], "download", True),
}


TABLE4 = {
    "out": (["--out", "x"], "out", "x"),
    "images": (["--images", "i"], "images", ("i",)),
    "scale": (["--scale", "paper"], "scale", "paper"),
    "crop": (["--crop", 32], "crop", 32),
    "runs": (["--runs", 4], "runs", 4),
    "iterations": (["--iterations", 9], "iterations", 9),
    "methods": (["--methods", "l0:k=0.5"], "methods", ["l0:k=0.5"]),
    "width": (["--width", 0.5], "width", 0.5),
    "record": (["--record", "r.jsonl"], "record", "r.jsonl"),
    "device": (["--device", "cuda:1"], "device", "cuda:1"),
    "dry_run": (["--dry-run"], "dry_run", True),
    "collect": (["--collect"], "collect", True),
}

EVALUATE = {
    "fraction": (["--fraction", 0.5], "fraction", 0.5),
    "data_seed": (["--data-seed", 2], "data_seed", 2),
    "metrics": (["--metric", "KID-lite0"], "metrics", ("KID-lite0",)),
    "samples": (["--samples", 99], "samples", 99),
    "seed": (["--seed", 3], "seed", 3),
    "kid_subset": (["--kid-subset", 50], "kid_subset", 50),
    "inception": (["--inception", "w.pth"], "inception", "w.pth"),
    "weights": (["--weights", "lite0=w.pth"], "weights", {"lite0": "w.pth"}),
    "device": (["--device", "cuda:1"], "device", "cuda:1"),
    "save": (["--save"], "save", True),
}

NAMED = {
    "generator": (["--generator", "a:B"], "generator", "a:B"),
    "arguments": (["--generator", "a:B", "--arg", "w=3"], "arguments", ("w=3",)),
    "inputs": (["--generator", "a:B", "--input", "4x8"], "inputs", ("4x8",)),
    "key": (["--generator", "a:B", "--key", "ema"], "key", "ema"),
    "sites": (["--generator", "a:B", "--site", "c5"], "sites", ("c5",)),
    "bounds": (["--generator", "a:B", "--range", 0, 255], "high", 255.0),
}

THEORY = {
    "samples": (["--samples", 99], "samples", 99),
    "seed": (["--seed", 3], "seed", 3),
    "device": (["--device", "cuda:1"], "device", "cuda:1"),
    "factory": (["--factory", "a:B"], "generator", "a:B"),
}

RESTORE = {
    "output": (["-o", "x.png"], "output", "x.png"),
    "clean": (["--clean", "c.png"], "clean", ("c.png",)),
    "iterations": (["--iterations", 7], "iterations", 7),
    "stop": (["--stop", "none"], "stop", None),
    "patience": (["--patience", 7], "patience", 7),
    "seed": (["--seed", 7], "seed", 7),
    "width": (["--width", 0.5], "width", 0.5),
    "scales": (["--scales", 3], "scales", 3),
    "single": (["--single"], "single", True),
    "force": (["--force"], "force", True),
    "checkpoint_every": (["--checkpoint-every", 7], "checkpoint_every", 7),
    "log_every": (["--log-every", 7], "log_every", 7),
    "compiled": (["--compile"], "compiled", True),
    "precision": (["--precision", "bfloat16"], "precision", "bfloat16"),
    "device": (["--device", "cuda:1"], "device", "cuda:1"),
    "masks": (["--mask", "n.png"], "masks", ("m.png", "n.png")),
    "factor": (["--factor", 2], "factor", 2),
    "sigma": (["--sigma", 50], "sigma", 50.0),
    "noisy": (["--add-noise"], "noisy", True),
}

CONFIG = {
    "sparse": (["--sparse", "l0"], "regularizer", "l0"),
    "assignments": (["--sparse", "l0", "--set", "sparse.k=3"], "settings", {"k": 3}),
    "config_file": (["--config", "a.yaml"], "regularizer", "l0_inf"),
}

RUN = {
    "generator": (["--generator", "a:B"], "generator", "a:B"),
    "discriminator": (["--sparse", "l0", "--set", "sparse.role=discriminator", "--discriminator", "a:B"], "discriminator", "a:B"),
    "host": (["--host", "mimicry"], "host", "mimicry"),
    "run_dir": (["--run-dir", "x"], "run_dir", "x"),
}

FIGURE = {
    "path": (["-o", "f.svg"], "path", "f.svg"),
    "force": (["--force"], "force", True),
}

DEMO = {"steps": (["--steps", 5], "steps", 5), "folder": (["--out", "x"], "folder", "x")}

RESULTS = {"pages": (["--page", "p.md"], "targets", ("p.md",)), "no_figures": (["--no-figures"], "figures", False)}

KINDS = {"denoise": (), "inpaint": ("--mask", "m.png"), "upscale": ()}

CALLS = [
    # command, tables, whose work it is, what that returns
    *(([f"experiment {name}"], [EXPERIMENT, DATA], "sparse_plugin.experiments.gan_grid:run_gan_table", ("", 0)) for name in ("table1", "table2", "table3", "autoencoder")),
    (["experiment table4"], [TABLE4], "sparse_plugin.experiments.table4:run_table4", ("", 0)),
    (["evaluate", "target"], [EVALUATE, DATA, NAMED], "sparse_plugin.evaluate.evaluation:evaluate", None),
    *((["restore " + kind, "image.png", "-o", "o.png", *more], [RESTORE, CONFIG], "sparse_plugin.restore.command:restore_files", []) for kind, more in KINDS.items()),
    (["run", "--", "python", "x.py"], [RUN, CONFIG], "sparse_plugin.hosts.launch:run_command", 0),
    (["theory", "r"], [THEORY, NAMED], "sparse_plugin.evaluate.theory:theory", None),
    (["figure", "4a", "runs"], [FIGURE], "sparse_plugin.figures:make", "f.png"),
    (["demo"], [DEMO], "sparse_plugin.demo.run:make_demo", ""),
    (["results", "runs.jsonl"], [RESULTS], "sparse_plugin.figures.pages:make", ""),
]  # fmt: skip

# Elsewhere below; a flag that says how to print, and files to import, are tested on what they do.
# In tests/engines.
ENGINE = {"engine", "jobs", "address", "cpus", "gpus", "hanging", "status", "as_json"}

BY_HAND = {
    "train": {"run_dir", "config_file", "imports", "checkpoint_every", "sample_every", "log_every", "keep", "keep_at", "device", *DATA},
    "evaluate": {"as_json", "imports"},
    "theory": {"as_json", "imports"},
    "check": {"host", "imports", "as_json"},
    "sites": {"arguments", "inputs", "imports", "as_json"},
    "list": {"as_json", "kernels", "imports"},
    "strip": {"output"},
    "tune": {"budget", "seeds", "methods", "shares", "sites", "metric", "data", "samples", "inception", "kid_subset", "out", "dry_run", "imports", "device", "goal", "checkpoint", "generator", "arguments", "inputs", "key", "bounds", "size", "host", "steps", "whole", *ENGINE},
    **{name: {"imports"} for name in ("run", "figure", *(f"restore {kind}" for kind in KINDS))},
    **{f"experiment {name}": {"imports", *ENGINE} for name in ("table1", "table2", "table3", "table4", "autoencoder")},
}  # fmt: skip


def commands(group=cli, prefix=""):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command

COMMANDS = dict(commands())


def test_every_option_is_in_a_table():
    tables = {command[0]: set().union(*tables) for command, tables, _, _ in CALLS} | {"train": set(TRAIN)}
    for name, command in COMMANDS.items():
        options = {p.name for p in command.params if isinstance(p, click.Option)}
        known = tables.get(name, set()) | BY_HAND.get(name, set())
        assert options <= known, f"{name}: say in a table what {options - known} does"
    for name in BY_HAND:
        assert BY_HAND[name] <= {p.name for p in COMMANDS[name].params}, name
    everywhere = {p.name for command in COMMANDS.values() for p in command.params}
    assert set().union(*tables.values()) <= everywhere


def entries():
    for command, tables, where, returns in CALLS:
        options = {p.name for p in COMMANDS[command[0]].params}
        for table in tables:
            for name, entry in table.items():
                if name in options:
                    yield pytest.param(command, entry, where, returns, id=f"{command[0]}: {name}")


@pytest.mark.parametrize(("command", "entry", "where", "returns"), [*entries()])
def test_an_option_reaches_the_work(command, entry, where, returns, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("sparse:\n  regularizer: l0_inf\n  k: 3\n")
    if returns is None:
        from sparse_plugin.evaluate.evaluation import Evaluation

        returns = Evaluation("", {"KID-lite0": 0.0}, {})
    calls = spied(monkeypatch, where, returns)
    options, argument, value = entry
    first, *rest = command[0].split(), *command[1:]
    call(*first, *([] if "--" in rest else rest), *options, *(rest if "--" in rest else []))
    call(*first, *rest)
    seen, without = (found(done, argument) for done in calls)
    assert seen in (value, [*value] if isinstance(value, tuple) else value) and without != seen


def test_imports_are_imported(monkeypatch, tmp_path, halves):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "host").mkdir()
    for command, _, where, returns in CALLS:
        if any(p.name == "imports" for p in COMMANDS[command[0]].params):
            from sparse_plugin.evaluate.evaluation import Evaluation

            calls = spied(monkeypatch, where, Evaluation("", {}, {}) if returns is None else returns)
            if command[0] == "evaluate":
                monkeypatch.setattr(Evaluation, "to_text", lambda self: "")
            first, *rest = command[0].split(), *command[1:]
            more = ["--sparse", "halves"] if any(p.name == "sparse" for p in COMMANDS[command[0]].params) else []
            REGULARIZERS.unregister("halves")
            sys.modules.pop("sparse_plugin_user_halves", None)
            call(*first, *([] if "--" in rest else rest), "--import", halves, *more, *(rest if "--" in rest else []))
            given = {**calls[-1], **calls[-1].get("kwargs", {})}
            config = given.get("config", given.get("sparse"))
            assert "halves" in REGULARIZERS.all() or config.build().name == "halves", command
    for command in (["sites", "generators:Residual", "--input", "2x6"], ["check", tmp_path / "host"], ["list"]):
        (tmp_path / "fails.py").write_text("raise ValueError('it was imported')")
        assert "it was imported" in call(*command, "--import", tmp_path / "fails.py", code=2)
    assert "halves" in call("list", "--import", halves)


def test_printing_for_programs(tmp_path, monkeypatch):
    assert isinstance(json.loads(call("list", "--json")), list)
    assert call("list", "--kernels") != call("list")
    report = json.loads(call("sites", "generators:Residual", "--input", "2x6", "--arg", "channels=16", "--json"))
    assert report["candidates"][-1]["input"].startswith("16x") and report["site"] == "input of out"
    assert "does not run" in call("sites", "generators:Residual", "--input", "2x7", code=2)
    (tmp_path / "host").mkdir()
    assert isinstance(json.loads(call("check", tmp_path / "host", "--json", code=3)), list)
    assert "is not mimicry" in call("check", tmp_path / "host", "--host", "mimicry", code=2)
    from sparse_plugin.evaluate.evaluation import Evaluation

    spied(monkeypatch, "sparse_plugin.evaluate.evaluation:evaluate", Evaluation("t", {}, {"a": "b"}))
    assert json.loads(call("evaluate", "target", "--json"))["protocol"] == {"a": "b"}


def test_strip_writes_where_it_is_told(tmp_path):
    generator = Residual()
    attach(generator, "l0_inf", k=2)
    torch.save(generator.state_dict(), tmp_path / "a.pth")
    call("strip", tmp_path / "a.pth", "-o", tmp_path / "b.pth")
    assert (tmp_path / "b.pth").is_file()


def test_strip_names_no_file_as_of_another_format(tmp_path):
    """A pickle that is called safetensors cannot be read again, nor the other way round."""
    from safetensors.torch import save_file

    generator = Residual()
    attach(generator, "l0_inf", k=2)
    torch.save(generator.state_dict(), tmp_path / "a.pth")
    save_file(generator.state_dict(), tmp_path / "a.safetensors")
    said = call("strip", tmp_path / "a.pth", "-o", tmp_path / "b.safetensors", code=2)
    assert "a pickle of torch; name it otherwise, as b.pth" in said
    for name in ("b.pth", "b", "b.safetensors.bin"):
        assert "name it *.safetensors" in call("strip", tmp_path / "a.safetensors", "-o", tmp_path / name, code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "a.safetensors"]
    call("strip", tmp_path / "a.safetensors", "-o", tmp_path / "b.safetensors")
    call("strip", tmp_path / "a.pth", "-o", tmp_path / "b.ckpt")

