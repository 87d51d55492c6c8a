"""What a process that was given a run does with it, whichever engine gave it."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sparse_plugin.errors import ConfigError, OutputError, SparsePluginError
from sparse_plugin.experiments.engine import GridRun, attempt, say_line
from sparse_plugin.runs.watch import WATCH, Seen
from sparse_plugin.support.allocator import keep_pages
from sparse_plugin.support.user_files import import_named


@dataclass(frozen=True)
class Place:
    """What holds for all runs of one command.

    folder: where it was called, from which names are. imports: files that register what runs name. threads: of the CPU, for each
    run. settings: environment variables of ours.
    """

    folder: str
    imports: tuple[str, ...] = ()
    threads: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)

    def enter(self) -> None:
        """Make this process one of that command. Raises ConfigError where its folder, or a file, is not to be seen from here."""
        import torch

        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ConfigError(
                f"{_here()} does not see {self.folder}, where the command was called ({error.strerror}); call it in a folder that all "
                "nodes see"
            ) from None
        os.environ.update(self.settings)
        keep_pages()
        torch.set_num_threads(self.threads)
        for file in self.imports:
            import_named(file)


@dataclass(frozen=True)
class Order:
    """A run to be performed, pickled, as what its class is named after may have to be imported first. title: what progress
    calls it. seen: what the engine has seen of leases.
    """

    run: bytes
    title: str
    place: Place
    seen: Seen

    @classmethod
    def of(cls, run: GridRun, title: str, place: Place) -> Order:
        """The order to perform a run. Raises ConfigError for one that cannot be sent to another process."""
        try:
            sent = pickle.dumps(run)
        except Exception as error:
            raise ConfigError(
                f"{run} cannot be sent to another process ({type(error).__name__}: {' '.join(str(error).split())[:200]}); perform it "
                "with --engine local --jobs 1"
            ) from None
        folders = {os.path.abspath(place) for place in run.places}
        seen = {path: what for path, what in WATCH.told().items() if os.path.dirname(path) in folders}
        return cls(sent, title, place, seen)

    def unpacked(self) -> GridRun:
        """The run. Raises ConfigError where its class, say, is not to be found here."""
        try:
            run: GridRun = pickle.loads(self.run)
        except SparsePluginError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{_here()} cannot read the run {self.title} ({type(error).__name__}: {' '.join(str(error).split())[:200]}); install there "
                "what is installed here"
            ) from None
        return run


@dataclass(frozen=True)
class Ended:
    """How it ended, by itself. failed: why, in a sentence. again: whether another try may do better, elsewhere or later. busy:
    whether another process is at work on it. refused: the sentence and exit code of what ends the whole command.
    """

    failed: str = ""
    again: bool = False
    busy: bool = False
    refused: tuple[str, int] | None = None


def work(order: Order) -> Ended:
    """Perform a run. What it comes to is in its directory."""
    try:
        order.place.enter()
        WATCH.believe(order.seen)
        made = attempt(order.unpacked(), order.title, lambda text: say_line(f"run {order.title}", text))
        return Ended(made.failed, busy=made.busy)
    except OutputError as error:
        return Ended(f"{_here()}: {error}", again=error.exit_code == 1, refused=None if error.exit_code == 1 else (str(error), 2))
    except SparsePluginError as error:
        return Ended(refused=(str(error), error.exit_code))
    except (MemoryError, OSError) as error:
        traceback.print_exc()
        return Ended(f"{_here()}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", again=True)
    except Exception as error:  # a fault of ours, or of somebody's plugin: the others go on
        traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        return Ended(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}")


def _here() -> str:
    from sparse_plugin.runs.process import this_host

    return this_host().partition(" ")[0]
