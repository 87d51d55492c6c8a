"""What `sparse-plugin check` tells of a folder with somebody's code: which host it is, and whether its patch fits it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError, SiteError, SparsePluginError
from sparse_plugin.hosts.host import HOSTS, Host, identify
from sparse_plugin.hosts.instances import generator_like
from sparse_plugin.hosts.recognize import Recognition, classes, python_files, unparsable
from sparse_plugin.hosts.session import Session
from sparse_plugin.support import advice
from sparse_plugin.support.user_files import import_named

if TYPE_CHECKING:
    from torch import nn

SECONDS = 300  # for building and running all the examples of a host once


def check(folder: str, name: str | None = None, imports: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Look at the code in folder, and build and run each of its host's generators once, on the CPU, in a process of its own.

    name: the host patch to use, else any that knows the folder. imports: files or modules that register hosts. Returns a
    report for each host that is there, or one for code that no patch knows; `attaches` says whether the plugin would.
    Raises ConfigError for what is no folder, an unknown name, or source that two patches claim.
    """
    imports = [os.path.abspath(each) if each.endswith(".py") else each for each in imports]
    for each in imports:
        import_named(each)
    path = Path(folder).resolve()
    if not path.is_dir():
        raise ConfigError(f"{folder} is no folder; give the one that holds the host's source")
    found = identify(path, name)
    if not found and name is not None:
        raise ConfigError(f"{folder} is not {name}: it has less than half of what its patch looks for")
    return [_report(host, recognition, imports) for host, recognition in found] or [_unknown(path)]


def _report(host: Host, found: Recognition, imports: Sequence[str]) -> dict[str, Any]:
    lost = host.lost(found)
    generators = [] if lost else _examine(host, found, imports)
    why = lost or next((row["error"] for row in generators if row["error"]), "")
    return {
        "host": host.name,
        "root": str(found.root),
        "source": _source(host, found),
        "missing": [spec for spec in found.moved if spec not in host.builders],
        "unread": _unread(found.root),
        "generators": generators,
        "loss": _loss(host, found),
        "switch": [
            "sparse-plugin run --sparse l0_inf --set sparse.k=0.25 -- python <its script and arguments>",
            *([f"sparse-plugin run -- python <its script and arguments>, with {host.switch}"] if host.switch else []),
        ],
        "why": why,
        "attaches": not why,
    }


def _unread(folder: Path) -> list[str]:
    return list(filter(None, map(unparsable, python_files(folder))))


def _source(host: Host, found: Recognition) -> str:
    compared = [(source.differing(found.root), source) for source in host.sources if source.files]
    if not compared:
        return "its patch names no revision"
    files, source = min(compared, key=lambda pair: len(pair[0]) / len(pair[1].files))
    if not files:
        return f"{source}, as the patch was written for"
    return f"differs from {source}, for which the patch was written, in {', '.join(files)}"


def _loss(host: Host, found: Recognition) -> str:
    if not host.knows_loss:
        return "a penalty's gradient is added to that of Γ, as no function of this host computes the generator's loss alone"
    parts = {1.0: "a penalty", 0.5: "half a penalty"}
    texts = [
        f"{parts.get(share, f'{share:g} of a penalty')} is added to what {spec} returns"
        for spec, share in host.losses.items()
    ]
    if host.patched_loss:
        texts.append(f"a penalty is added to the loss that {host.patched_loss} binds")
    lost = [spec for spec in (*host.losses, host.patched_loss) if spec and spec not in found.there]
    return "; ".join(texts) + "".join(
        f"; {spec} IS NOT THERE in this revision, and a penalty would be refused" for spec in lost
    )


def _examine(host: Host, found: Recognition, imports: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for the host's generators, from a process of its own: module names such as `models` are anybody's."""
    with tempfile.TemporaryDirectory(prefix="sparse-plugin-") as folder:
        out, log = Path(folder) / "rows.json", Path(folder) / "log"
        env = {key: value for key, value in os.environ.items() if not key.startswith("SPARSE_PLUGIN_")}
        # Large networks are built and dropped one after another: glibc then keeps their pages.
        env |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 36)}
        command = [sys.executable, "-m", "sparse_plugin.hosts.check", host.name, str(found.root), str(out), *imports]
        with open(log, "wb") as stream:
            try:
                code = subprocess.run(
                    command, cwd=folder, env=env, stdout=stream, stderr=stream, timeout=SECONDS
                ).returncode
            except subprocess.TimeoutExpired:
                code = -1
        if out.is_file():
            rows: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
            return rows
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        why = (
            f"its generators were not built in {SECONDS} s"
            if code == -1
            else f"building its generators ended with {last}"
        )
        return [{"name": "all", "class": "", "sites": [], "error": why}]


def main(name: str, root: str, out: str, *imports: str) -> None:
    """Build, attach and run the examples of a host below root, and write a row for each."""
    advice.speak_to("command")
    sys.path.insert(0, root)
    for each in imports:
        import_named(each)
    host = HOSTS.get(name)
    session = Session(SparsityConfig(enabled=False))
    session.start()  # hosts that need help to be imported get it; nothing is attached
    rows = [_row(example.name, example.build) for example in host.examples(Path(root))]
    Path(out).write_text(json.dumps(rows), encoding="utf-8")


def _row(name: str, build: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "class": "", "sites": [], "error": ""}
    try:
        generator, inputs = build()
    except ImportError as error:
        return {**row, "error": f"{name} cannot be imported here: {error}; install what the host requires"}
    except Exception as error:
        return {**row, "error": f"{name} cannot be built: {type(error).__name__}: {error}"}
    row["class"] = f"{type(generator).__module__}:{type(generator).__name__}"
    try:
        row["sites"] = list(_sites(generator, inputs))
    except SparsePluginError as error:
        row["error"] = f"{name}: {error}"
    except Exception as error:
        row["error"] = f"{name} does not run: {type(error).__name__}: {error}"
    return row


def _sites(generator: nn.Module, inputs: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Attach as a run would, check by a forward pass, and say where each Γ is, its shape, and how dense it is."""
    from sparse_plugin.attachment.attach import attach
    from sparse_plugin.attachment.handle import Attachment

    try:
        attach(generator, "ml_csc", k=[1, 1.0])
    except SiteError:  # several representations, or no convolution to insert dictionaries before
        attach(generator, "l0_inf", k=1)
    handle = Attachment(generator)
    for measured in sorted(handle.measure(*inputs), key=lambda measured: measured.level):
        where = next((site for site in handle.sites if site.level == measured.level), None)
        yield _seen(measured, str(where) if where else "the same input, before the D2 that ml_csc inserts")


def _seen(measured: Any, where: str) -> dict[str, Any]:
    size = (len(measured.atom_usage), *measured.needle_density.shape)
    return {
        "gamma": f"Γ{measured.level}",
        "where": where,
        "shape": "x".join(map(str, size)),
        "density": round(measured.sparsity_before / 100, 3),
    }


def _unknown(folder: Path) -> dict[str, Any]:
    """For code that no patch knows: the classes that would be taken for generators when a script builds them."""
    names = {
        f"{file.relative_to(folder)}:{name}": convolves
        for file, name, convolves in classes(folder)
        if generator_like(name)
    }
    able = [spec for spec, convolves in names.items() if convolves]
    unread = _unread(folder)
    if able:
        why = ""
    elif unread:
        more = f" (and {len(unread) - 1} more files)" if len(unread) > 1 else ""
        why = f"{unread[0]}{more}; a class named like a generator is in no other file"
    elif names:
        why = f"{', '.join(names)}: no convolution, so no dictionary and no representation"
    else:
        why = f"no known host ({', '.join(HOSTS.all())}), and no class that is named like a generator"
    return {
        "host": None,
        "root": str(folder),
        "source": "no known host",
        "unread": unread,
        "missing": [],
        "generators": [
            {"name": spec, "class": spec, "sites": [], "error": "" if spec in able else f"{spec} has no convolution"}
            for spec in names
        ],
        "loss": "a penalty's gradient is added to that of Γ",
        "switch": [
            "sparse-plugin run --sparse l0_inf --set sparse.k=0.25 -- python <its script and arguments>, which attaches to "
            'these classes when they are built; or name one with --generator "module:Class"'
        ],
        "why": why,
        "attaches": bool(able),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
