"""Official code, unmodified: its own entry scripts with the plugin on.

The hosts are stand-ins under tests/stand_ins, or real checkouts in the folder that SPARSE_PLUGIN_HOSTS names. The drivers
start a host's own script on the CPU and measure it below its modules; they know nothing of the plugin.
"""

import json
import shutil

import pytest
import yaml
from drives import HOSTS, drive

FULL = ["biggan", "msgan", "studiogan"]  # diffaugment goes through the same code as biggan


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """Reports of runs without the plugin, each run once; with the folder that holds its checkpoint."""
    runs = {}

    def of(host):
        if host not in runs:
            folder = tmp_path_factory.mktemp(host)
            done, report = drive(host, cwd=folder)
            assert done.returncode == 0, done.stderr
            runs[host] = (report, folder)
        return runs[host]

    return of


@pytest.fixture(scope="session")
def sparse(tmp_path_factory):
    """The same from bare starts, with the host's own configuration switching l0_inf on at a quarter."""
    runs = {}

    def of(host):
        if host not in runs:
            folder = tmp_path_factory.mktemp(host)
            done, report = drive(host, cwd=folder, plugin=[], bare=True, **HOSTS[host].own("l0_inf", k=0.25))
            assert done.returncode == 0, done.stderr
            runs[host] = (report, folder, done)
        return runs[host]

    return of


def same(folder, tmp_path):
    """A copy of a run's folder, to go on from, whose configuration names no regularizer."""
    copy = shutil.copytree(folder, tmp_path / "run")
    for config in copy.glob("drive.yaml"):
        sections = yaml.safe_load(config.read_text())
        sections.pop("SPARSE", None)
        config.write_text(yaml.safe_dump(sections))
    return copy


@pytest.mark.parametrize("host", HOSTS)
def test_k_of_everything_changes_nothing(host, plain, tmp_path):
    before, _ = plain(host)
    done, after = drive(host, cwd=tmp_path, plugin=["--sparse", "l0_inf", "--set", "sparse.k=1.0"])
    assert done.returncode == 0, done.stderr
    for key in ("generator", "ema", "losses", "calls", "nonzeros"):
        assert after[key] == before[key], key


@pytest.mark.parametrize("host", FULL)
def test_disabled_changes_nothing(host, plain, tmp_path):
    before, _ = plain(host)
    own = HOSTS[host].own("l0_inf", k=0.25)
    done, after = drive(host, cwd=tmp_path, plugin=["--set", "sparse.enabled=false"], **own)
    assert done.returncode == 0 and "disabled" in done.stderr, done.stderr
    assert (after["generator"], after["calls"]) == (before["generator"], before["calls"])


@pytest.mark.parametrize("host", HOSTS)
def test_its_own_configuration_switches_it_on(host, plain, sparse):
    before, _ = plain(host)
    after, _, done = sparse(host)
    assert HOSTS[host].d1 in done.stderr
    assert after["generator"] != before["generator"] and after["calls"] == before["calls"]
    assert max(after["nonzeros"]) <= 0.25 < min(before["nonzeros"])


@pytest.mark.parametrize("host", HOSTS)
def test_sampling_projects_as_in_training(host, sparse, tmp_path):
    """The host's own sampling script, told nothing of the regularizer: the checkpoint knows it."""
    _, folder, _ = sparse(host)
    done, sampled = drive(
        host, *HOSTS[host].sampling, cwd=same(folder, tmp_path), plugin=[], DRIVE_MODE="sample",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the checkpoint was trained with l0_inf(k=0.25)" in done.stderr
    assert sampled["calls"] and max(sampled["nonzeros"]) <= 0.25


def test_sampling_without_the_plugin_fails(sparse, tmp_path):
    """Where the host loads strictly; BigGAN-PyTorch's sample.py does not, and no checkpoint can make it."""
    _, folder, _ = sparse("msgan")
    done, sampled = drive("msgan", *HOSTS["msgan"].sampling, cwd=same(folder, tmp_path), DRIVE_MODE="sample")
    assert done.returncode == 1 and "sparse_plugin._extra_state" in done.stderr and not sampled


@pytest.mark.parametrize("host", FULL)
@pytest.mark.parametrize(
    ("plugin", "code", "sentence"),
    [
        (["--set", "sparse.enabled=false"], 2, "trained with l0_inf(k=0.25) and the plugin is disabled"),
        (["--sparse", "l0", "--set", "sparse.k=0.1"], 2, "trained with l0_inf(k=0.25), and the generator is attached with l0(k=0.1)"),
    ],
    ids=["disabled", "other settings"],
)  # fmt: skip
def test_sampling_otherwise_is_refused(host, sparse, tmp_path, plugin, code, sentence):
    _, folder, _ = sparse(host)
    done, sampled = drive(
        host, *HOSTS[host].sampling, cwd=same(folder, tmp_path), plugin=plugin, DRIVE_MODE="sample",
    )  # fmt: skip
    assert done.returncode == code and sentence in done.stderr, done.stderr
    assert not sampled and "Traceback" not in done.stderr


@pytest.mark.parametrize("host", FULL)
def test_a_checkpoint_without_the_plugin_is_projected_and_said(host, plain, tmp_path):
    _, folder = plain(host)
    done, sampled = drive(
        host, *HOSTS[host].sampling, cwd=same(folder, tmp_path), DRIVE_MODE="sample",
        plugin=["--sparse", "l0_inf", "--set", "sparse.k=0.25"],
    )  # fmt: skip
    assert done.returncode == 0 and "trained without sparse_plugin" in done.stderr, done.stderr
    assert max(sampled["nonzeros"]) <= 0.25


@pytest.mark.parametrize("host", FULL)
def test_training_without_a_regularizer_is_refused_at_the_first_step(host, tmp_path):
    done, report = drive(host, cwd=tmp_path, plugin=[])
    assert done.returncode == 2 and "about to be trained and no regularizer is named" in done.stderr, done.stderr
    assert not report and "Traceback" not in done.stderr


@pytest.mark.parametrize("host", FULL)
def test_ml_csc_trains_its_dictionaries(host, tmp_path):
    """In hosts whose optimizer is made inside the constructor too; into their EMA and checkpoint."""
    import torch

    done, report = drive(host, cwd=tmp_path, plugin=[], **HOSTS[host].own("ml_csc", k=0.25))
    assert done.returncode == 0, done.stderr
    assert max(report["nonzeros"]) <= 0.25
    saved = torch.load(next(tmp_path.glob(HOSTS[host].weights)), weights_only=True)
    (d2,) = [value for name, value in flat(saved) if name.endswith("dictionaries.D2.weight")]
    identity = torch.zeros_like(d2)
    identity[:, :, 1, 1] = torch.eye(len(d2))
    assert not torch.equal(d2, identity)


def flat(node, name=""):
    """Every tensor in nested dicts, with its path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from flat(value, f"{name}.{key}")
    elif hasattr(node, "shape"):
        yield name, node


MISTAKES = [
    (["--sparse"], "expected one argument"),
    (["--sparse", "l0inf", "--sparse_k", "1"], "Did you mean 'l0_inf'?"),
    (["--sparse", "l0", "--sparse_weight", "1"], "no field 'weight'"),
    (["--sparse_k", "1"], "--sparse_k is given without --sparse NAME"),
    (["--sparse", "l0", "--sparse_k", "-1"], "field 'k'"),
    (["--sprase", "l0"], "unrecognized arguments: --sprase"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_wrong_flags_end_as_the_hosts_own(words, sentence, tmp_path):
    done, report = drive("msgan", *words, cwd=tmp_path, plugin=[])
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert not report


def test_the_launcher_and_the_host_may_not_differ(tmp_path):
    words = ["--sparse", "l0", "--sparse_k", "3"]
    done, _ = drive("msgan", *words, cwd=tmp_path, plugin=["--sparse", "l0", "--set", "sparse.k=4"])
    assert done.returncode == 2 and "differ in k: 3 and 4; give it in one place" in done.stderr
    done, report = drive("msgan", *words, cwd=tmp_path, plugin=["--sparse", "l0", "--set", "sparse.k=3"])
    assert done.returncode == 0 and report["calls"]


@pytest.mark.parametrize("host", HOSTS)
def test_l1_is_added_to_the_generators_loss(host, plain, tmp_path):
    """The first loss of the generator, which both runs compute with the same weights, grows by what was measured."""
    before, _ = plain(host)
    own = HOSTS[host].own("l1", weight=2.0)
    done, after = drive(host, cwd=tmp_path, plugin=["--set", "sparse.measure_every=1"], **own)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.rglob("sparsity.jsonl")
    penalty = json.loads(log.read_text().splitlines()[0])["penalty"]
    assert penalty > 0.1
    assert after["losses"][0] - before["losses"][0] == pytest.approx(penalty, rel=1e-4)
    assert after["generator"] != before["generator"] and after["calls"] == before["calls"]
