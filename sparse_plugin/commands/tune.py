"""`sparse-plugin tune`."""

from __future__ import annotations

import sys
from typing import Any

import click

from sparse_plugin.commands.engines import engine_options, placing, say_status, taken
from sparse_plugin.commands.options import imported, refuse, source_of
from sparse_plugin.errors import ConfigError, one_of

# What `tune` says itself, and the options of `train` and `restore` that would say it otherwise.
OWN = {
    "run_dir": "--out says where the runs are",
    "output": "--out says where the runs are",
    "config_file": "it chooses what is attached",
    "sparse": "it chooses what is attached",
    "assignments": "it chooses what is attached",
    "keep_at": "it stops runs where it has to",
    "force": "nothing is written over",
}

# Stands for the place that `tune` chooses, where one of our own commands must be given one: no word of a command line can be it.
NOWHERE = "\0"

# Options that say something of a trainer of others alone.
OF_OTHERS = ("goal", "checkpoint", "generator", "arguments", "inputs", "key", "bounds", "size", "host", "steps", "whole", "data")
# Those by which samples are drawn from its checkpoints.
DRAWING = ("arguments", "inputs", "key", "bounds", "size", "checkpoint", "data", "samples", "inception", "kid_subset", "device")


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--budget", default="0.3", show_default=True, help="A share of the full grid's steps; or steps, as 20000.")
@click.option("--seeds", default=2, show_default=True, help="Of each candidate that reaches the end.")
@click.option(
    "--methods",
    multiple=True,
    metavar="NAME,...",
    help='What is raced, as in "l0_inf,l1:weight=0.1".  [default: l0_inf,l0,l1,ml_csc; of restore l0_inf,l0]',
)
@click.option(
    "--shares", default="0.35,0.5,0.75", show_default=True, metavar="X,...", help="Levels, of the natural density of Γ."
)
@click.option(
    "--sites", default="auto", show_default=True, metavar="PATH,...", help="Beside D1: auto, paths; or d1 for none."
)
@click.option(
    "--metric",
    metavar="NAME",
    help="As for evaluate, or tensorboard:TAG, jsonl:FILE:KEY, regex:PATTERN.  [default: FID with --inception, else FD-lite0]",
)
@click.option("--goal", type=click.Choice(["min", "max"]), help="Of a number that the trainer writes: which is better.")
@click.option(
    "--data",
    metavar="PATH",
    help="Real images that samples of a trainer of others are measured against.  [default: built-in photographs]",
)
@click.option(
    "--checkpoint", metavar="PATTERN", help="Files in {dir} that samples are drawn from, as in 'netG/*.pth'; the latest."
)
@click.option("--generator", metavar="MODULE:CLASS", help="Of a trainer of others, as for run and evaluate.")
@click.option("--arg", "arguments", multiple=True, metavar="[KEY=]VALUE", help="For its constructor, as for evaluate.")
@click.option("--input", "inputs", multiple=True, metavar="SHAPE", help="Of one batch, as for evaluate.")
@click.option("--key", metavar="NAME", help="Where in the checkpoint its state_dict is, as for evaluate.")
@click.option("--range", "bounds", nargs=2, type=float, default=(-1.0, 1.0), show_default=True, help="Of its images.")
@click.option("--size", default=32, show_default=True, help="Of its images, in pixels.")
@click.option("--host", metavar="NAME", help="The host patch to use, as for run.")
@click.option("--steps", type=int, help="Of a whole run of a trainer of others, for a --budget in steps.")
@click.option("--whole", is_flag=True, help="Race whole runs, though the trainer could be stopped.")
@click.option("--samples", type=int, help="Images that are drawn and measured.  [default: 10000]")
@click.option("--inception", metavar="FILE", help="Inception's weights, for FID; as for evaluate.")
@click.option("--kid-subset", type=int, help="As for evaluate.")
@click.option("--out", default="runs/tune", show_default=True, metavar="DIR", help="Where the runs and the page are.")
@click.option("--dry-run", is_flag=True, help="Say what would be raced.")
@click.option(
    "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
)
@click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
@engine_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def tune(command: tuple[str, ...], **options: Any) -> None:
    """Which regularizer helps a trainer, how much of it and where: a race against vanilla within a budget.

    \b
        sparse-plugin tune --budget 0.3 --seeds 3 -- train dcgan --data cifar10 --width 0.25
        sparse-plugin tune --budget 0.8 -- restore denoise clean.png --add-noise
        sparse-plugin tune --budget 0.6 --metric jsonl:log.jsonl:fid --goal min -- python train.py --out {dir} --seed {seed}

    The same command again goes on; what is finished is not trained again. Exits 1 where a candidate failed.
    """
    from sparse_plugin.runs.methods import split
    from sparse_plugin.support.optional import need

    need("tuning", "experiments", "numpy", "PIL", "safetensors", "torch_fidelity", "torchvision", "matplotlib", "scipy")
    from sparse_plugin.tune.begun import begun
    from sparse_plugin.tune.tune import tune as race

    asked = taken(options)
    kept = {name: options.pop(name) for name in ("budget", "seeds", "out", "dry_run")}
    if asked["status"]:
        click.echo(say_status(begun(kept["out"]), asked["as_json"]))
        return
    imports = imported(options.pop("imports"))
    methods = split(options.pop("methods"))
    shares = _shares(options.pop("shares"))
    sites = split([options.pop("sites")])
    target = _target(list(command), {**options, "imports": imports})
    with placing(asked, kept["out"], "the race", kept["dry_run"], device=options["device"], imports=imports):
        said, code = race(target, **kept, methods=methods, shares=shares, sites=sites, imports=imports)
    click.echo(said)
    sys.exit(code)


def _target(words: list[str], options: dict[str, Any]) -> Any:
    """What is tuned, by the first word of the command."""
    first, *rest = words[1:] if words[0] == "sparse-plugin" and len(words) > 1 else words
    if first == "train":
        refuse(OF_OTHERS, "it is of a trainer of others, and what stands behind `tune` is train; leave it out")
        return _gan(rest, options)
    if first == "restore":
        refuse((*OF_OTHERS, "metric", "samples", "inception", "kid_subset"), "restorations are raced by their PSNR; leave it out")
        return _restoration(rest, options)
    return _of_others(words, options)


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(f"--shares {text!r} is no list of shares; give numbers with commas between, as 0.35,0.5,0.75") from None


def _parsed(command: click.Command, words: list[str], place: str) -> dict[str, Any]:
    """The options of one of our own commands, behind `tune`. place: the option that says where it writes.

    Raises ConfigError for those that `tune` says itself.
    """
    with command.make_context(f"tune {command.name}", [place, NOWHERE, *words]) as context:
        for parameter in command.params:
            name = parameter.name or ""
            given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
            if name in OWN and given and context.params[name] != NOWHERE:
                option = max(parameter.opts, key=len)
                raise ConfigError(f"{option} was given to {command.name} behind `tune`, and {OWN[name]}; leave it out")
        return dict(context.params)


def _device(behind: str | None, options: dict[str, Any]) -> str | None:
    """The device that was given before or behind the command's name. Raises ConfigError where that was two."""
    before: str | None = options["device"]
    if None not in (behind, before) and behind != before:
        raise ConfigError(f"--device is {before} of tune and {behind} of the command behind it; give it once")
    return behind or before


def _gan(words: list[str], options: dict[str, Any]) -> Any:
    """The target of `tune train ARCH ...`."""
    from sparse_plugin.commands.train import train
    from sparse_plugin.tune.gans import GanTarget

    given = _parsed(train, words, "--run")
    imported(given.pop("imports"))
    for name in ("run_dir", "config_file", "sparse", "assignments", "keep_at"):
        del given[name]
    data, arch, seed = source_of(given), given.pop("arch"), given.pop("seed")
    size, device = given.pop("size"), _device(given.pop("device"), options)
    scoring = _scoring(data, size, {**options, "device": device})
    return GanTarget(arch, words, scoring, {**given, "size": size, "device": device}, seed)


def _scoring(data: Any, size: int, options: dict[str, Any]) -> Any:
    """How images are scored, as the options say."""
    from sparse_plugin.metrics.tables import named
    from sparse_plugin.tune.gans import Scoring

    (metric,) = named([options["metric"] or ("FID" if options["inception"] else "FD-lite0")])
    names = ("inception", "kid_subset", "device")
    return Scoring(data, size, metric, options["samples"] or 10_000, **{name: options[name] for name in names})


def _restoration(words: list[str], options: dict[str, Any]) -> Any:
    """The target of `tune restore KIND ...`."""
    from sparse_plugin.commands.restore import restore
    from sparse_plugin.tune.restorations import RestorationTarget

    kind, *rest = words or [""]
    if kind not in restore.commands:
        raise ConfigError(one_of("restoration", kind, restore.commands))
    given = _parsed(restore.commands[kind], rest, "--output")
    imported(given.pop("imports"))
    for name in ("output", "config_file", "sparse", "assignments", "force"):
        del given[name]
    given["stop"] = None if given["stop"] == "none" else given["stop"]
    given["device"] = _device(given["device"], options)
    return RestorationTarget(kind, rest, given.pop("images"), given, given.pop("seed"))


def _of_others(words: list[str], options: dict[str, Any]) -> Any:
    """The target of `tune -- python train.py ...`."""
    from sparse_plugin.hosts.command import checked
    from sparse_plugin.metrics.tables import better
    from sparse_plugin.tune.launched import HostTarget, WrittenScorer
    from sparse_plugin.tune.metric import WAYS, parse
    from sparse_plugin.tune.target import Goal

    checked(words)
    launcher = [part for name in ("host", "generator") if options[name] for part in (f"--{name}", options[name])]
    launcher += [part for file in options["imports"] for part in ("--import", file)]
    shared = {"launcher": launcher, "host": options["host"], "steps": options["steps"], "whole": options["whole"]}
    written = parse(options["metric"] or "")
    if written is not None:
        refuse(DRAWING, f"it is of images that are drawn from checkpoints, and the metric is {options['metric']}; leave it out")
        if options["goal"] is None:
            raise ConfigError(f"whether lower or higher values of {options['metric']} are better is not known; give --goal min or max")
        return HostTarget(words, WrittenScorer(written), Goal(options["metric"], options["goal"] == "min", ratio=True), **shared)
    refuse(("goal",), "a metric that is measured knows what is better; leave it out")
    if options["generator"] is None or options["checkpoint"] is None:
        raise ConfigError(
            "images are drawn from a checkpoint by --generator MODULE:CLASS and --checkpoint PATTERN; give both, or have a number "
            f"read that the trainer writes, by --metric {WAYS}"
        )
    from sparse_plugin.data import Source
    from sparse_plugin.evaluate.sampling import GeneratorSpec
    from sparse_plugin.tune.sampled import SampledScorer

    names = {name: options[name] for name in ("arguments", "inputs", "key")}
    spec = GeneratorSpec(options["generator"], **names, imports=options["imports"], low=options["bounds"][0], high=options["bounds"][1])
    scoring = _scoring(Source(options["data"]), options["size"], options)
    lower = better(scoring.metric) == "lower"
    return HostTarget(words, SampledScorer(spec, options["checkpoint"], scoring), Goal(scoring.metric, lower, ratio=lower), **shared)
