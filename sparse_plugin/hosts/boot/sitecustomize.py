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
        from sparse_plugin.hosts.enable import boot
    except Exception as error:
        sys.stderr.write("sparse_plugin: not on in %s: %s: %s\n" % (sys.executable, type(error).__name__, error))  # noqa: UP031
        # A tool in another environment that the run calls may go on; the command itself is what was to be regularized.
        if os.environ["SPARSE_PLUGIN_BOOT"] == str(os.getppid()):
            sys.stderr.write(
                "sparse_plugin: this is the command that was to run with it; install sparse_plugin where it runs, and leave out "
                "-s and PYTHONNOUSERSITE where it is in the user's own site-packages\n"
            )
            sys.stderr.flush()
            os._exit(2)
        return
    try:
        boot()
    except Exception as error:  # site would print it and go on without the regularizer
        sys.stderr.write("sparse_plugin: %s: %s\n" % (type(error).__name__, error))  # noqa: UP031
        sys.stderr.flush()
        os._exit(2)


_boot()
