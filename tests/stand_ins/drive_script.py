"""A script that trains when it is run, as __main__, measured from below; its own end is the end.

    DRIVE_REPORT=report.json python drive_script.py SCRIPT [the script's own arguments]

The generator is the module that the script calls netG, generator or gen, if it is a global.
"""

import os as _os
import sys as _sys

import drive_common as _drive


def _run():
    script = _os.path.abspath(_sys.argv[1])
    _, argv = _drive.start()
    _sys.path[0] = _os.path.dirname(script)
    _sys.argv = [script, *argv]
    probe = _drive.Probe(None)
    names = _sys.modules["__main__"].__dict__
    names["__file__"] = script
    with open(script) as f:
        code = compile(f.read(), script, "exec")
    exec(code, names)
    found = [names[name] for name in ("netG", "generator", "gen") if isinstance(names.get(name), _drive.nn.Module)]
    generator = _drive.digest(found[0]) if found else None
    _drive.write(host=script, entry="script", generator=generator, ema=None, losses=None, images=None, **probe.report())


_run()
