"""Records of restorations as they would be, for several test files."""

from sparse_plugin.experiments.restored import Restored
from sparse_plugin.runs.config import RestorationSettings
from sparse_plugin.runs.methods import methods
from sparse_plugin.runs.sparsity import RESTORING

MADE = {"torch": "2.14.1", "device": "a CPU", "threads": 1, "kind": "cpu"}


def line(method="vanilla", seed=0, single=28.0, average=29.0, image="one", made=MADE, noisy=None, **config):
    (asked,) = methods([method], RESTORING)
    whole = {"iterations": 30, "width": 1.0, "seed": seed, "sparse": asked.sparse and asked.sparse.flat(), **config}
    return Restored(
        f"{image}-{asked.label}-{seed}-{config}", asked.label, {"name": image, "size": [64, 64], "sha256": f"hash of {image}"},
        {"name": "denoise", "sigma": 25.0}, {"seed": seed, "sha256": noisy or f"{image}, {seed}"}, None, RestorationSettings.from_json(whole), 20.2,
        {"single": (single, 20), "average": (average, 25)}, {"single": single - 1, "average": average - 0.5}, [1.0, 0.25], [made],
    )  # fmt: skip


def lines(n, **shifts):
    """n runs of vanilla and of methods that are so many dB above it, give or take."""
    found = []
    for seed in range(n):
        found.append(line(seed=seed, single=28 + seed / 10))
        found += [
            line(method, seed, 28 + seed / 10 + by + (seed % 3 - 1) / 50, 29 - by) for method, by in shifts.items()
        ]
    return found
