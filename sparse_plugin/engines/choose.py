"""The engine that a command asks for."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sparse_plugin.engines.placing import HANGING, PlacingEngine
from sparse_plugin.engines.work import Place
from sparse_plugin.errors import ConfigError, one_of

LOCAL, RAY = "local", "ray"


def engine_of(
    name: str,
    out: str | Path,
    *,
    jobs: int | None = None,
    address: str | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    hanging: float | None = None,
    device: str | None = None,
    imports: Sequence[str] = (),
) -> AbstractContextManager[PlacingEngine | None]:
    """The engine of that name, to be used in a `with`; None for this process, which performs one run after the other.

    out: the grid's directory. jobs: processes at once, by default one a GPU. address: of a Ray cluster. cpus: threads of a
    run. gpus: its share of one. hanging: minutes without a step. device: that runs are to take. imports: files that register
    what runs name.

    Raises ConfigError for what there is not, and for what has no meaning together.
    """
    if name not in (LOCAL, RAY):
        raise ConfigError(one_of("engine", name, (LOCAL, RAY)))
    _check(name, jobs, address, cpus, gpus, hanging)
    stalled = HANGING if hanging is None else 60 * hanging
    settings = {key: value for key, value in os.environ.items() if key.startswith("SPARSE_PLUGIN_")}
    if name == RAY:
        from sparse_plugin.engines.cluster import RayEngine

        _one_gpu(device, "--engine ray")
        share = 0.0 if device == "cpu" else gpus
        place = Place(os.getcwd(), tuple(imports), cpus or 1, settings)
        return RayEngine(place, Path(out), address, cpus or 1, share, stalled)
    devices = [] if device == "cpu" or (jobs == 1 and gpus is None) else visible()
    devices = _shared(devices, gpus, jobs)
    count = jobs if jobs is not None else max(1, len(devices))
    if count == 1 and jobs is None and hanging is None and cpus is None:
        return nullcontext()
    if devices and count > 1:
        _one_gpu(device, "several --jobs")
    from sparse_plugin.engines.local import LocalEngine

    place = Place(os.getcwd(), tuple(imports), cpus or _threads(count), settings)
    return LocalEngine(place, Path(out), count, tuple(devices) if count > 1 and devices else (None,), stalled)


def _check(
    name: str, jobs: int | None, address: str | None, cpus: int | None, gpus: float | None, hanging: float | None
) -> None:
    if name == RAY and jobs is not None:
        raise ConfigError("--jobs is of --engine local; Ray places as many runs as --cpus and --gpus leave room for: leave it out")
    if name == LOCAL and address is not None:
        raise ConfigError("--address is of a Ray cluster, and the engine is local; give --engine ray, or leave it out")
    for option, value in (("--jobs", jobs), ("--cpus", cpus)):
        if value is not None and value < 1:
            raise ConfigError(f"{option} is {value}; give 1 or more")
    if gpus is not None and not 0 < gpus <= 1:
        raise ConfigError(f"--gpus is {gpus:g}; a run takes one GPU at most: give a share above 0 and up to 1, as 0.5 for two runs on each")
    if hanging is not None and not (math.isfinite(hanging) and hanging > 0):
        raise ConfigError(f"--hanging is {hanging:g}; give minutes above 0")
    there = os.cpu_count() or 1
    if name == LOCAL and cpus is not None and cpus > there:
        raise ConfigError(f"--cpus is {cpus}, and this machine has {there}; give {there} or less")


def _one_gpu(device: str | None, what: str) -> None:
    if device is not None and device not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {device} and {what} gives every run a GPU of its own; leave it out, or give cpu or cuda")


def visible() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    return named[:count] if len(named) >= count else [str(number) for number in range(count)]


def _shared(devices: list[str], gpus: float | None, jobs: int | None) -> list[str]:
    """The GPUs, each as often as runs share it. Raises ConfigError where there are fewer than are asked for."""
    if gpus is None:
        return devices
    if not devices:
        raise ConfigError(f"--gpus is {gpus:g}, and this machine has no GPU that torch can use; leave it out")
    each = int(1 / gpus + 1e-9)
    if jobs is not None and jobs > each * len(devices):
        raise ConfigError(
            f"{jobs} jobs with {gpus:g} GPU each are asked for, and there are {len(devices)} GPUs; give --jobs {each * len(devices)} or "
            "less"
        )
    return [device for device in devices for _ in range(each)]


def _threads(jobs: int) -> int:
    """Of each process: what the environment says, or its share of the cores."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return max(1, (os.cpu_count() or 1) // jobs)
