"""A run that is refused leaves no trace, and is in nobody's way."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from gan_runs import train

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError

REFUSED = [
    (["--batch", "100000"], "needs as many images"),
    (["--batch", "1"], "fewer than 2 images"),
    (["--batch", "6", "--accumulation", "4"], "does not divide into 4 parts"),
    (["--sparse", "l0_inf", "--set", "sparse.sites=[nowhere]"], "nowhere"),
    (["--sparse", "l0_inf", "--set", "sparse.adapter=mimicry"], "mimicry"),
    (["--sparse", "l0_inf", "--set", "sparse.k=[1,2]"], "lists 2 values"),
    (["--sparse", "l0_inf", "--set", "sparse.run_dir=x"], "sparse.run_dir is 'x' and has no meaning in `train`: measurements are"),
    (["--sparse", "l0_inf", "--set", "sparse.host=mimicry"], "sparse.host is 'mimicry' and has no meaning in `train`"),
    (["--sparse", "l0_inf", "--set", "sparse.generator=a:B"], "sparse.generator is 'a:B' and has no meaning"),
    (["--sparse", "l1", "--set", "sparse.accumulation=2"], "sparse.accumulation is 2 and has no meaning in `train`: give --accumulation"),
    (["--set", "sparse.delivery=loss"], "sparse.delivery is 'loss' and no regularizer is named"),
    (["--device", "meta"], "the device is 'meta'"),
    (["--precision", "half"], "there is no precision 'half'"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), REFUSED, ids=[" ".join(options) for options, _ in REFUSED])
def test_a_refused_run_leaves_no_trace(options, said, tmp_path):
    target = tmp_path / "deep" / "run"
    done = CliRunner().invoke(cli, ["train", "dcgan", "--run", str(target), "--width", "0.0625", "--device", "cpu", *options])
    assert done.exit_code == 2 and said in done.output, done.output
    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_is_in_nobodys_way(tmp_path):
    with pytest.raises(ConfigError, match="needs as many images"):
        train("dcgan", tmp_path / "a", batch=100_000)
    assert "is finished" in train("dcgan", tmp_path / "a", steps=1)
    kept = {path: path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="batch is 4 there and 100000 here"):
        train("dcgan", tmp_path / "a", steps=1, batch=100_000)
    assert {path: path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file()} == kept
