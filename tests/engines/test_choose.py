"""What is asked of engines, and cannot be: a sentence each, before anything is begun."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
from click.testing import CliRunner
from gan_runs import dataset

from sparse_plugin.commands.cli import cli
from sparse_plugin.engines import choose
from sparse_plugin.engines.choose import engine_of
from sparse_plugin.engines.local import LocalEngine
from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments.experiment import EXPERIMENTS, Experiment, register_experiment
from sparse_plugin.runs import lease
from sparse_plugin.support import optional


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    made, path = dataset(48), tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=made.images.permute(0, 2, 3, 1).numpy(), labels=made.labels.numpy())
    return str(path)


WRONG = [
    ("dask", {}, "there is no engine 'dask'; there are local, ray"),
    ("local", {"jobs": 0}, "--jobs is 0; give 1 or more"),
    ("local", {"cpus": 0}, "--cpus is 0; give 1 or more"),
    ("local", {"cpus": 100_000}, f"--cpus is 100000, and this machine has {os.cpu_count()}"),
    ("local", {"gpus": 0.0}, "--gpus is 0; a run takes one GPU at most"),
    ("local", {"gpus": 2.0}, "--gpus is 2; a run takes one GPU at most: give a share above 0 and up to 1"),
    ("local", {"gpus": float("nan")}, "--gpus is nan; a run takes one GPU at most"),
    ("local", {"hanging": 0.0}, "--hanging is 0; give minutes above 0"),
    ("local", {"hanging": float("inf")}, "--hanging is inf; give minutes above 0"),
    ("local", {"address": "auto"}, "--address is of a Ray cluster, and the engine is local; give --engine ray"),
    ("ray", {"jobs": 2}, "--jobs is of --engine local; Ray places as many runs as"),
    ("ray", {"device": "cuda:1"}, "--device is cuda:1 and --engine ray gives every run a GPU of its own"),
]


@pytest.mark.parametrize(("name", "given", "said"), WRONG, ids=[f"{n} {g}" for n, g, _ in WRONG])
def test_what_cannot_be_asked_is_a_sentence(name, given, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        engine_of(name, tmp_path / "out", **given)
    assert list(tmp_path.iterdir()) == []


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"the engine ray needs ray, not installed here; run `pip install 'sparse-plugin\[ray\]'`"):
        engine_of("ray", tmp_path)


@pytest.mark.parametrize("command", [
    ["experiment", "table1"], ["experiment", "table2"], ["experiment", "table3"], ["experiment", "table4"], ["tune"],
], ids=" ".join)  # fmt: skip
def test_every_option_reaches_the_engine(command, tmp_path, monkeypatch):
    seen = {}

    def asked_for(name, out, **given):
        seen.update(given, name=name, out=out)
        raise ConfigError("that is enough")

    monkeypatch.setattr(choose, "engine_of", asked_for)
    words = ["--engine", "ray", "--jobs", "3", "--address", "auto", "--cpus", "2", "--gpus", "0.5", "--hanging", "7", "--out", str(tmp_path / "a")]
    behind = ["--", "python", "train.py", "{dir}", "{seed}"] if command == ["tune"] else []
    metric = ["--metric", "regex:(.*)", "--goal", "min"] if behind else ["--device", "cpu"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    done = CliRunner().invoke(cli, [*command, *words, *metric, *behind])
    assert "that is enough" in done.output, done.output
    expected = {"name": "ray", "jobs": 3, "address": "auto", "cpus": 2, "gpus": 0.5, "hanging": 7.0, "out": str(tmp_path / "a")}
    assert expected.items() <= seen.items() and seen["device"] == (None if behind else "cpu") and not list(seen["imports"])


GPUS = [
    ({}, 3, ("0", "1", "2")),
    ({"jobs": 2}, 2, ("0", "1", "2")),
    ({"jobs": 5}, 5, ("0", "1", "2")),
    ({"gpus": 0.5}, 6, ("0", "0", "1", "1", "2", "2")),
    ({"gpus": 0.5, "jobs": 4}, 4, ("0", "0", "1", "1", "2", "2")),
    ({"device": "cpu", "jobs": 2}, 2, (None,)),
    ({"jobs": 1, "hanging": 1.0}, 1, (None,)),
]


@pytest.mark.parametrize(("given", "jobs", "devices"), GPUS, ids=[str(g) for g, *_ in GPUS])
def test_a_gpu_each_where_there_are_several(given, jobs, devices, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "visible", lambda: ["0", "1", "2"])
    made = engine_of("local", tmp_path, **given)
    assert isinstance(made, LocalEngine) and (made.jobs, made.devices) == (jobs, devices)


def test_more_gpus_than_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "visible", lambda: ["0", "1"])
    with pytest.raises(ConfigError, match="5 jobs with 0.5 GPU each are asked for, and there are 2 GPUs; give --jobs 4 or less"):
        engine_of("local", tmp_path, jobs=5, gpus=0.5)
    with pytest.raises(ConfigError, match="--device is cuda:1 and several --jobs gives every run a GPU"):
        engine_of("local", tmp_path, device="cuda:1")
    monkeypatch.setattr(choose, "visible", lambda: [])
    with pytest.raises(ConfigError, match="--gpus is 0.5, and this machine has no GPU that torch can use; leave it out"):
        engine_of("local", tmp_path, gpus=0.5)
    assert isinstance(engine_of("local", tmp_path), nullcontext)  # this process, one run after the other


def test_gpus_are_those_that_this_process_may_use(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose.visible() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-abc")
    assert choose.visible() == ["3", "GPU-abc"]


@pytest.fixture
def registered():
    yield register_experiment
    EXPERIMENTS._local.clear()


def test_an_experiment_that_performs_its_runs_by_itself_says_that_an_engine_does_nothing(registered, tmp_path):
    registered(Experiment("alone", "Alone.", (), lambda out, **options: ("done", 0)))
    done = CliRunner().invoke(cli, ["experiment", "alone", "--out", str(tmp_path / "a"), "--jobs", "2"])
    assert done.exit_code == 2 and "the experiment alone performs its runs by itself, and --engine, --jobs" in done.output
    assert CliRunner().invoke(cli, ["experiment", "alone", "--out", str(tmp_path / "a")]).exit_code == 0
    done = CliRunner().invoke(cli, ["experiment", "alone", "--status"])
    assert done.exit_code == 2 and "the experiment alone has no --dry-run" in done.output


def asked(data, out, *more):
    quick = ["--archs", "dcgan", "--methods", "vanilla", "--batch", "4", "--width", "0.0625", "--samples", "40", "--seeds", "2"]
    words = [*quick, "--metric", "KID-lite0", "--kid-subset", "20", "--device", "cpu", "--out", str(out), "--data", data]
    return ["experiment", "table1", *words, *more]


def test_other_settings_on_one_directory_are_refused_before_anything_is_begun(tmp_path, data):
    run = tmp_path / "dcgan/vanilla/seed1"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"version": 1, "steps": 7, "width": 0.0625, "batch": 4, "precision": "float32"}))
    for more in ([], ["--jobs", "2"], ["--dry-run"]):
        done = CliRunner().invoke(cli, asked(data, tmp_path, "--steps", "2", *more))
        assert done.exit_code == 2 and "seed1 holds a run of another configuration: steps is 7 there and 2 here; name" in done.output, done.output
    assert not (tmp_path / "dcgan/vanilla/seed0").exists()


def test_how_far_runs_are_is_said_by_their_directories_alone(tmp_path, data, monkeypatch):
    monkeypatch.setenv(lease.VARIABLE, "0.1")
    first, second = (tmp_path / f"dcgan/vanilla/seed{n}" for n in (0, 1))
    for folder in (first, second):
        folder.mkdir(parents=True)
    (first / "attempts.jsonl").write_text('{"from": 0}\n{"failed": "the loss is no number"}\n')
    doing = {"step": 30, "steps": 90, "pace": 2.0}
    (second / ".lease.t").write_text(json.dumps({"host": "elsewhere a", "process": 7, "began": "1", "token": "t", "every": 0.1, **doing}))
    import threading

    over = threading.Event()

    def beat():
        while not over.wait(0.05):
            os.utime(second / ".lease.t")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        told = CliRunner().invoke(cli, asked(data, tmp_path, "--status", "--json"))
        shown = CliRunner().invoke(cli, asked(data, tmp_path, "--status"))
    finally:
        over.set()
        thread.join()
    said = json.loads(told.output)
    assert said["counts"] == {"at work": 1, "failed": 1, "silent": 0, "waiting": 0, "done": 0}
    kinds = {each["run"]: each for each in said["runs"]}
    assert kinds["DCGAN, vanilla, seed 0"]["said"] == "the loss is no number"
    at_work = kinds["DCGAN, vanilla, seed 1"]
    assert (at_work["where"], at_work["step"], at_work["steps"], at_work["left"]) == ("process 7 on elsewhere", 30, 90, 30.0)
    assert "30 of 90" in shown.output and "process 7 on elsewhere" in shown.output and "0 done, 1 at work, 1 failed" in shown.output
    done = CliRunner().invoke(cli, asked(data, tmp_path, "--json"))
    assert done.exit_code == 2 and "--json is of --status, which was not given" in done.output


@pytest.mark.slow
@pytest.mark.parametrize(("more", "background"), [(["--jobs", "2"], False), (["--jobs", "2"], True), ([], False)], ids=str)
def test_a_job_that_is_killed_by_its_time_limit_says_that_it_goes_on(more, background, tmp_path, data):
    """SLURM sends SIGTERM, and SIGKILL half a minute later; what a script has in its background ignores SIGINT."""
    command = [sys.executable, "-m", "sparse_plugin", *asked(data, tmp_path / "a", "--steps", "100000", *more)]
    ignoring = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if background else None
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=ignoring)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "a").rglob("attempts.jsonl")):
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    told = started.communicate(timeout=25)[1]
    assert started.returncode == 143, told
    assert told.splitlines()[-1].startswith("sparse-plugin: stopped by SIGTERM, as by a job's time limit; what is finished, and")
    assert not list((tmp_path / "a").rglob(".lease*"))


@pytest.mark.parametrize(("given", "gpus", "room"), [
    ({}, 1.0, 2), ({"gpus": 0.5}, 0.5, 4), ({"device": "cpu"}, 0.0, 4), ({"cpus": 2}, 1.0, 2), ({"cpus": 4, "gpus": 0.25}, 0.25, 1),
], ids=str)  # fmt: skip
def test_a_run_on_ray_has_a_gpu_where_there_are_any(given, gpus, room, tmp_path, monkeypatch):
    cluster = pytest.importorskip("sparse_plugin.engines.cluster")
    monkeypatch.setattr(cluster, "need", lambda *names: None)
    monkeypatch.setattr(cluster.RayEngine, "_nodes", lambda self: [{"Resources": {"CPU": 4.0, "GPU": 2.0}}])
    made = engine_of("ray", tmp_path, **given)
    made._check_resources()
    assert (made.gpus, made.free(0)) == (gpus, room)
