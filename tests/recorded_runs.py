"""Records of runs as they would be, for several test files."""

from sparse_plugin.experiments.records import Record
from sparse_plugin.runs.config import RunSettings
from sparse_plugin.runs.methods import methods


def record(method="vanilla", seed=100, value=400.0, steps=(2, 4, 6, 8, 10), made=None, data="aa", **config):
    asked = None if method == "vanilla" else methods([method], "dcgan")[0].sparse.flat()
    label = "vanilla" if method == "vanilla" else methods([method], "dcgan")[0].label
    whole = {
        "arch": "dcgan", "size": 32, "width": 0.25, "batch": 64, "steps": 10, "accumulation": 1, "precision": "float32",
        "seed": seed, "classes": 0, "sparse": asked, "data": {"name": "d.zip", "fraction": 1.0, "images": 9, "sha256": data},
        **config,
    }  # fmt: skip
    scores = {step: {"FD-lite0": (value + 10 * (10 - step), None)} for step in steps}
    scores[max(steps)] |= {"KID-lite0": (0.5, 0.01), "FD-lite0 test": (value + 1, None)}
    density = [[0.25, 0.5], [0.5, 0.25]]
    made = [{"torch": "2.14.1", "device": "a CPU", "threads": 1, "kind": "cpu"}] if made is None else made
    return Record(
        f"{label}-{seed}-{value}-{sorted(steps)}-{config}", label, RunSettings.from_json(whole),
        {"title": "DCGAN", "source": "s", "sha256": "r"}, scores, [{"level": 1, "sparsity": 25.0, "needle_density": density}],
        {"real": "9 images", "arithmetic": "x"}, made, 0.1,
    )  # fmt: skip


def sweep(n=8, **factors):
    """n seeds of vanilla and of methods whose values are their factor times vanilla's, give or take."""
    made = []
    for seed in range(100, 100 + n):
        base = 400.0 + 5 * (seed % 4)
        made.append(record(seed=seed, value=base))
        made += [record(m, seed, base * f * (1 + (seed % 3 - 1) / 100)) for m, f in factors.items()]
    return made


FACTORS = {"l0_inf:k=0.25": 0.8, "l0:k=0.25": 1.0, "l1:weight=10.0": 1.2, "ml_csc:k=0.25": 0.85, "ml_csc:k=1.0": 1.0}
