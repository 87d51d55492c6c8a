"""Files that users name to register their own regularizers, adapters and hosts."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.support import advice


def import_named(name: str) -> None:
    """Import a file (`my_regularizers.py`) or a module (`package.module`) once, for what it registers.

    A file is imported as `sparse_plugin_user_<stem>`, so that it never takes the name of a host's module; its classes
    pickle under that name. A second one of the same stem has its folder's hash behind it. Raises ConfigError where it is missing or fails.
    """
    asked = advice.setting("imports", name)
    try:
        if not name.endswith(".py"):
            importlib.import_module(name)
            return
        path = Path(name).resolve()
        if not path.is_file():
            raise ConfigError(f"{asked}: there is no such file")
        module_name = f"sparse_plugin_user_{path.stem}"
        if _file(module_name) not in (None, str(path)):  # another folder's file of the same name
            module_name += "_" + hashlib.sha1(str(path).encode()).hexdigest()[:8]
        if module_name in sys.modules:
            return
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # a script ends itself where it is no module
        raise ConfigError(f"{asked} fails: {type(error).__name__}: {error}") from error


def _file(module: str) -> str | None:
    """The file of a module that is imported already."""
    return getattr(sys.modules.get(module), "__file__", None)


def whence(found: Mapping[str, Any]) -> str:
    """What to do about a regularizer that is not registered: data may say which file did it, and nobody need believe them."""
    named = found.get("imports")
    files = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    if not files:
        return f"name the file or module that registers it by {advice.setting('imports', 'FILE')}"
    flags = " ".join(advice.setting("imports", shlex.quote(name)) for name in files[:3])
    return f"it says that it was trained with {ascii(flags)[1:-1][:300]}; give that too, if you trust that file"
