"""Memory that a process of ours keeps, and that of another's program, which is left alone."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc only")

# The pages that are faulted in by 24 tensors of 48 MB, 11719 pages each, that follow each other.
FAULTS = """
import resource, torch
for _ in range(6):
    torch.empty(3, 4_000_000).fill_(1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(24):
    torch.empty(3, 4_000_000).fill_(1.0)
with open("faults", "w") as file:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, file=file)
"""
# A process of an engine, which imports what it is told to.
WORKS = "from sparse_plugin.engines.work import Place; Place('.', ('measured.py',)).enter()"


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (False, ["measured.py"]),
        (False, ["-m", "sparse_plugin", "run", "--sparse", "l1", "--", "python", "measured.py"]),
        (True, ["-m", "sparse_plugin", "list", "--import", "measured.py"]),
        (True, ["-c", WORKS]),
    ],
    ids=["python", "run", "a command of ours", "an engine's process"],
)
def test_pages_are_kept_where_the_program_is_ours(kept, words, tmp_path):
    """Faulted in a few times where they are kept (a freed chunk may not be taken at once), and each time where not."""
    (tmp_path / "measured.py").write_text(FAULTS)
    subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, check=False)
    faults = int((tmp_path / "faults").read_text())
    assert faults < 8 * 11719 if kept else faults > 20 * 11719
