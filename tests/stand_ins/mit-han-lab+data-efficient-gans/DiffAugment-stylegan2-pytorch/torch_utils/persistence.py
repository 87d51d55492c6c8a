"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import sys
import types
from pathlib import Path

_homes = {}  # a module by its source


def persistent_class(plain):
    """A subclass of the same name, whose instances are pickled as the source of their module and what they hold."""
    home = sys.modules[plain.__module__]
    text = next((known for known, module in _homes.items() if module is home), None)
    if text is None:
        text = Path(home.__file__).read_text()
        _homes[text] = home

    def recipe(self):
        return revive, (text, plain.__name__), vars(self).copy()

    return type(plain.__name__, (plain,), {"__module__": __name__, "__reduce__": recipe})


def revive(text, name):
    """An instance to be filled: no constructor runs, and its class may be of a module that nobody imported."""
    if text not in _homes:
        home = types.ModuleType(f"revived{len(_homes)}")
        sys.modules[home.__name__] = _homes[text] = home
        exec(text, vars(home))
    kind = getattr(_homes[text], name)
    return kind.__new__(kind)
