"""A process of the local engine: reads runs from its standard input, performs each, and writes how it ended.

It ends when its input does: with the engine, whatever that died of.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from contextlib import suppress

# Seconds in which a run may end by itself once it was interrupted.
SAVING = 45.0


def main() -> None:
    """Perform runs until the input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is no reply
    # Of a command in the background of a script it inherits that SIGINT is ignored, and would not hear its own interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    orders: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    from sparse_plugin.engines.work import work

    with suppress(KeyboardInterrupt, BrokenPipeError):
        while (order := orders.get()) is not None:
            pickle.dump(work(pickle.loads(order)), replies)
            replies.flush()


def _read(orders: queue.Queue[bytes | None]) -> None:
    given = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # nothing that a run starts reads the orders
    with suppress(OSError):
        while len(size := given.read(8)) == 8:
            orders.put(given.read(int.from_bytes(size, "big")))
    orders.put(None)
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        import _thread

        _thread.interrupt_main()
    threading.Event().wait(SAVING)
    os._exit(1)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # whatever threads a run left behind
