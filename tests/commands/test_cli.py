"""The command line, apart from `run`."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from click.testing import CliRunner
from generators import Residual

from sparse_plugin import attach
from sparse_plugin.commands.cli import cli
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.support import plugins


def run(*args):
    return CliRunner().invoke(cli, [str(a) for a in args])


def test_help_and_import_are_quick():
    """`--help` and `import sparse_plugin` import no torch: under 0.3 s of a core over bare Python."""

    def spent():
        times = os.times()  # of the core and not of the clock, which other processes of a busy machine move too
        return times.children_user + times.children_system

    def seconds(*command):
        times = []
        for _ in range(5):
            start = spent()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            times.append(spent() - start)
        return min(times)

    bare = seconds("-c", "pass")
    assert seconds("-m", "sparse_plugin", "--help") - bare < 0.3
    assert seconds("-c", "import sparse_plugin") - bare < 0.3
    # Tables of what is registered look through all installed packages: where somebody asks.
    late = ("torch", "numpy", "pydantic", "matplotlib", "sparse_plugin.support.plugins")
    heavy = f"import sys; print([m for m in {late} if m in sys.modules])"
    loaded = f"import sparse_plugin, sparse_plugin.commands.cli; {heavy}"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "[]\n"
    # A process of a run that imports no torch is not made to.
    enabled = "import sparse_plugin; sparse_plugin.enable('mimicry', 'l0_inf', k=2); import sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", enabled], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    "command", ["run", "check", "sites", "list", "strip", "train", "evaluate", "experiment", "results", "restore", "tune", "demo"]
)
def test_the_help_of_a_command_imports_nothing_heavy(command):
    code = (
        "import sys\nfrom sparse_plugin.commands.cli import cli\n"
        f"cli([{command!r}, '--help'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("Usage:") and done.stdout.endswith("\n[]\n"), done.stderr


def test_help_names_what_is_registered(monkeypatch):
    """Those of every installed package, by its entry points; none is loaded for it."""
    words = " ".join(run("run", "--help").output.split())
    installed = sorted({e.name for e in plugins.entry_points(group="sparse_plugin.regularizers")})
    assert f"The regularizer: {', '.join(installed)}, or a registered one;" in words
    assert f"Patch this host only: {', '.join(HOSTS.all())}, or a registered one." in words
    theirs = [EntryPoint("topk_space", "no_such_module:TopK", "sparse_plugin.regularizers")]
    # Other tables than that of regularizers are filled once, with what there is.
    real = plugins.entry_points
    monkeypatch.setattr(plugins, "entry_points", lambda group: theirs if group.endswith(".regularizers") else real(group=group))
    for command in ("run", "train"):
        assert "The regularizer: topk_space, or" in " ".join(run(command, "--help").output.split())


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "sparse_plugin", "--help"], capture_output=True, text=True)
    assert done.stdout == run("--help").output.replace("Usage: cli", "Usage: sparse-plugin")
    for command in ("run", "list", "sites", "strip", "demo"):
        assert f"\n  {command} " in done.stdout


def test_public_names_exist():
    import sparse_plugin

    for name in sparse_plugin.__all__:
        assert getattr(sparse_plugin, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'atach'; it offers"):
        _ = sparse_plugin.atach


def test_list():
    assert " l0_inf " in run("list").output
    rows = json.loads(run("list", "--json").output)
    assert {"kind": "regularizer", "name": "l0", "from": "sparse-plugin 0.1.0", "fields": "k"} in rows
    assert run("list", "--kernels").exit_code == 0


class TestSites:
    def test_a_table_and_a_choice(self):
        done = run("sites", "generators:Residual", "--input", "2x6")
        assert done.exit_code == 0, done.output
        assert (
            "shortcut" in done.output
            and "site: input of out (the only convolution that makes the image)" in done.output
        )
        report = json.loads(
            run("sites", "generators:Residual", "--arg", "channels=16", "--input", "2x6", "--json").output
        )
        assert report["site"] == "input of out" and report["candidates"][-1]["input"] == "16x8x8"

    def test_every_head_of_several_images(self, tmp_path, monkeypatch):
        (tmp_path / "twins.py").write_text(
            "from torch import nn\n\nclass Twins(nn.Module):\n"
            "    def __init__(self):\n        super().__init__()\n        self.a, self.b = (nn.Conv2d(8, 3, 3, padding=1) for _ in range(2))\n"
            "    def forward(self, x):\n        return [self.a(x), self.b(x[..., ::2, ::2])]\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        done = run("sites", "twins:Twins", "--input", "2x8x8x8")
        assert "site: input of a, input of b (each makes an image of its own)" in done.output

    def test_with_an_adapter_and_labels(self):
        done = run("sites", "torch_mimicry.nets.sagan:SAGANGenerator32", "--arg", "num_classes=3", "--arg", "ngf=16", "--input", "2x128",
                   "--input", "2:int<3")  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "adapter mimicry" in done.output

    def test_none(self):
        done = run("sites", "generators:TwoHeads", "--input", "2x6")
        assert done.exit_code == 3 and "2 convolutions make the image together" in done.output

    @pytest.mark.parametrize(
        ("args", "sentence"),
        [
            (["nowhere:G"], "cannot be imported"),
            (["generators:Nobody"], "cannot be imported"),
            (["generators"], "cannot be imported"),
            (["generators:Residual", "--arg", "width=3"], "cannot be built"),
            (["generators:Residual"], "needs an input"),
            (["generators:Residual", "--input", "axb"], "is no shape"),
            (["generators:Residual", "--input", "2x7"], "does not run on 2x7"),
            (["generators:noise", "--input", "2x7"], "is no torch.nn.Module"),
        ],
    )
    def test_mistakes(self, args, sentence):
        done = run("sites", *args)
        assert done.exit_code == 2 and sentence in done.output


class TestStrip:
    def checkpoint(self, tmp_path, name="l0_inf", **settings):
        generator = Residual()
        attach(generator, name, **settings)
        torch.save({"epoch": 3, "nets": [{"G": generator.state_dict()}]}, tmp_path / "a.pth")
        return generator

    def test_writes_a_checkpoint_for_code_without_the_plugin(self, tmp_path):
        self.checkpoint(tmp_path, k=2)
        done = run("strip", tmp_path / "a.pth", "-o", tmp_path / "b.pth")
        assert done.exit_code == 0 and "without l0_inf(k=2)" in done.output
        whole = torch.load(tmp_path / "b.pth")
        assert whole["epoch"] == 3
        Residual().load_state_dict(whole["nets"][0]["G"])

    def test_safetensors(self, tmp_path):
        from safetensors.torch import load_file, save_file

        generator = self.checkpoint(tmp_path, k=2)
        save_file(generator.state_dict(), tmp_path / "a.safetensors")
        assert run("strip", tmp_path / "a.safetensors", "-o", tmp_path / "b.safetensors").exit_code == 0
        Residual().load_state_dict(load_file(tmp_path / "b.safetensors"))

    def test_nothing_to_strip(self, tmp_path):
        torch.save(Residual().state_dict(), tmp_path / "a.pth")
        assert "trained without sparse_plugin" in run("strip", tmp_path / "a.pth", "-o", tmp_path / "b.pth").output

    def test_mistakes(self, tmp_path):
        self.checkpoint(tmp_path, "ml_csc", k=2)
        (tmp_path / "text.pth").write_text("no checkpoint")
        for source, target, sentence in (
            ("none.pth", "b.pth", "there is no checkpoint"),
            ("a.pth", "a.pth", "exists already"),
            ("a.pth", "b.pth", "is a learned dictionary"),
            ("text.pth", "b.pth", "cannot be read"),
        ):
            done = run("strip", tmp_path / source, "-o", tmp_path / target)
            assert done.exit_code == 2 and sentence in done.output
            assert not (tmp_path / "b.pth").exists()
