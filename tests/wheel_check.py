"""Install a built wheel in a clean environment and use it there: `python tests/wheel_check.py dist/x.whl`."""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ATTACH = """
import torch, sparse_plugin
from torch import nn
G = nn.Sequential(nn.ConvTranspose2d(8, 16, 4), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh())
with sparse_plugin.attach(G, "l0_inf", k=4, example_input=torch.randn(2, 8, 1, 1)) as attachment:
    print(attachment, attachment.measure(torch.randn(2, 8, 1, 1))[0].sparsity)
"""


ROOT = Path(__file__).parent.parent

# The folders whose files ship, and where they are in the wheel.
FOLDERS = {"sparse_plugin": "sparse_plugin", "registry": "sparse_plugin/registry", "patches": "sparse_plugin/patches"}


def expected(root: Path = ROOT) -> set[str]:
    """Every file of a checkout that ships, by its name in the wheel: all but what Python compiled."""
    return {
        f"{inside}/{file.relative_to(root / folder).as_posix()}"
        for folder, inside in FOLDERS.items()
        for file in (root / folder).rglob("*")
        if file.is_file() and file.suffix not in (".pyc", ".pyo")
    }


def contents(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name.partition("/")[0]}
    missing, more = sorted(expected() - names), sorted(names - expected())
    assert not missing, f"{missing} is not in the wheel"
    assert not more, f"{more} is in the wheel, and not in the checkout"


def works(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"

        def run(*command: str) -> str:
            return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel.resolve()))
        assert "Exit codes" in run(f"{folder}/bin/sparse-plugin", "--help")
        listed = run(python, "-m", "sparse_plugin", "list")
        assert all(name in listed for name in ("l1", "l0", "l0_inf", "l0_channel", "l0_batch", "ml_csc", "mimicry"))
        attached = run(python, "-c", ATTACH)
        assert "l0_inf(k=4) at the input of 2" in attached and 0 < float(attached.split()[-1]) <= 25, attached
        print(attached, end="")


if __name__ == "__main__":
    contents(Path(sys.argv[1]))
    works(Path(sys.argv[1]))
    print(f"{sys.argv[1]} installs and works on its own")
