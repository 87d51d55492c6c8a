"""Leases as other processes and hosts would have written them."""

import json
import os
from dataclasses import asdict, replace

from sparse_plugin.runs import lease, process
from sparse_plugin.runs.lease import FILE

ELSEWHERE = {"host": "elsewhere 1 2"}


def written(folder, name="", text=None, every=lease.BEAT, **changes):
    """A lease as another process would have written it. Returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = lease.LeaseOwner(process.this_host(), os.getpid(), process.began(os.getpid()), "token")
    path = folder / (FILE + name)
    path.write_text(json.dumps({**asdict(replace(mine, **changes)), "every": every}) if text is None else text)
    return path
