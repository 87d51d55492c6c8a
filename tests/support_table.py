"""Writes the README's table of hosts: what `check` finds in real checkouts, and what the host tests did with them.

make support HOSTS=/folder/of/checkouts      # folders named owner+repository, each with what it requires installed

ARGS="tests/patches/test_hosts.py ..." runs these files of tests instead of all that drive hosts; the table names them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
START, END = "<!-- made by `make support` -->\n", "<!-- end -->"


FILES = [*sorted((HERE / "patches").glob("test_hosts*.py")), HERE / "hosts" / "test_check.py", HERE / "patches" / "test_mimicry.py"]


def main(folder, *files):
    checkouts = Path(folder).resolve()
    run, total = tests(checkouts, [Path(file) for file in files] or FILES)
    rows = ["| host, revision | generators | Γ | penalty | tests on it |", "| --- | --- | --- | --- | --- |"]
    for checkout in sorted(checkouts.iterdir(), key=lambda path: path.name.lower()):
        command = [sys.executable, "-m", "sparse_plugin", "check", "--json", str(checkout)]
        done = subprocess.run(command, capture_output=True, text=True)
        reports = json.loads(done.stdout) if done.stdout.startswith("[") else []
        for report in reports:
            if report["host"] is None:
                continue
            if not report["attaches"]:
                sys.exit(f"{checkout.name}: {report['why']}")
            rows.append(row(report, run))
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{START}\n" + "\n".join(rows) + f"\n\n{total}\n\n{END}{after}", encoding="utf-8")


def row(report, run):
    source = report["source"]
    known = source.partition(", as the patch was written for")[0]
    if "differs" in source:
        sys.exit(f"{source}: check out the revision that its patch names, or renew the patch")
    repository, *folder, _, revision = known.split()
    name = f"[{repository}](https://github.com/{repository}) `{revision[:7]}`" + "".join(f", {part}" for part in folder)
    generators = ", ".join(f"`{g['name']}`" for g in report["generators"])
    places = {}
    for generator in report["generators"]:
        sites = [site["where"] for site in generator["sites"] if not site["where"].startswith("the same")]
        places.setdefault(sites[0] if len(sites) == 1 else f"outputs of {len(sites)} encoder scales", None)
    how = "added to the loss" if "added to what" in report["loss"] or "binds" in report["loss"] else "gradient of Γ"
    return f"| {name} | {generators} | {', '.join(places)} | {how} | {run.get(report['root'], 0)} |"


def tests(checkouts, files):
    """How many host tests passed on real code, by the import root they ran on."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.xml"
        options = ["-q", "-n", "auto", "--dist", "worksteal", f"--junitxml={out}"]
        command = [sys.executable, "-m", "pytest", *options, *map(str, files)]
        code = subprocess.run(command, env={**os.environ, "SPARSE_PLUGIN_HOSTS": str(checkouts)}).returncode
        if code:
            sys.exit("the host tests failed on these checkouts; the table stays as it was")
        passed = {}
        for case in ElementTree.parse(out).iter("testcase"):
            ran_on = [p.get("value") for p in case.iter("property") if p.get("name") == "host"]
            for name in ran_on:
                passed[name] = passed.get(name, 0) + 1
    import torch

    names = ", ".join(f"`{file.name}`" for file in files)
    versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}, CPU"
    return passed, f"Made by `make support` on the real code: tests that passed of {names} ({versions})."


if __name__ == "__main__":
    main(*sys.argv[1:])
