"""A folder of wheels for a machine without network that has torch: `python benchmarks/gpu/wheels.py --into wheels`.

It is what `sparse-plugin[experiments]` takes here, in the versions installed here, without torch and what torch needs; torchvision is
that of the other machine's torch. Packages without a wheel for the machine are built here, which takes them to be pure Python.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent
# The machine has these, as its torch needs them.
THERE = re.compile(
    r"^(torch|triton|nvidia-.*|cuda-.*|sympy|mpmath|networkx|jinja2|markupsafe|fsspec|filelock|setuptools|typing-extensions)$"
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(root: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Name to version of all that a package takes with these extras, itself and what the machine has left out."""
    found: dict[str, str] = {}
    todo = [(root, extras)]
    seen = set()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        for text in requires(name) or ():
            asked = Requirement(text)
            key = normal(asked.name)
            if asked.marker and not any(asked.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                continue
            if THERE.match(key):
                continue
            if key != normal(root):
                try:
                    found[key] = version(asked.name)
                except PackageNotFoundError:
                    continue
            todo.append((asked.name, tuple(sorted(asked.extras))))
    return found


def main() -> int:
    """0 where every wheel is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "wheels")
    parser.add_argument("--python", default="3.12", help="of the other machine")
    parser.add_argument("--torch", default="2.11", help="of the other machine")
    parser.add_argument("--list", action="store_true", help="say what it would be, and fetch nothing")
    options = parser.parse_args()
    packages = needed("sparse-plugin", ("experiments",))
    packages["torchvision"] = f"0.{int(options.torch.split('.')[1]) + 15}.*"  # 2.11 has 0.26
    if options.list:
        print("\n".join(f"{name}=={number}" for name, number in sorted(packages.items())))
        return 0
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    target = ["--only-binary", ":all:", "--python-version", options.python, "--implementation", "cp", *platforms]
    missing = []
    for name, number in sorted(packages.items()):
        asked = [f"{name}=={number}", "--no-deps"]
        attempts = (["download", *asked, *target, "-d", str(options.into)], ["wheel", *asked, "-w", str(options.into)])
        if all(subprocess.run([*pip, *attempt], capture_output=True).returncode for attempt in attempts):
            missing.append(f"{name}=={number}")
    if subprocess.run([*pip, "wheel", "--no-deps", "-w", str(options.into), str(ROOT)]).returncode:
        missing.append("sparse-plugin")
    print(
        f"{len(list(options.into.glob('*.whl')))} wheels in {options.into}"
        + (f"; missing: {', '.join(missing)}" if missing else "")
    )
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
