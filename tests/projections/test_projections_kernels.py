"""Loading, compiling, caching and giving up of kernels."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import logging
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparse_plugin.errors import ConfigError
from sparse_plugin.projections import compiler, dispatch, eager, kernel_status, project_needles
from sparse_plugin.projections.cpu import CpuKernels
from sparse_plugin.support import cache

needs_compiler = pytest.mark.skipif(os.name != "posix", reason="the C kernels are built on POSIX systems")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def prebuilt(tmp_path_factory, monkeypatch):
    """Compiles once for the whole session, and hands out copies."""
    if not hasattr(prebuilt, "content"):
        library, prebuilt.tuning = compiler.build(tmp_path_factory.mktemp("build"))
        prebuilt.content = library.read_bytes()
    calls = []

    def build(into):
        calls.append(into)
        (into / "kernels.so").write_bytes(prebuilt.content)
        return into / "kernels.so", prebuilt.tuning

    monkeypatch.setattr(compiler, "build", build)
    return calls


def fresh_path(load=CpuKernels):
    return dispatch.Backend("c", "cpu", load)


def test_importing_loads_and_compiles_nothing(tmp_path):
    script = (
        "import sys, sparse_plugin, sparse_plugin.projections as p; p.check_k(3)\n"
        "assert 'torch' not in sys.modules and 'triton' not in sys.modules\n"
        "import torch; from sparse_plugin.projections import project_needles\n"
        "from sparse_plugin.projections.dispatch import BACKENDS\n"
        "assert all(path.state == 'not loaded' for path in BACKENDS.values())\n"
        "assert 'sparse_plugin.projections.cpu' not in sys.modules\n"
        "import os; assert not os.path.exists(os.environ['SPARSE_PLUGIN_CACHE'])"
    )
    environment = {**os.environ, "SPARSE_PLUGIN_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True)


@needs_compiler
def test_the_compilation_is_one_log_line_and_is_not_repeated(folder, caplog):
    with caplog.at_level(logging.INFO, "sparse_plugin"):
        assert fresh_path().kernels() is not None
        assert fresh_path().kernels() is not None
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("compiled the projection kernels") and line.endswith(" s")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 1


@needs_compiler
@pytest.mark.parametrize("damage", ["changed", "cut short", "writable by others", "a link"])
def test_a_library_that_was_tampered_with_is_not_loaded(folder, prebuilt, caplog, damage, tmp_path):
    assert fresh_path().kernels() is not None
    (library,) = folder.iterdir()
    content = library.read_bytes()
    # A new file each time: the old one is mapped into this process.
    library.unlink()
    if damage == "changed":
        library.write_bytes(content[:-1] + b"x")
    elif damage == "cut short":
        library.write_bytes(content[:1000])
    elif damage == "a link":
        (tmp_path / "elsewhere.so").write_bytes(content)
        library.symlink_to(tmp_path / "elsewhere.so")
    else:
        library.write_bytes(content)
        library.chmod(0o777)
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        assert fresh_path().kernels() is not None
    assert "refused" in caplog.text and len(prebuilt) == 2
    assert [file.read_bytes() for file in folder.iterdir()] == [content]


@needs_compiler
@pytest.mark.parametrize("obstacle", ["a file", "writable by others", "a link"])
def test_a_cache_that_cannot_be_trusted_or_made_costs_only_the_cache(folder, prebuilt, caplog, obstacle, tmp_path):
    if obstacle == "a file":
        folder.write_text("")
    elif obstacle == "a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    path = fresh_path()
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        kernels = path.kernels()
    gamma = torch.randn(1, 8, 4, 4)
    assert torch.equal(kernels.l0_inf(gamma, 3), eager.l0_inf(gamma, 3))
    assert "for this process only" in caplog.text and len(caplog.records) == 1


@needs_compiler
def test_a_cache_that_cannot_be_written(folder, prebuilt, caplog, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(cache.tempfile, "mkstemp", full)
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        assert fresh_path().kernels() is not None
    assert "no space left" in caplog.text and not list(folder.iterdir())


def test_a_library_that_another_process_has_loaded_is_taken_as_it_is(tmp_path, monkeypatch):
    """Windows lets nobody replace it."""

    def in_use(*_):
        raise PermissionError(13, "The process cannot access the file because it is being used by another process")

    stored = cache.store(tmp_path, "key", b"library")
    monkeypatch.setattr(cache.os, "replace", in_use)
    assert cache.store(tmp_path, "key", b"library") == stored and list(tmp_path.iterdir()) == [stored]
    with pytest.raises(cache.CacheError, match="being used"):
        cache.store(tmp_path, "key", b"another")
    stored.write_bytes(b"changed")
    with pytest.raises(cache.CacheError, match="being used"):
        cache.store(tmp_path, "key", b"library")
    assert list(tmp_path.iterdir()) == [stored]


@pytest.mark.parametrize(
    "cc, says",
    [("false", "false failed"), ("/nowhere/cc", "could not be run"), (None, "no C compiler")],
)
def test_without_a_working_compiler_the_reference_runs_and_one_warning_says_why(folder, monkeypatch, caplog, cc, says):
    if cc is None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setenv("PATH", "")
    else:
        monkeypatch.setenv("CC", cc)
    path = fresh_path()
    monkeypatch.setitem(dispatch.BACKENDS, "cpu", path)
    gamma = torch.randn(1, 8, 4, 4)
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        for _ in range(2):
            assert torch.equal(project_needles(gamma, 3), eager.l0_inf(gamma, 3))
    assert len(caplog.records) == 1 and says in caplog.text and "plain torch" in caplog.text
    (row,) = [row for row in kernel_status() if row["path"] == "c"]
    assert row["state"] == "unavailable" and says in row["why"]


def test_a_kernel_that_disagrees_is_not_used(monkeypatch, caplog):
    class Wrong:
        l0_inf, l0_channel, mask = map(staticmethod, (eager.l0_inf, eager.l0_channel, eager.mask))

        @staticmethod
        def l0(gamma, k):
            return eager.l0(gamma, k) + 0.0  # -0.0 becomes 0.0

    path = fresh_path(Wrong)
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        assert path.kernels() is None and path.kernels() is None
    assert "disagrees with the reference on samples" in path.why and len(caplog.records) == 1


def test_a_device_without_a_kernel_is_said_once(caplog):
    dispatch._said.discard("xpu")
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        for _ in range(2):
            assert dispatch._kernels("xpu") is eager
    assert len(caplog.records) == 1 and "xpu" in caplog.text


@pytest.mark.parametrize("name, says", [("cuda", "there is no path 'cuda'"), ("triton", "cannot run on cpu")])
def test_forcing_a_path_that_cannot_run_is_an_error(monkeypatch, name, says):
    monkeypatch.setenv("SPARSE_PLUGIN_KERNEL", name)
    monkeypatch.setattr(dispatch, "_forced_triton", dispatch.Backend("triton", "cpu", lambda: 1 / 0))
    with pytest.raises(ConfigError, match=says):
        project_needles(torch.randn(1, 4, 2, 2), 2)


def test_status_names_every_path():
    rows = kernel_status()
    assert [row["path"] for row in rows] == ["triton", "c", "reference"]
    assert all(row.keys() == {"path", "device", "state", "why", "where"} for row in rows)


def test_the_sources_are_package_data():
    sources = {file.name for file in Path(compiler.__file__).parent.glob("*.c")}
    assert sources == {"kernels.c", "mask.c", "needles.c", "samples.c", "search.c"}
