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
        # All of it are arguments, so that a copy is made when everything in it was copied already.
        return revive, (text, plain.__name__, vars(self))

    return type(plain.__name__, (plain,), {"__module__": __name__, "__reduce__": recipe})


def revive(text, name, held):
    """An instance with what it held: no constructor runs, and its class may be of a module that nobody imported."""
    if text not in _homes:
        home = types.ModuleType(f"revived{len(_homes)}")
        sys.modules[home.__name__] = _homes[text] = home
        exec(text, vars(home))
    kind = getattr(_homes[text], name)
    made = kind.__new__(kind)
    vars(made).update(held)
    return made
