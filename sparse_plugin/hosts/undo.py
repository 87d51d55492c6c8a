"""Taking back what was done to this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sparse_plugin.support.console import say


class Undo(ExitStack):
    """What takes back everything that was done to this process: the latest first, each whether or not another fails."""

    def append(self, back: Callable[[], object]) -> None:
        """Something was done, and back() takes it back; where that fails, it is said."""
        self.callback(_take_back, back)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What is done inside the with statement is done as a whole: where it fails, that much is taken back at once."""
        before = self.pop_all()
        try:
            yield
        except BaseException:
            self.close()
            self.callback(before.close)
            raise
        inside = self.pop_all()
        self.callback(before.close)
        self.callback(inside.close)


def _take_back(back: Callable[[], object]) -> None:
    try:
        back()
    except Exception as error:
        say(f"a patch could not be taken back: {type(error).__name__}: {error}")
