"""Loaded at start-up by every Python process of a launched run: this folder is first on PYTHONPATH there."""

import os
import sys


def _boot() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Off the path, so that the environment's own sitecustomize, if any, is found in its turn, and once.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
    mine = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", mine)
        if "SPARSE_PLUGIN_BOOT" in os.environ:
            _start()


def _start() -> None:
    try:
        from sparse_plugin.session import boot
    except ImportError as error:
        # A tool in another environment that the run calls; the run itself says at its end if nothing was attached.
        print(f"sparse_plugin: not on in {sys.executable}: {error}", file=sys.stderr)
        return
    try:
        boot()
    except Exception as error:  # site would print it and go on without the regularizer
        print(f"sparse_plugin: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(2)


_boot()
