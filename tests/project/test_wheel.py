"""Every file of the package's folders is in the wheel: new packages are found, and what cannot be found is noticed."""

import shutil
import subprocess
import sys

import pytest
from wheel_check import FOLDERS, ROOT, expected

# What setuptools would put into the wheel, in a tenth of the time that a build takes.
LIST = """
import os, setuptools
from distutils.core import run_setup
command = run_setup("setup.py", stop_after="commandline").get_command_obj("build_py")
command.ensure_finalized()
files = [(command.get_module_outfile("", package.split("."), name)) for package, name, _ in command.find_all_modules()]
files += [os.path.join(*package.split("."), name) for package, _, _, names in command.data_files for name in names]
print(*(file.replace(os.sep, "/") for file in files), sep="\\n")
"""


def ships(root):
    done = subprocess.run([sys.executable, "-c", LIST], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert len(names) == len(set(names))
    return set(names)


@pytest.fixture
def checkout(tmp_path):
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)

    def add(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("")
        return tmp_path

    return add


def test_what_is_here():
    assert ships(ROOT) == expected()


def test_packages_are_found(checkout):
    """New rooms, in each of the three folders and as deep as one likes, with the files that are no modules."""
    rooms = ["sparse_plugin/rooms", "sparse_plugin/rooms/inner", "registry/more", "patches/more", "patches/more/inner"]
    files = [f"{room}/{name}" for room in rooms for name in ("__init__.py", "thing.py", "boot/sitecustomize.py", "page.html")]
    root = checkout(*files, "sparse_plugin/rooms/inner/fast.c")
    assert ships(root) == expected(root)
    assert "sparse_plugin/patches/more/inner/boot/sitecustomize.py" in ships(root)


@pytest.mark.parametrize("name", ["sparse_plugin/rooms/thing.py", "registry/more/thing.py", "patches/data.json"])
def test_what_is_not_found_is_noticed(checkout, name):
    """A folder without __init__.py, and a kind of data that pyproject.toml does not name."""
    root = checkout(name)
    assert expected(root) - ships(root) == {name.replace("registry", "sparse_plugin/registry").replace("patches", "sparse_plugin/patches")}
