"""What helps is told as flags to who gave a command, and as keywords to who called Python."""

import ast
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import sparse_plugin
from sparse_plugin.commands.cli import cli
from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import AttachmentError, CheckpointError, PenaltyError, SiteError
from sparse_plugin.hosts import current, enable
from sparse_plugin.hosts.session import Session
from sparse_plugin.support import advice


class TwoMakers(nn.Module):
    """The image is a product of two convolutions', so D1 cannot be told."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.out, self.mask = nn.Conv2d(8, 3, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z):
        h = torch.relu(self.body(z))
        return self.out(h) * self.mask(h)

    def parts(self, z):
        return self.forward(z)


Z = torch.zeros(2, 6, 8, 8)


@pytest.fixture
def launched(monkeypatch):
    """Makes a session of this process, as in one that the launcher started."""
    undo = []

    def start(**settings):
        config = SparsityConfig.from_mapping(settings, "the launcher", waiting=True)
        undo.append(advice.speak_to("command"))
        session = Session(config, launched=True)
        current.put(session)
        session.start()

    yield start
    enable.disable()
    for back in reversed(undo):
        back()


def enabled(name, **settings):
    sparse_plugin.enable(None, name, generator=f"{__name__}:TwoMakers", **settings)


PYTHON, FLAG = 'sites=["path"]', '--set "sparse.sites=[path]"'


def test_who_calls_attach_reads_keywords():
    with pytest.raises(SiteError) as told:
        sparse_plugin.attach(TwoMakers(), "l0_inf", k=2, example_input=Z)
    assert PYTHON in str(told.value) and "--set" not in str(told.value)
    with pytest.raises(SiteError) as told:
        sparse_plugin.attach(TwoMakers(), "ml_csc", k=2)
    assert "give example_input=... or " + PYTHON in str(told.value)


def test_who_gave_a_command_reads_flags(launched):
    launched(regularizer="l0_inf", k=2, generator=f"{__name__}:TwoMakers")
    with pytest.raises(SiteError) as told:
        TwoMakers()(Z)
    assert FLAG in str(told.value) and PYTHON not in str(told.value)
    with pytest.raises(SiteError) as told:
        TwoMakers().forward(Z)
    assert FLAG in str(told.value) and "\n  out " in str(told.value) and "example_input" not in str(told.value)
    # A script that attaches by itself is one that calls Python, all the same.
    enable.disable()
    with pytest.raises(SiteError) as told:
        sparse_plugin.attach(TwoMakers(), "l0_inf", k=2, example_input=Z)
    assert PYTHON in str(told.value)


def test_an_inserted_dictionary_under_the_launcher(launched):
    launched(regularizer="ml_csc", k=2, generator=f"{__name__}:TwoMakers")
    with pytest.raises(SiteError) as told:
        TwoMakers()
    assert f"give {FLAG}" in str(told.value) and "example_input" not in str(told.value)


def test_who_calls_enable_reads_its_keywords():
    enabled("l0_inf", k=2)
    with pytest.raises(SiteError) as told:
        TwoMakers()(Z)
    assert PYTHON in str(told.value) and "--set" not in str(told.value)
    with pytest.raises(SiteError) as told:
        TwoMakers().forward(Z)
    assert PYTHON in str(told.value) and "\n  out " in str(told.value) and "example_input" not in str(told.value)
    sparse_plugin.disable()
    assert advice.reader() == "attach"


def test_penalties_that_never_reach_a_loss(launched):
    def step():
        generator = TwoMakers()
        optimizer = torch.optim.SGD(generator.parameters(), 0.1)
        generator(Z + 1).sum().backward()
        optimizer.step()

    settings = {"weight": 1.0, "delivery": "loss", "sites": "out"}
    launched(regularizer="l1", generator=f"{__name__}:TwoMakers", **settings)
    with pytest.raises(PenaltyError, match="--set sparse.delivery=gradient") as told:
        step()
    assert "attachment.penalty()" not in str(told.value)
    enable.disable()
    enabled("l1", **settings)
    with pytest.raises(PenaltyError, match='ask for it with delivery="gradient"'):
        step()


def test_commands_that_run_in_this_process(tmp_path):
    done = CliRunner().invoke(cli, ["train", "dcgan", "--run", str(tmp_path / "run"), "--sparse", "first", "--data", "x", "--import", str(tmp_path / "no.py")])
    assert done.exit_code == 2 and f"--import {tmp_path / 'no.py'}: there is no such file" in done.output
    assert advice.reader() == "attach"
    with pytest.raises(Exception, match=r"imports=\".*no.py\": there is no such file"):
        sparse_plugin.enable(None, "l0", k=1, imports=str(tmp_path / "no.py"))


@pytest.mark.parametrize(
    ("key", "value", "python", "command"),
    [
        ("sites", ["a", "b:output"], 'sites=["a", "b:output"]', '--set "sparse.sites=[a, b:output]"'),
        ("delivery", "loss", 'delivery="loss"', "--set sparse.delivery=loss"),
        ("accumulation", 4, "accumulation=4", "--set sparse.accumulation=4"),
        ("k", [16, 0.25], "k=[16, 0.25]", '--set "sparse.k=[16, 0.25]"'),
        ("generator", "a:B", 'generator="a:B"', '--generator "a:B"'),
        ("host", "biggan", 'enable("biggan", ...)', "--host biggan"),
        ("imports", "a.py", 'imports="a.py"', "--import a.py"),
    ],
)
def test_how_a_setting_is_spelt(key, value, python, command):
    assert advice.setting(key, value) == python
    with advice.speaking_to("command"):
        assert advice.setting(key, value) == command
        assert advice.example() == "" and advice.any_of(advice.example(), "x") == "x"
    with advice.speaking_to("evaluate"):
        assert advice.sites("a", "b") == "--site a --site b"
    assert advice.any_of("a", "b", "", "c") == "a, b or c"


# Where one kind of reader alone ever is.
OF_THE_COMMAND_LINE = (
    "commands/", "advice.py", "command.py", "hosts/check.py", "flags.py", "demo/", "config_text.py",
    "evaluation.py", "evaluate/theory.py",
)  # fmt: skip
SPELT = re.compile(r"\b(sites|delivery|adapter|generator|example_input|accumulation|imports)=|--(set|generator|host|import|site)\b")


def test_no_message_spells_it_by_itself():
    import sparse_plugin.patches
    import sparse_plugin.registry

    found = []
    for package in (sparse_plugin, sparse_plugin.patches, sparse_plugin.registry):
        root = Path(package.__file__).parent
        for file in root.rglob("*.py"):
            if any(part in file.relative_to(root).as_posix() for part in OF_THE_COMMAND_LINE):
                continue
            tree = ast.parse(file.read_text(encoding="utf-8"))
            bodies = [n.body for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
            words = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
            for node in ast.walk(tree):
                text = node.value if isinstance(node, ast.Constant) and id(node) not in words else None
                if isinstance(text, str) and SPELT.search(text) and "config.with_(" not in text:
                    found.append(f"{file.name}:{node.lineno}: {text[:60]}")
    assert found == []


class Painter(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z):
        return self.out(torch.relu(self.body(z)))


@pytest.fixture
def checkpoint():
    """Of a Painter that was trained with ml_csc, and of its optimizer."""
    generator = Painter()
    sparse_plugin.attach(generator, "ml_csc", k=[2, 0.5])
    optimizer = torch.optim.Adam(generator.parameters())
    generator(Z + 1).sum().backward()
    optimizer.step()
    return generator.state_dict(), optimizer.state_dict()


def test_dictionaries_that_come_from_a_checkpoint_after_the_optimizer(launched, checkpoint):
    weights, state = checkpoint

    def resumed(**settings):
        enable.disable()
        launched(generator=f"{__name__}:Painter", **settings)
        generator = Painter()
        optimizer = torch.optim.Adam(generator.parameters())
        generator.load_state_dict(weights)
        return generator, optimizer

    sentence = r"trained with ml_csc\(.*after its Adam was made.*by --sparse ml_csc .*--set \"sparse.k=\[2, 0.5\]\""
    generator, optimizer = resumed()
    generator(Z + 1).sum().backward()  # sampling goes on
    with pytest.raises(CheckpointError, match=sentence):
        optimizer.step()
    _, optimizer = resumed()
    with pytest.raises(CheckpointError, match=sentence):
        optimizer.load_state_dict(state)
    # Handed to the optimizer, they are trained.
    generator, optimizer = resumed()
    optimizer.add_param_group({"params": sparse_plugin.Attachment.of(generator).parameters()})
    for _ in range(2):
        generator(Z + 1).sum().backward()
        optimizer.step()
    # Another generator's optimizer is nobody's business.
    other = torch.optim.Adam(nn.Linear(2, 2).parameters())
    resumed()
    other.step()
    # Named before, all is there in time.
    generator, optimizer = resumed(regularizer="ml_csc", k=[2, 0.5])
    optimizer.load_state_dict(state)
    generator(Z + 1).sum().backward()
    optimizer.step()


def test_dictionaries_that_no_optimizer_trains(launched):
    generator = Painter()
    optimizer = torch.optim.SGD(generator.parameters(), 0.1)
    sparse_plugin.attach(generator, "ml_csc", k=2)

    def steps():
        for _ in range(2):
            generator(Z + 1).sum().backward()
            optimizer.step()

    with pytest.raises(AttachmentError, match=r"add attachment.parameters\(\) to it"):
        steps()


def test_a_checkpoint_of_a_regularizer_that_is_not_here(launched):
    generator = Painter()

    @sparse_plugin.register("passing")
    class Passing(sparse_plugin.Constraint):
        def project(self, gamma):
            return gamma.clone()

    try:
        sparse_plugin.attach(generator, "passing")
        weights = generator.state_dict()
    finally:
        sparse_plugin.registry.REGULARIZERS.unregister("passing")
    launched(generator=f"{__name__}:Painter")
    with pytest.raises(CheckpointError, match="trained with 'passing', which is not registered here; .* by --import FILE"):
        Painter().load_state_dict(weights)
