"""Every script in benchmarks/ still fits the package: those that the pages name are commands that users run."""

import importlib.util
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_is_imported(path, monkeypatch):
    pytest.importorskip("torch_fidelity")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmark_of_{path.stem.strip('_')}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)


def test_the_table_of_restorations_is_that_of_their_record(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import restore_auto

    restore_auto.main(["--collect"])
    assert capsys.readouterr().out.strip() in (BENCHMARKS.parent / "docs/restore.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "of"),
    [(name, of) for name in ("auto", "tune") for of in ([], ["--arch", "msgan", "--width", "0.125"])],
    ids=["auto-dcgan", "auto-msgan", "tune-dcgan", "tune-msgan"],
)
def test_the_tables_of_what_chooses_itself_are_those_of_their_record(name, of, monkeypatch, capsys):
    pytest.importorskip("torch_fidelity")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import_module(name).main([*of, "--collect"])
    assert capsys.readouterr().out.strip() in (BENCHMARKS.parent / "docs/results.md").read_text(encoding="utf-8")


def test_what_watching_costs_is_measured(monkeypatch, capsys):
    """Whole: it reaches into the objects of a forward, as nothing else outside the package does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import watching

    monkeypatch.setattr(watching, "seconds_of_a_step", lambda *_: 1.0)
    for name in ("CALLS", "PAIRS"):
        monkeypatch.setattr(watching, name, 3)
    watching.main()
    said = capsys.readouterr().out
    assert said.count(" us a step; ") == 6 and "watching a forward: " in said and "two forwards a step: " in said
