"""What several commands take, and how they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from sparse_plugin.commands.derived import DerivedOption, installed
from sparse_plugin.errors import ConfigError, one_of, shown
from sparse_plugin.support.user_files import import_named


def config_options(command: Any) -> Any:
    """Adds the options that say what to attach."""
    for option in (
        click.option(
            "--import",
            "imports",
            multiple=True,
            metavar="FILE",
            help="A .py file or module that registers regularizers.",
        ),
        click.option(
            "--set", "assignments", multiple=True, metavar="sparse.KEY=VALUE", help="Set one key, as in sparse.k=16."
        ),
        click.option(
            "--sparse",
            cls=DerivedOption,
            derive=lambda: f"The regularizer: {installed('regularizer')}, or a registered one; or several, as in l1,l0_inf.",
            metavar="NAME",
        ),
        click.option("--config", "config_file", metavar="FILE", help="A YAML or TOML file with a section `sparse`."),
    ):
        command = option(command)
    return command


def data_options(help: str, default: str | None = None) -> Callable[[Any], Any]:
    """Adds the options that say which images are read; `source_of` takes them together."""

    def add(command: Any) -> Any:
        for option in (
            click.option("--download", is_flag=True, help="Fetch CIFAR-10 where it is missing."),
            click.option("--resize", is_flag=True, help="Cut images of another size to a square and scale them."),
            click.option(
                "--label-column", metavar="NAME", help="The column of parquet, or array of an npz, of labels."
            ),
            click.option("--image-column", metavar="NAME", help="The one of images, where it cannot be told."),
            click.option("--split", metavar="NAME", help="train, val, test, ..., where the data have several."),
            click.option("--data", metavar="PATH", default=default, show_default=default is not None, help=help),
        ):
            command = option(command)
        return command

    return add


def source_of(options: dict[str, Any]) -> Any:
    """The Source that the options of `data_options` ask for, which are taken out of options."""
    from sparse_plugin.data import Source

    names = ("split", "image_column", "label_column", "resize", "download")
    return Source(options.pop("data"), **{name: options.pop(name) for name in names})


def config_of(
    config_file: str | None, sparse: str | None, assignments: tuple[str, ...], imports: tuple[str, ...], **own: Any
) -> Any:
    """The SparsityConfig that the options of `config_options` ask for, which may lack a regularizer. Raises ConfigError."""
    from sparse_plugin.config import SparsityConfig, assign, read

    mapping: dict[str, Any] = {}
    if config_file is not None:
        mapping = read(config_file)
    else:
        inherited = SparsityConfig.from_environment()
        if inherited is not None:
            mapping = inherited.flat()
    if sparse is not None and sparse != _written(mapping.get("regularizer")):
        kept = set(SparsityConfig.model_fields) - {"settings"}
        mapping = {**{key: value for key, value in mapping.items() if key in kept}, "regularizer": sparse}
    mapping = assign(mapping, assignments)
    mapping.update({key: value for key, value in own.items() if value is not None})
    given = mapping.get("imports", [])
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ConfigError(
            f"{config_file or 'the settings'}: imports is {shown(given)}; give a list of files or modules"
        )
    named = [*given, *imports]
    if named:
        mapping["imports"] = [os.path.abspath(name) if name.endswith(".py") else name for name in named]
    if mapping.get("regularizer") is None:
        _refuse_fields_alone(mapping, assignments)
    return SparsityConfig.from_mapping(mapping, config_file or "the command line", waiting=True)


def _written(regularizer: Any) -> Any:
    """A regularizer, or a list of several, as --sparse takes it."""
    return ",".join(map(str, regularizer)) if isinstance(regularizer, list) else regularizer


def _refuse_fields_alone(mapping: dict[str, Any], assignments: tuple[str, ...]) -> None:
    """Refuse a regularizer's field that is set where no regularizer is named."""
    from sparse_plugin.config import SparsityConfig
    from sparse_plugin.registry import owners_of_fields

    for key in mapping.keys() - SparsityConfig.model_fields.keys():
        owners = owners_of_fields()
        known = [*owners, *SparsityConfig.model_fields.keys() - {"settings"}]
        belongs = f"it is a field of {', '.join(owners[key])}" if key in owners else one_of("key", key, known)
        given = next((text for text in assignments if text.partition("=")[0].strip() == f"sparse.{key}"), "")
        raise ConfigError(
            f"--set {given} is given without --sparse NAME, and {belongs}"
            if given
            else f"the settings have {key!r} and name no regularizer: {belongs}; name one by --sparse NAME"
        )


def imported(files: tuple[str, ...]) -> tuple[str, ...]:
    """Load what registers regularizers, and name it so that runs can load it from anywhere."""
    absolute = tuple(os.path.abspath(file) if file.endswith(".py") else file for file in files)
    for file in absolute:
        import_named(file)
    return absolute


def refuse(options: tuple[str, ...], why: str) -> None:
    """Raise ConfigError where one of these options, by the names of their parameters, was given: it would have no effect."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in options and context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise ConfigError(f"{max(parameter.opts, key=len)} was given, and {why}")


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """A table for people, or JSON."""
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in rows[0] if rows else ():
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def steps_of(text: str, option: str) -> list[int]:
    """The steps of a list such as "2000,4000". Raises ConfigError for anything else."""
    try:
        return [int(part.replace("_", "")) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(
            f"{option} {text!r} is no list of steps; give numbers with commas between, as 2000,4000"
        ) from None
