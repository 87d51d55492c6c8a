"""Runs the blocks of one page, from standard input as JSON, one after another in the folder where it is started.

Writes what each printed to the file that is its argument, as JSON: a list of texts, or of one that failed {"failed": traceback}.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path


def python(code, line, scope):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * line + code, "page", "exec"), scope)
    return printed.getvalue()


def shell(commands):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(commands)],
        env={**os.environ, "PATH": path},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def main(results):
    printed = []
    scope = {"__name__": "__main__"}
    sys.path.insert(0, "")
    for step in json.load(sys.stdin):
        try:
            if step["kind"] == "file":
                Path(step["title"]).write_text(step["text"], encoding="utf-8")
                printed.append("")
            elif step["kind"] == "python":
                printed.append(python(step["text"], step["line"], scope))
            else:
                printed.append(shell(step["commands"]))
        except BaseException:
            printed.append({"failed": traceback.format_exc()})
            break
    Path(results).write_text(json.dumps(printed), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
