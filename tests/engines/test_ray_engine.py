"""Runs as tasks of Ray: the same runs come out, whatever dies."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'sparse-plugin[ray]'")

from sparse_plugin.engines import cluster  # noqa: E402
from sparse_plugin.engines.choose import engine_of  # noqa: E402
from sparse_plugin.engines.cluster import RayEngine  # noqa: E402
from sparse_plugin.engines.work import Place  # noqa: E402
from sparse_plugin.errors import ConfigError  # noqa: E402
from sparse_plugin.experiments import engine  # noqa: E402
from sparse_plugin.runs import attempts, lease  # noqa: E402
from sparse_plugin.support.user_files import import_named  # noqa: E402

RUNS = str(Path(__file__).parents[1] / "engine_runs.py")
import_named(RUNS)
from sparse_plugin_user_engine_runs import STEPS, CountingGrid, steps_of  # noqa: E402

EVERY = {lease.VARIABLE: "0.1"}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Two nodes of a core each, on this machine."""
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    made = Cluster()
    share = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made.add_node(**share, include_dashboard=False)
    second = made.add_node(**share)
    made.wait_for_nodes()
    yield made, second
    if ray.is_initialized():
        ray.shutdown()
    made.shutdown()
    patch.undo()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv(lease.VARIABLE, "0.1")


def placed_on(nodes, out, **more):
    return RayEngine(Place(os.getcwd(), (RUNS,), 1, EVERY), Path(out), nodes[0].address, **more)


def values(tmp_path, count):
    grid = CountingGrid(tmp_path / "undisturbed", [""] * count)
    for run in grid.runs:
        run.perform("", print)
    return [run.collect()["value"] for run in grid.runs]


def test_without_an_address_one_is_started_here_whatever_cluster_there_is(nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", nodes[0].address)
    with engine_of("ray", tmp_path / "out") as placed:
        placed.start(1)
        assert len(placed._nodes()) == 1 and placed.free(0) == os.cpu_count()
        assert ray.get_runtime_context().gcs_address != nodes[0].address
    assert not ray.is_initialized()


def test_what_the_cluster_has_not_is_said_before_the_first_step(nodes, tmp_path):
    grid = CountingGrid(tmp_path / "out", [""])
    for asked, said in (({"cpus": 3}, "each run is to have 3 CPUs, and no node of the cluster has that: the largest have 1 CPUs and 0 GPUs"),
                        ({"gpus": 0.5}, "each run is to have 1 CPUs and 0.5 GPUs, and no node")):  # fmt: skip
        with pytest.raises(ConfigError, match=said), placed_on(nodes, tmp_path / "out", **asked) as placed:
            list(placed(grid.runs, 0))
        assert not ray.is_initialized()
    assert not grid.runs[0].directory.exists()


def test_a_directory_that_the_nodes_do_not_share_is_said_before_the_first_step(nodes, tmp_path, monkeypatch):
    write = cluster.write
    monkeypatch.setattr(cluster, "write", lambda path, text: write(path, "of another disk"))
    grid = CountingGrid(tmp_path / "out", [""])
    with pytest.raises(ConfigError, match="the node .* does not see .*/out, or another directory of that name; give --out on a file system"), placed_on(
        nodes, tmp_path / "out"
    ) as placed:
        list(placed(grid.runs, 0))
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_a_node_that_goes_while_it_is_asked_is_left_out(nodes, tmp_path, monkeypatch):
    real, asked = RayEngine._nodes, []

    def listed(self):
        asked.append(real(self))
        gone = {**asked[-1][0], "NodeID": "ab" * 28}
        return [*asked[-1], gone] if len(asked) < 3 else asked[-1]

    monkeypatch.setattr(RayEngine, "_nodes", listed)
    grid = CountingGrid(tmp_path / "out", [""])
    with placed_on(nodes, tmp_path / "out") as placed:
        (made,) = list(placed(grid.runs, 0))
    assert made.outcome is not None and len(asked) >= 3


def test_a_node_with_another_version_folder_or_disk_says_which(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, mark = Place(str(tmp_path)), tmp_path / "mark"
    mark.write_text("token")
    asked = cluster.seen_here
    assert asked(place, str(mark), "token", cluster.__version__) == "" and list(tmp_path.iterdir()) == [mark]
    assert "and the command was called with 0.0.7; install one version on all nodes" in asked(place, str(mark), "token", "0.0.7")
    assert f"does not see {tmp_path}, or another directory" in asked(place, str(mark), "other", cluster.__version__)
    assert f"does not see {tmp_path / 'gone'}, where the command was called" in asked(Place(str(tmp_path / "gone")), str(mark), "token", cluster.__version__)
    missing = asked(Place(str(tmp_path), ("/nowhere/mine.py",)), str(mark), "token", cluster.__version__)
    assert "/nowhere/mine.py" in missing and "there is no such file" in missing
    monkeypatch.setattr(Path, "write_text", lambda *args, **more: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert f"cannot write to {tmp_path}: Permission denied; give --out where all nodes may write" in asked(place, str(mark), "token", cluster.__version__)


@pytest.mark.slow
def test_workers_that_are_killed_hang_or_find_a_full_disk_change_nothing(nodes, tmp_path):
    grid = CountingGrid(tmp_path / "out", ["killed", "hangs", "full", "diverges always", ""])
    with placed_on(nodes, tmp_path / "out", hanging=2.0) as placed:
        made = {each.run.number: each for each in placed(grid.runs, 0)}
    assert made[3].failed == "the loss is no number"
    expected = values(tmp_path, 5)
    for number in (0, 1, 2, 4):
        assert made[number].outcome["value"] == expected[number]
        assert len(steps_of(grid.runs[number])) == STEPS + (0 if number == 4 else 2)  # gone on from step 5
    assert not ray.is_initialized() and not list((tmp_path / "out").glob(".shared*"))


@pytest.mark.slow
def test_a_node_that_dies_takes_no_run_along(nodes, tmp_path):
    made, second = nodes
    grid = CountingGrid(tmp_path / "out", [""] * 4, 0.1)

    def die():
        while not any((run.directory / "kept.json").is_file() for run in grid.runs):
            time.sleep(0.02)
        made.remove_node(second, allow_graceful=False)

    dying = threading.Thread(target=die)
    dying.start()
    with placed_on(nodes, tmp_path / "out") as placed:
        said, code = engine.perform(grid, placed)
    dying.join()
    assert (said.splitlines()[0], code) == ("4 values", 0)
    assert [run.collect()["value"] for run in grid.runs] == values(tmp_path, 4)
    for run in grid.runs:
        begun = [line["from"] for line in attempts.read(run.directory) if "from" in line]
        assert len(begun) <= 2 and all(step % 5 == 0 for step in begun)


@pytest.mark.parametrize(("address", "said"), [
    ("127.0.0.1:9", "there is no cluster of Ray at '127.0.0.1:9': Connection refused; start one by `ray start --head`"),
    ("127.0.0.1:99999", "there is no cluster of Ray at '127.0.0.1:99999'"),
    ("ray://head:10001", "--address is 'ray://head:10001', of Ray's client; call the command on a node of the cluster"),
    ("nowhere at all", "there is no cluster of Ray at 'nowhere at all'"),
])  # fmt: skip
def test_there_is_no_such_cluster(address, said, tmp_path):
    grid = CountingGrid(tmp_path / "out", [""])
    with pytest.raises(ConfigError, match=said), engine_of("ray", tmp_path, address=address) as placed:
        list(placed(grid.runs, 0))


@pytest.mark.parametrize("error", [
    RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.40.0\n    Python: 3.11.7\nThis process was started with:\n    Ray: 2.59.0"),
    ConnectionError("Could not find any running Ray instance."),
])  # fmt: skip
def test_another_version_of_ray_is_said(error, tmp_path, monkeypatch):
    def init(**options):
        raise error

    monkeypatch.setattr(ray, "init", init)
    said = "the cluster has another version of Ray or Python than this machine .*2.40.0.*; install the cluster's here" if "Version" in str(error) else "there is no cluster of Ray at 'auto': Could not find any"
    with pytest.raises(ConfigError, match=said), engine_of("ray", tmp_path, address="auto") as placed:
        list(placed(CountingGrid(tmp_path, [""]).runs, 0))


TRAIN = """
import json, os, sys
folder, seed = sys.argv[1], int(sys.argv[2])
g = train()
torch.manual_seed(seed)
with torch.no_grad():
    value = float(g(torch.randn(64, 6)).square().mean())
with open(os.path.join(folder, "log.jsonl"), "a") as log:
    log.write(json.dumps({"fid": 100 * value, "most": max(counts)}) + "\\n")
"""


@pytest.mark.slow
def test_a_trainer_of_others_is_regularized_in_the_workers_children(nodes, tmp_path, monkeypatch):
    """And one in which nothing could be regularized, exit code 3, is a failed trial with its sentence."""
    from launched import HEADER

    from sparse_plugin.errors import SparsePluginError
    from sparse_plugin.tune.candidates import VANILLA_CANDIDATE, wanted
    from sparse_plugin.tune.launched import HostTarget, WrittenScorer
    from sparse_plugin.tune.metric import parse
    from sparse_plugin.tune.target import Goal

    (tmp_path / "train.py").write_text(HEADER + TRAIN)
    (tmp_path / "nothing.py").write_text("print('no network here')\n")
    words = [sys.executable, "train.py", "{dir}", "{seed}"]
    monkeypatch.chdir(tmp_path)
    scorer, goal = WrittenScorer(parse("jsonl:log.jsonl:fid")), Goal("fid", True, ratio=True)
    target = HostTarget(words, scorer, goal, whole=True)
    (candidate,) = wanted(["l0_inf:k=2"], [0.5])
    out = Path("out")
    runs = [target.trial(candidate, seed, 1.0, out) for seed in (0, 1)] + [target.trial(VANILLA_CANDIDATE, 0, 1.0, out)]
    nothing = HostTarget([sys.executable, "nothing.py", "{dir}", "{seed}"], scorer, goal, whole=True)
    runs.append(nothing.trial(candidate, 2, 1.0, out))
    with placed_on(nodes, out) as placed:
        made = {each.run: each for each in placed(runs, 0)}
    for run in runs[:3]:
        assert made[run].outcome is not None, made[run]
    most = [json.loads((run.directory / "run/log.jsonl").read_text())["most"] for run in runs[:3]]
    assert most[:2] == [2, 2] and most[2] > 2  # coefficients of a needle: k = 2, and vanilla's
    assert "the trainer exited with 3: " in made[runs[3]].failed and "see out/" in made[runs[3]].failed
    assert not isinstance(made[runs[3]].outcome, SparsePluginError)
