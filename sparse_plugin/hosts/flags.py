"""Command-line flags for a host's own argument parser: `--sparse l0_inf --sparse_k 16`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import yaml

from sparse_plugin.config import load_yaml
from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import REGULARIZERS, owners_of_fields

if TYPE_CHECKING:
    from sparse_plugin.hosts.host import Patcher

_PREFIX = "sparse_"


def add(parser: argparse.ArgumentParser, session: Patcher) -> None:
    """Give parser `--sparse NAME` and a flag for every field of the registered regularizers, and take what it parses.

    The host's namespace comes out as without them. What is not valid ends the program as the parser's own errors do.
    """
    group = parser.add_argument_group("sparse_plugin")
    group.add_argument("--sparse", metavar="NAME", help=f"the regularizer: {', '.join(REGULARIZERS.all())}")
    for field, owners in sorted(owners_of_fields().items()):
        group.add_argument(f"--{_PREFIX}{field}", metavar="VALUE", help=f"of {', '.join(owners)}")
    parse = parser.parse_known_args

    def parse_known_args(*args: Any, **kwargs: Any) -> Any:
        namespace: Any
        namespace, rest = parse(*args, **kwargs)
        parsed: dict[str, Any] = vars(namespace)
        given = {key: parsed.pop(key) for key in list(parsed) if key.partition("_")[0] == "sparse"}
        name = given.pop("sparse", None)
        settings = {key[len(_PREFIX) :]: value for key, value in given.items() if value is not None}
        try:
            if name is not None:
                read = {key: load_yaml(value) for key, value in settings.items()}
                session.configure({"regularizer": name, **read}, "the command line")
            elif settings:
                raise ConfigError(f"--{_PREFIX}{next(iter(settings))} is given without --sparse NAME")
        except (ConfigError, yaml.YAMLError) as error:
            parser.error(str(error))
        return namespace, rest

    parser.parse_known_args = parse_known_args  # type: ignore[method-assign]
