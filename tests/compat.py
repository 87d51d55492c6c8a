"""Run the tests of the core rooms on the oldest pair of Python and torch that is supported, and on the newest.

    python tests/compat.py [oldest] [newest] [--python PYTHON] [-- PYTEST ARGUMENTS]

Oldest is what pyproject.toml says: its least Python, and every requirement at its lower bound. Newest is the last Python
that torch has wheels for, with the newest release of everything. Each has an environment of its own in `.compat`. Where
an interpreter is missing the rest is run, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent

# What the tests of the core need, and more: every extra that is a part of it is held to its lower bounds.
EXTRA = "test"
ROOMS = ("projections", "registry", "config", "network", "attachment", "measurements", "support")
REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[([\w\s,.-]*)\])?\s*((?:[<>=!~]=?[^;]*)?)(?:;(.*))?")


class Unable(Exception):
    """Why a pair cannot be tested, in a sentence."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lower_bounds(metadata: dict[str, Any], extra: str = EXTRA) -> dict[str, str]:
    """The least version of every requirement of the project and an extra, as its name, version and marker.

    Raises Unable for a requirement that has no lower bound.
    """
    own, bounds = _key(metadata["name"]), {}
    to_read = [*metadata["dependencies"], f"{own}[{extra}]"]
    while to_read:
        text = to_read.pop(0)
        parts = REQUIREMENT.fullmatch(text)
        name, extras, versions, marker = parts.groups(default="") if parts else ("", "", "", "")
        if name and _key(name) == own:
            for of in extras.split(","):
                to_read += metadata["optional-dependencies"][of.strip()]
            continue
        least = re.findall(r"(?:>=|==|~=)\s*([\w.]+)", versions)
        if len(least) != 1:
            raise Unable(f"{text!r} in pyproject.toml has no lower bound; every requirement of [{extra}] needs one")
        key = (_key(name), marker.strip())
        bounds[key] = max(bounds.get(key, "0"), least[0], key=_order)
    return {name: f"{name}=={least}{f'; {marker}' if marker else ''}" for (name, marker), least in sorted(bounds.items())}


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _order(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def least_python(metadata: dict[str, Any]) -> str:
    return re.fullmatch(r">=(3\.\d+)", metadata["requires-python"]).group(1)


def newest_python() -> str:
    """The last Python that torch has wheels for. Raises Unable where no package index answers."""
    found, minor = "", sys.version_info.minor
    while _has_torch(f"3.{minor}"):
        found, minor = f"3.{minor}", minor + 1
    if not found:
        raise Unable("newest: pip finds no torch for this Python, so the last Python that torch has wheels for is unknown")
    return found


def _has_torch(version: str) -> bool:
    ask = "install --quiet --dry-run --ignore-installed --no-deps --only-binary :all: --target none --python-version"
    return subprocess.run([sys.executable, "-m", "pip", *ask.split(), version, "torch"], capture_output=True).returncode == 0


def version_of(*python: str) -> str:
    """The version of an interpreter, "" where it does not run."""
    ask = [*python, "-c", "import platform; print(platform.python_version())"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def interpreter(pair: str, version: str) -> list[str]:
    """The command of the Python of this version. Raises Unable where there is none."""
    for python in ([f"python{version}"], [sys.executable], ["py", f"-{version}"]):
        if version_of(*python).startswith(f"{version}."):
            return python
    raise Unable(f"{pair}: Python {version} is not on this machine; install it, or name another with PYTHON=")


def environment(python: list[str], folder: Path, wanted: list[str]) -> tuple[Path, dict[str, str]]:
    """A virtual environment with the project in it: where its programs are, and what is installed.

    Editable, as for `make test`: a test that has the checkout on its path would hide what is installed.
    """
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    if not version_of(str(programs / "python")):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([*python, "-m", "venv", str(folder)], check=True)
    pins = folder / "constraints.txt"
    pins.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    install = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    newer = [] if wanted else ["--upgrade", "--upgrade-strategy", "eager"]
    if subprocess.run([*install, *newer, "--constraint", str(pins), "--editable", f".[{EXTRA}]"], cwd=ROOT).returncode:
        raise Unable(f"{folder.name}: what pip says above cannot be installed together")
    listed = subprocess.run([*install[:4], "freeze"], capture_output=True, text=True, check=True).stdout.split()
    return programs, dict(line.lower().split("==") for line in listed if "==" in line)


def run(pair: str, python: str | None, metadata: dict[str, Any], arguments: list[str]) -> str:
    """Test a pair. Returns what was tested and how it went. Raises Unable."""
    pins: list[str] = []
    asked = least_python(metadata) if pair == "oldest" or python else newest_python()
    command = [python] if python else interpreter(pair, asked)
    version = version_of(*command)
    if not version:
        raise Unable(f"{pair}: {python} does not run; give PYTHON= an interpreter of Python {asked} or newer")
    if _order(version)[:2] < _order(asked):
        raise Unable(f"{pair}: {python} is Python {version}; give PYTHON= an interpreter of Python {asked} or newer")
    if pair == "oldest":
        pins = list(lower_bounds(metadata).values())
    folder = ROOT / ".compat" / f"{pair}-{'.'.join(version.split('.')[:2])}"
    programs, installed = environment(command, folder, pins)
    named = ", ".join(f"{name} {installed.get(name, 'missing')}" for name in ("torch", "torchvision", "numpy", "pydantic"))
    instead = f" (not {asked})" if pair == "oldest" and not version.startswith(f"{asked}.") else ""
    what = f"{pair}: Python {version}{instead}, {named}"
    print(what, flush=True)
    set_ = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = subprocess.run([str(programs / "pytest"), "-q", *(f"tests/{room}" for room in ROOMS), *arguments], cwd=ROOT, env=set_).returncode
    if code:
        raise Unable(f"{what}: tests failed")
    return f"{what}: tests passed"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="*", metavar="oldest | newest", help="both by default")
    parser.add_argument("--python", help="the interpreter, in place of the one of the pair's version")
    words = sys.argv[1:] if words is None else words
    at = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:at])
    if unknown := set(options.pairs) - {"oldest", "newest"}:
        parser.error(f"there is no pair {sorted(unknown)[0]!r}; there are oldest and newest")
    said, code = [], 0
    for pair in options.pairs or ["oldest", "newest"]:
        try:
            said.append(run(pair, options.python, project(), words[at + 1 :]))
        except Unable as error:
            said.append(str(error))
            code = 2
    print(*said, sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
