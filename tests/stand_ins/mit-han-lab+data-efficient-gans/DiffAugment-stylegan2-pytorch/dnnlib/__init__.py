"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

from .util import EasyDict as EasyDict
