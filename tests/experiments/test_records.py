"""Finished runs as lines of a file: read back, refused by name, and running nothing."""

import json
from dataclasses import replace

import pytest
from recorded_runs import FACTORS, sweep

from sparse_plugin.errors import CheckpointError, OutputError
from sparse_plugin.experiments import records
from sparse_plugin.figures import pages


def test_lines_are_read_back_and_replaced_by_id(tmp_path):
    path = tmp_path / "deep" / "runs.jsonl"
    made = sweep(2, **FACTORS)
    assert records.read(path) == [] and records.add(path, made) == len(made)
    assert records.read(path) == made and records.add(path, made) == 0
    again = replace(made[3], scores={10: {"FD-lite0": (1.0, None)}})
    assert records.add(path, [again]) == 1 and records.read(path)[3] == again and len(records.read(path)) == len(made)
    assert all(json.loads(line)["version"] == 1 for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "5", "null", '{"version": 2}', '{"version": 1}', '{"version": 1, "a": 1}', '"x"', '{"version": []}'],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "runs.jsonl"
    records.add(path, sweep(1))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CheckpointError, match=r"runs.jsonl, line 2: this is no record of a run"):
        records.read(path)


@pytest.mark.parametrize("field", ["config", "scores", "levels", "recipe", "method"])
def test_a_record_with_a_field_of_another_kind_is_named(tmp_path, field):
    path = tmp_path / "runs.jsonl"
    records.add(path, sweep(1))
    path.write_text(json.dumps({**json.loads(path.read_text()), field: 5}))
    with pytest.raises(CheckpointError, match="line 1: this is no record of a run"):
        records.read(path)


def test_a_record_runs_no_code(tmp_path):
    """What a file of runs names as imports is read by nobody."""
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    path = tmp_path / "runs.jsonl"
    made = sweep(2, **FACTORS)
    for found in made:
        if found.config.sparse:
            found.config.sparse["imports"] = [str(evil)]
    records.add(path, made)
    pages.make(path, figures=False)
    assert not (tmp_path / "ran").exists() and len(records.read(path)) == len(made)


@pytest.mark.parametrize("room", [0, 1, 100, 700])
def test_a_line_for_which_there_is_no_room_leaves_nothing_behind(tmp_path, room):
    """So that the same command goes on once there is room, as the message says."""
    resource = pytest.importorskip("resource")  # of POSIX
    path, made = tmp_path / "runs.jsonl", sweep(3)
    records.add(path, made[:1])
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(OutputError, match="runs.jsonl could not be written: File too large; make room"):
            records.add(path, made[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert records.add(path, made[1:]) == 2 and records.read(path) == made
