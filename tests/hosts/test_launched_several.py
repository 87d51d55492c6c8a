"""Several regularizers of a launched script: by flags and by a file, sampled from a checkpoint, and what is said of one that did nothing."""

import json
import sys

import pytest
from launched import script, sparse_plugin

RUN = ("run", "--generator", "__main__:Generator")
FLAGS = ("--sparse", "l1,l0_inf", "--set", "sparse.l1.weight=0.1", "--set", "sparse.l0_inf.k=2")


@pytest.mark.slow
def test_by_flags_by_a_file_and_by_a_checkpoint(tmp_path):
    script(tmp_path, "g = train(); print(counts, g.body.weight.sum().item()); torch.save(g.state_dict(), 'g.pth')")
    by_flags = sparse_plugin(*RUN, *FLAGS, "--set", "sparse.measure_every=1", "--", sys.executable, "train.py", cwd=tmp_path)
    assert by_flags.returncode == 0, by_flags.stderr
    assert by_flags.stdout.startswith("[2, 2, 2]") and "l1(weight=0.1, reduction=mean) + l0_inf(k=2) attached to Generator" in by_flags.stderr
    (log,) = tmp_path.glob("sparse_runs/*/sparsity.jsonl")
    assert [json.loads(line)["regularizer"] for line in log.read_text().splitlines()] == ["l1", "l0_inf"] * 3
    (tmp_path / "sparse.yaml").write_text("version: 1\nsparse:\n  regularizer: [l1, l0_inf]\n  l1: {weight: 0.1}\n  l0_inf: {k: 2}\n")
    by_file = sparse_plugin(*RUN, "--config", "sparse.yaml", "--", sys.executable, "train.py", cwd=tmp_path)
    assert by_file.stdout == by_flags.stdout, by_file.stderr
    script(tmp_path, "g = Generator(); g.load_state_dict(torch.load('g.pth')); torch.set_grad_enabled(False); g(torch.randn(4, 6)); print(counts[-1])", "sample.py")
    sampled = sparse_plugin(*RUN, "--", sys.executable, "sample.py", cwd=tmp_path)
    assert sampled.returncode == 0 and sampled.stdout == "2\n" and "l1(weight=0.1, reduction=mean) + l0_inf(k=2)" in sampled.stderr


def test_one_that_did_nothing_is_said_loudly(tmp_path):
    """The other acted; the images are detached, so that no penalty reaches a loss."""
    script(
        tmp_path,
        """
        g = Generator()
        extra = nn.Parameter(torch.ones(()))
        opt = torch.optim.SGD([*g.parameters(), extra], 0.1)
        for _ in range(2):
            (g(torch.randn(4, 6)).detach().mean() * extra).backward()
            opt.step()
        """,
    )
    done = sparse_plugin(*RUN, *FLAGS, "--", sys.executable, "train.py", cwd=tmp_path)
    assert done.returncode == 3 and "NOTHING WAS REGULARIZED BY l1: l1(weight=0.1" in done.stderr


def test_a_mistake_ends_with_2(tmp_path):
    script(tmp_path, "print('ran')")
    for flags, said in (
        (("--sparse", "l1,l0_inf", "--set", "sparse.k=2"), "write l0_inf: {k: 2}"),
        (("--sparse", "l1,l1"), "lists l1 twice"),
        (("--sparse", "l1,l0_channel"), "l0_channel: field 'k' is missing"),
        (("--sparse", "l1,l0_inf", "--set", "sparse.l1=2", "--set", "sparse.l1.weight=2"), "l1 is 2, with nothing inside"),
    ):
        done = sparse_plugin(*RUN, *flags, "--", sys.executable, "train.py", cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr and not done.stdout
