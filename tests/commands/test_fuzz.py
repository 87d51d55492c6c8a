"""Settings that nobody would write, from a seeded generator: a sentence or success, and never another exception.

SPARSE_PLUGIN_FUZZ=SECONDS makes each test go on for so long, from a new seed.
"""

import json
import math
import os
import random
import time

import pytest
import torch
import yaml
from click.testing import CliRunner
from generators import Residual

from sparse_plugin import SparsityConfig, attach
from sparse_plugin.attachment.child import KEY, encode
from sparse_plugin.commands.cli import cli
from sparse_plugin.config import assign
from sparse_plugin.errors import SparsePluginError

LONGER = float(os.environ.get("SPARSE_PLUGIN_FUZZ", "0"))
ROUNDS = 300

KEYS = [
    *SparsityConfig.model_fields,
    "k",
    "weight",
    "levels",
    "constraint",
    "kernel_size",
    "reduction",
    "K",
    "",
    "k ",
    "ü",
]
NAMES = ["l0", "l0_inf", "l0_channel", "l1", "ml_csc", "l2", "L0", "", "os", "l0\n", "__class__"]
WORDS = [
    *NAMES,
    "out",
    "out:output",
    "out:side",
    ":",
    "a.b",
    "nan",
    "1e-3",
    "~",
    "../x",
    "\0",
    "\udc80",
    "\x1b[2J",
    "x" * 3000,
]
NUMBERS = [0, 1, -1, 2, 16, 0.5, 1.0, -0.5, math.nan, math.inf, -math.inf, 10**30, 10**400, 1e-300, 2**63, True, False]


def value(rng, depth=0):
    """Anything that JSON and YAML can say."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(NUMBERS)
    if kind < 0.7:
        return rng.choice(WORDS)
    if kind < 0.8 or depth > 3:
        return None
    if kind < 0.95:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(WORDS): value(rng, depth + 1) for _ in range(rng.randrange(3))}


def section(rng):
    """A section `sparse`, half of the time of a regularizer that there is."""
    made = {rng.choice(KEYS): value(rng) for _ in range(rng.randrange(4))}
    if rng.random() < 0.7:
        made["regularizer"] = rng.choice(NAMES[:4])
        made.setdefault("weight" if made["regularizer"] == "l1" else "k", rng.choice([1, 0.5, 2.0, [1, 2], value(rng)]))
    made.pop("imports", None)  # what the user names is imported, on purpose
    return made


def mangled(rng, text):
    """A text of which a little is another."""
    text = list(text)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(text) + 1)
        text[at : at + rng.randrange(3)] = rng.choice(
            ["[", "{", "&a *a", ":", "'", '"', "\\", "\t", "!!", "%", "\0", "9" * 5000, "- "]
        )
    return "".join(text)


def rounds(what, enough=ROUNDS):
    """Random generators, one after the other: a number of them, or as many as there is time for."""
    seed = random.SystemRandom().randrange(2**32) if LONGER else 0
    until, number = time.monotonic() + LONGER, 0
    while number < enough or time.monotonic() < until:
        yield f"{what}, seed {seed + number}", random.Random(seed + number)
        number += 1


def survives(where, call, *args):
    """Whether call succeeds; where it does not, it is with a sentence."""
    try:
        call(*args)
    except SparsePluginError as error:
        assert str(error).strip(), where
        return False
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error!s:.300} of {args!r:.600}") from error
    return True


def used(config):
    """All that a config is asked for."""
    config.flat()
    again = SparsityConfig.from_mapping(json.loads(config.to_environment()), waiting=True)
    assert repr(again) == repr(config)  # equal but for NaN
    config.build()
    attach(Residual(), config.with_(host=None, generator=None, run_dir=None, measure_every=None)).detach()


def test_mappings():
    passed = [
        survives(where, lambda made=made: used(SparsityConfig.from_mapping(made)))
        for where, rng in rounds("mappings")
        if (made := section(rng)) is not None
    ]
    assert True in passed and False in passed


def test_files(tmp_path):
    passed = []
    for where, rng in rounds("files"):
        whole = {"sparse": section(rng), "version": rng.choice([1, 1, 1, 2, None])}
        path = tmp_path / rng.choice(["c.yaml", "c.json", "c.toml"])
        try:
            text = yaml.safe_dump(whole) if rng.random() < 0.5 else json.dumps(whole)
            path.write_text(mangled(rng, text), encoding="utf-8", errors="surrogatepass")
        except (ValueError, yaml.YAMLError):
            continue
        passed.append(survives(where, lambda path=path: used(SparsityConfig.from_file(path))))
    assert True in passed and False in passed


def test_the_environment(monkeypatch):
    for where, rng in rounds("environment"):
        text = mangled(rng, json.dumps(section(rng))).replace("\0", "")
        monkeypatch.setenv("SPARSE_PLUGIN_CONFIG", text)
        survives(where, SparsityConfig.from_environment)


def test_assignments():
    for where, rng in rounds("assignments"):
        text = f"{rng.choice(['sparse.', 'sparse', ''])}{rng.choice(KEYS)}{rng.choice(['=', '==', ''])}{value(rng)}"
        survives(
            where, lambda text=text: used(SparsityConfig.from_mapping(assign({"regularizer": "l0", "k": 1}, [text])))
        )
        survives(where, assign, {}, [mangled(random.Random(where), text)])


def test_settings_of_checkpoints(tmp_path):
    from sparse_plugin.attachment.child import decode

    passed = []
    for where, rng in rounds("checkpoints"):
        state = encode(section(rng))
        if rng.random() < 0.4:
            kinds = [
                state.bfloat16(), state[: rng.randrange(len(state) + 1)], state * 1e30, state.clone().fill_(math.nan), state[None],
                torch.tensor(5.0), torch.zeros(0), None, b"{}", state.to_sparse(), state.to("meta"), state + 0j, [1.0],
            ]  # fmt: skip
            state = rng.choice(kinds)
        elif rng.random() < 0.3:
            state[rng.randrange(len(state))] = rng.choice([0.0, -1.0, 34.0, 91.0, 200.0, 1e9])
        passed.append(
            survives(where, lambda state=state: used(SparsityConfig.from_data(decode(state), "the checkpoint")))
        )
        generator = Residual()
        attach(generator, "l0", k=2, sites="out")
        survives(where, generator.load_state_dict, {**generator.state_dict(), f"out.{KEY}": state})
    assert True in passed and False in passed


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one step."""
    from sparse_plugin.gans.train import train_run as run

    folder = tmp_path_factory.mktemp("runs") / "run"
    run(
        "dcgan",
        folder,
        sparse=SparsityConfig.from_mapping({"regularizer": "l0", "k": 0.5}),
        width=1 / 16,
        batch=4,
        steps=1,
    )
    return folder


def changed(rng, node):
    """A copy of a JSON value in which one leaf, or one branch, is something else, or gone."""
    node = json.loads(json.dumps(node))
    at = node
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        if not keys:
            return node
        key = rng.choice(list(keys))
        if not isinstance(at[key], (dict, list)) or not at[key] or rng.random() < 0.2:
            break
        at = at[key]
    if rng.random() < 0.2:
        del at[key]
    else:
        at[key] = value(rng)
    return node


def test_run_directories(trained):
    from sparse_plugin.figures import make
    from sparse_plugin.gans.trained import load_trained as load

    files = {path: path.read_bytes() for path in trained.rglob("*.json")}
    (trained / "log.jsonl").write_text('{"step": 1, "generator/adversarial": 1.0}\n')
    for where, rng in rounds("runs", 40):
        path = rng.choice(list(files))
        text = json.dumps(changed(rng, json.loads(files[path])))
        try:
            path.write_text(mangled(rng, text) if rng.random() < 0.2 else text, errors="surrogatepass")
            survives(where, load, trained)
            if rng.random() < 0.2:
                survives(where, lambda: make("training", [str(trained)], trained / "x.png", force=True))
        finally:
            path.write_bytes(files[path])
    assert load(trained).step == 1


def test_safetensors(tmp_path):
    from safetensors.torch import save

    path, out = tmp_path / "c.safetensors", tmp_path / "out.safetensors"
    state = Residual().state_dict()
    for where, rng in rounds("safetensors"):
        held = {**state, f"out.{KEY}": encode(section(rng))}
        content = bytearray(save(held, metadata={rng.choice(KEYS): rng.choice(NAMES), "format": "pt"}))
        for _ in range(rng.randrange(3)):
            content[rng.randrange(min(len(content), 2000))] = rng.randrange(256)
        path.write_bytes(content[: rng.randrange(len(content))] if rng.random() < 0.1 else content)
        done = CliRunner().invoke(cli, ["strip", str(path), "-o", str(out)])
        assert done.exit_code in (0, 2) and isinstance(done.exception, (SystemExit, type(None))), (
            where,
            repr(done.exception),
        )
        assert out.exists() == (done.exit_code == 0), where
        out.unlink(missing_ok=True)


def test_command_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--sparse", "--set", "--config", "--host", "--generator", "--run-dir"]
    for where, rng in rounds("commands"):
        words = [word for _ in range(rng.randrange(3)) for word in (rng.choice(options), str(rng.choice(WORDS)))]
        words += ["--set", f"sparse.{rng.choice(KEYS[2:])}={value(rng)}"] if rng.random() < 0.5 else []
        words = [word for word in words if "\0" not in word]  # no system passes it
        command = rng.choice(
            [["run", *words, "--", "/no/such/program"], ["sites", "generators:Residual", "--arg", str(value(rng))]]
        )
        if any("\0" in word for word in command):
            continue
        done = CliRunner().invoke(cli, command)
        assert done.exit_code in (2, 3) and isinstance(done.exception, SystemExit), (
            where,
            command,
            repr(done.exception),
        )
        assert "Traceback" not in done.output, (where, command)
