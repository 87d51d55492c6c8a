"""The Ray engine: runs are tasks of Ray, on a cluster that is there or one that is started here and stopped again.

Ray does nothing but place runs. What it knows of them is nowhere needed: their state is in their directories.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparse_plugin.engines.placing import HANGING, PlacingEngine, Work
from sparse_plugin.engines.work import Ended, Order, Place, work
from sparse_plugin.errors import ConfigError
from sparse_plugin.support.files import make_folder, reason, write
from sparse_plugin.support.optional import need
from sparse_plugin.support.progress import say
from sparse_plugin.support.version import __version__

# Seconds in which every node has to answer, and in which a run may leave its directory in order.
ANSWERING, SAVING = 120.0, 60.0
# Bytes of Ray's object store where it is started here: nothing is kept in it.
STORE = 100 * 2**20


class RayWork(Work):
    """A run that is a task."""

    def __init__(self, ray: Any, task: Any) -> None:
        self.ray, self.task = ray, task

    def ended(self) -> Ended | str | None:
        """What the task returned, or what its worker died of."""
        done, _ = self.ray.wait([self.task], timeout=0)
        if not done:
            return None
        try:
            ended: Ended = self.ray.get(self.task)
        except self.ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [""]
            return f"its worker died: {type(error).__name__}: {' '.join(lines[0].split())[:300]}"
        return ended

    def tell(self) -> None:
        """Interrupt the task."""
        with suppress(self.ray.exceptions.RayError, ValueError):
            self.ray.cancel(self.task, force=False)

    def stop(self, gently: bool) -> None:
        """Cancel the task."""
        with suppress(self.ray.exceptions.RayError, ValueError):
            if gently:
                self.tell()
                if self.ray.wait([self.task], timeout=SAVING)[0]:
                    return
            self.ray.cancel(self.task, force=True)
            self.ray.wait([self.task], timeout=SAVING)


class RayEngine(PlacingEngine):
    """Runs as tasks of Ray. out: of the grid, which all nodes must see. address: of a cluster, "auto" for the one that this
    machine belongs to, None to start one here. cpus, gpus: of each run; by default one GPU where the cluster has any.
    """

    def __init__(
        self, place: Place, out: Path, address: str | None = None, cpus: int = 1, gpus: float | None = None, hanging: float = HANGING
    ) -> None:
        need("the engine ray", "ray", "ray")
        super().__init__(place, hanging)
        self.out, self.address, self.cpus, self.gpus = out, address, cpus, gpus or 0.0
        self._default = gpus is None
        self._ray: Any = None
        self._task: Any = None
        self._made: list[Path] = []

    @property
    def about(self) -> str:
        """What each takes."""
        return f"on Ray, {self.cpus} CPU{'' if self.cpus == 1 else 's'}{f' and {self.gpus:g} GPU' if self.gpus else ''} each"

    def start(self, count: int) -> None:
        """Join the cluster, or start one; see that it has what is asked for, and that all nodes see the directory.

        Raises ConfigError where not.
        """
        if self._ray is not None:
            return
        self._ray = _joined(self.address)
        try:
            url = getattr(self._ray.get_runtime_context(), "dashboard_url", None) or _dashboard(self._ray)
            if url:
                say(f"Ray's dashboard: http://{url}")
            self._check_resources()
            self._check_nodes(count)
        except BaseException:
            self.close()
            raise
        self._task = self._ray.remote(work).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0, name="sparse-plugin run")

    def free(self, at_work: int) -> int:
        """As many as the nodes that live have room for."""
        return max(0, sum(self._room(node) for node in self._nodes()) - at_work)

    def begin(self, order: Order) -> Work:
        """Hand a run to Ray."""
        return RayWork(self._ray, self._task.remote(order))

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started."""
        for path in self._made:
            with suppress(OSError):
                path.unlink()
        self._made = []
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node.get("Alive")]

    def _room(self, node: dict[str, Any]) -> int:
        has = node.get("Resources", {})
        room = int(has.get("CPU", 0) // self.cpus)
        return room if not self.gpus else min(room, int(has.get("GPU", 0) / self.gpus + 1e-9))

    def _check_resources(self) -> None:
        nodes = self._nodes()
        if self._default and any(node.get("Resources", {}).get("GPU", 0) for node in nodes):
            self.gpus = 1.0
        if any(self._room(node) for node in nodes):
            return
        most = {kind: max((node.get("Resources", {}).get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")}
        asked = f"{self.cpus} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
        raise ConfigError(
            f"each run is to have {asked}, and no node of the cluster has that: the largest have {most['CPU']:g} CPUs and "
            f"{most['GPU']:g} GPUs; give smaller --cpus and --gpus, or --address of another cluster"
        )

    def _check_nodes(self, count: int) -> None:
        """That every node sees the directory, and has this version of the package. Before any step is taken.

        Each is asked by as many workers as it has room for, of the count that are wanted, so that they all load what a run needs
        at the same time. Ray gives a run with a GPU a worker of its own, so one is enough there.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        token = secrets.token_hex(8)
        mark = make_folder(self.out) / f".shared-{token}"
        self._made.append(mark)
        write(mark, token)
        seen = self._ray.remote(seen_here)
        asked: dict[Any, dict[str, Any]] = {}
        for node in self._nodes():
            room = self._room(node)
            if not room:
                continue  # no run will be there
            pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = seen.options(num_cpus=0, max_retries=0, scheduling_strategy=pinned)
            for _ in range(1 if self.gpus else min(room, max(1, count - len(asked)))):
                asked[look.remote(self.place, str(mark), token, __version__)] = node
        answered, silent = self._ray.wait(list(asked), num_returns=len(asked), timeout=ANSWERING)
        for task in answered:
            try:
                wrong = self._ray.get(task)
            except self._ray.exceptions.RayError as error:
                if not self._lives(asked[task]):
                    continue  # it went while it was asked: no run will be there
                first = next((line for line in reversed(str(error).strip().splitlines()) if line.strip()), "")
                wrong = f"does not run sparse_plugin: {' '.join(first.split())[:300]}; install there what is installed here"
            if wrong:
                raise ConfigError(f"the node {_called(asked[task])} {wrong}")
        silent = [task for task in silent if self._lives(asked[task])]
        if silent:
            raise ConfigError(
                f"the node {_called(asked[silent[0]])} gave no answer within {ANSWERING:.0f} s; see `ray status`, or take it out of the "
                "cluster"
            )

    def _lives(self, node: dict[str, Any]) -> bool:
        return any(each["NodeID"] == node["NodeID"] for each in self._nodes())


def _called(node: dict[str, Any]) -> str:
    return str(node.get("NodeManagerHostname") or node["NodeID"][:12])


def seen_here(place: Place, mark: str, token: str, version: str) -> str:
    """What is wrong with the node that this is called on; "" for nothing."""
    if version != __version__:
        return f"has sparse_plugin {__version__}, and the command was called with {version}; install one version on all nodes"
    try:
        place.enter()
    except ConfigError as error:
        return f"cannot be used: {error}"
    try:
        same = Path(mark).read_text(encoding="utf-8") == token
    except (OSError, ValueError):
        same = False
    if not same:
        return (
            f"does not see {Path(os.path.abspath(mark)).parent}, or another directory of that name; give --out on a file system that "
            "all nodes share"
        )
    probe = Path(mark).with_name(f"{Path(mark).name}.{secrets.token_hex(4)}")
    try:
        probe.write_text(token, encoding="utf-8")
        probe.unlink()
    except OSError as error:
        return f"cannot write to {Path(os.path.abspath(mark)).parent}: {reason(error)}; give --out where all nodes may write"
    return ""


def _joined(address: str | None) -> Any:
    """Ray, connected. Raises ConfigError where there is no such cluster, or it is of another version."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the way of later versions, by which no warning is said
    import ray

    if ray.is_initialized():
        raise ConfigError("this process is connected to Ray already; call ray.shutdown() first")
    _reached(address)
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "error", "configure_logging": True}
    if address is None:  # Ray would join whatever cluster it knows of
        options |= {"address": "local", "object_store_memory": STORE, "num_cpus": os.cpu_count()}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's would end this process without a sentence
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split())
        if "ersion" in said and "mismatch" in said.lower():
            raise ConfigError(
                f"the cluster has another version of Ray or Python than this machine ({said[:400]}); install the cluster's here, or call "
                "the command on one of its nodes"
            ) from None
        where, then = "no Ray could be started here", "see the logs in /tmp/ray/session_latest/logs"
        if address is not None:
            where, then = f"there is no cluster of Ray at {address!r}", "start one by `ray start --head`, or leave --address out"
        raise ConfigError(f"{where}: {said[:300] or type(error).__name__}; {then}") from None
    return ray


def _reached(address: str | None) -> None:
    """Raise ConfigError where nobody answers at an address: Ray would try for minutes."""
    known = Path("/tmp/ray/ray_current_cluster")  # Ray's note of the cluster that this machine belongs to
    said = address
    if address == "auto":
        with suppress(OSError):
            said = os.environ.get("RAY_ADDRESS") or known.read_text(encoding="utf-8").strip()
    if said is not None and "://" in said:
        raise ConfigError(f"--address is {said!r}, of Ray's client; call the command on a node of the cluster, with --address auto")
    host, _, port = (said or "").rpartition(":")
    if not port.isdecimal():
        return  # Ray says what is wrong with it
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"there is no cluster of Ray at {said!r}: {reason(error)}; start one by `ray start --head`, or leave --address out"
        ) from None


def _dashboard(ray: Any) -> str:
    with suppress(Exception):
        return str(ray._private.worker.get_dashboard_url() or "")
    return ""
