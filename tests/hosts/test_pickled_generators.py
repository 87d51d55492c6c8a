"""Generators that come out of a pickle with their regularizer: a spawned worker is given one, a file holds one whole."""

import json

import pytest
from launched import script, sparse_plugin

BODY = """
def rest(g):
    opt = torch.optim.SGD(g.parameters(), 0.1)
    for _ in range(3):
        opt.zero_grad()
        g(torch.randn(4, 6)).square().mean().backward()
        opt.step()
    print(counts)
"""
QUARTER = ("--sparse", "l0_inf", "--set", "sparse.k=2")
LOGGED = ("--set", "sparse.measure_every=1", "--set", "sparse.run_dir=log")


def run(tmp_path, *options):
    return sparse_plugin("run", *options, "--", "python", "train.py", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("options", [QUARTER, ("--sparse", "l1", "--set", "sparse.weight=1e-3")])
def test_a_spawned_worker_trains_what_it_is_given(tmp_path, options):
    script(
        tmp_path,
        BODY.replace("print(counts)", "")
        + """
def work(rank, g):
    rest(g)

if __name__ == "__main__":
    g = Generator()
    del g.out._forward_hooks[min(g.out._forward_hooks)]  # the lambda, which does not pickle
    torch.multiprocessing.spawn(work, args=(g,), nprocs=1)
""",
    )
    done = run(tmp_path, *options, *LOGGED)
    assert done.returncode == 0 and "trained nothing" not in done.stderr and "NOTHING" not in done.stderr, done.stderr
    assert [json.loads(line)["step"] for line in (tmp_path / "log" / "sparsity.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_a_file_holds_one_whole(tmp_path):
    script(tmp_path, BODY + "\ng = Generator(); rest(g); del g.out._forward_hooks[min(g.out._forward_hooks)]; torch.save(g, 'g.pt')")
    assert run(tmp_path, *QUARTER).returncode == 0
    script(tmp_path, BODY + "\nrest(torch.load('g.pt', weights_only=False))")
    for options in [QUARTER, ()]:
        done = run(tmp_path, *options)
        assert done.returncode == 0 and "attached to Generator at the input of out" in done.stderr, done.stderr
    for options, sentence in [
        (("--sparse", "l0_inf", "--set", "sparse.k=3"), "was pickled with l0_inf(k=2), and this run asks for l0_inf(k=3)"),
        (("--sparse", "l0"), "was pickled with l0_inf(k=2), and this run asks for l0;"),
        ((*QUARTER, "--set", "sparse.enabled=false"), "was pickled with l0_inf(k=2), and this run is disabled"),
    ]:
        done = run(tmp_path, *options)
        assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
