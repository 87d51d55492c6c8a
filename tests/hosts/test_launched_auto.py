"""`auto` and schedules of a launched script: what it does, what is said, and what a run that ended too soon comes to."""

import json
import sys

import pytest
from launched import script, sparse_plugin

AUTO = ("run", "--sparse", "l0_inf", "--generator", "__main__:Generator", "--set")
SAVES = "g = train(9); print(counts[-1]); torch.save(g.state_dict(), 'g.pth')"


def test_a_script_that_trains_long_enough(tmp_path):
    script(tmp_path, SAVES)
    options = ("sparse.k={auto: 0.5, measure: 4, steps: 2}", "--set", "sparse.measure_every=1")
    done = sparse_plugin(*AUTO, *options, "--", "python", "train.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("sparse_runs/*/sparsity.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    natural = sum(line["sparsity_before"] for line in lines[:4]) / 400
    assert lines[-1]["k"] == pytest.approx(natural / 2, rel=1e-3)
    assert int(done.stdout) == int(8 * natural / 2)
    assert f"has by itself {100 * natural:.1f} % non-zeros" in done.stderr
    # What was chosen stands in the checkpoint, so that sampling asks for nothing.
    script(tmp_path, "g = Generator(); g.load_state_dict(torch.load('g.pth')); g(torch.randn(4, 6)); print(counts[-1])", "sample.py")
    sampled = sparse_plugin("run", "--generator", "__main__:Generator", "--", "python", "sample.py", cwd=tmp_path)
    assert sampled.returncode == 0 and sampled.stdout == done.stdout, sampled.stderr


def test_a_script_that_ends_before(tmp_path):
    script(tmp_path, "train(3)")
    done = sparse_plugin(*AUTO, "sparse.k=auto", "--", sys.executable, "train.py", cwd=tmp_path)
    assert done.returncode == 3
    assert "NOTHING WAS REGULARIZED" in done.stderr and "over the first 500 steps" in done.stderr
    assert "--set \"sparse.k={auto: 0.5, measure: 100, steps: 500}\"" in done.stderr


def test_a_schedule(tmp_path):
    script(tmp_path, "train(4); print(counts)")
    done = sparse_plugin(
        *AUTO, "sparse.k={start: 8, end: 2, steps: 3}", "--", sys.executable, "train.py", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert all(count <= k for count, k in zip(json.loads(done.stdout), [8, 6, 4, 2], strict=True))


@pytest.mark.parametrize(
    ("k", "said"),
    [
        ("{start: 1.0, end: 0.25}", "the schedule of k has no steps"),
        ("{points: [[5, 1.0], [1, 0.5]]}", "goes backwards, from step 5 to step 1"),
        ("{start: 1.5, end: 0.25, steps: 5}", "k is the float 1.5"),
        ("{auto: 2}", "auto is 2; give the share"),
        ("automatic", "k is 'automatic'"),
    ],
)
def test_what_is_refused_before_anything_runs(tmp_path, k, said):
    script(tmp_path, "print('ran')")
    done = sparse_plugin(*AUTO, f"sparse.k={k}", "--", sys.executable, "train.py", cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and not done.stdout
