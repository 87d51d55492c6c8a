"""`sparse-plugin evaluate`."""

from __future__ import annotations

from typing import Any

import click

from sparse_plugin.commands.derived import DerivedOption
from sparse_plugin.commands.options import data_options, imported, refuse, source_of
from sparse_plugin.errors import ConfigError


def _metrics() -> str:
    """The metrics by name, and which are measured where nobody says."""
    from sparse_plugin.metrics.tables import by_default, names

    known = list(names())
    usual, else_ = (", ".join(by_default(extractor)) for extractor in ("inception", "lite0"))
    return f"{', '.join(known[:-1])} or {known[-1]}; repeatable.  [default: {usual} with --inception, else {else_}]"


def _files(texts: tuple[str, ...]) -> dict[str, str]:
    files: dict[str, str] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise ConfigError(f"--weights {text} cannot be read; write it as NAME=FILE, as in clip-vit-b-32=ViT-B-32.pt")
        if name in files:
            raise ConfigError(f"--weights names {name} twice; give one file")
        files[name] = file
    return files


@click.command()
@click.argument("target", metavar="RUN|CKPT|IMAGES")
@data_options("The real images, as for train.  [default: built-in photographs]")
@click.option("--fraction", default=1.0, show_default=True, help="Of every class of the real images, by --data-seed.")
@click.option("--data-seed", type=int, help="Of the share that --fraction takes.  [default: 0]")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    cls=DerivedOption,
    derive=_metrics,
)
@click.option("--samples", type=int, help="Images to sample.  [default: 10000; of IMAGES, all]")
@click.option("--seed", type=int, help="Of the samples.  [default: 0]")
@click.option("--kid-subset", type=int, help="Images in a subset of the kernel distance.  [default: 1000]")
@click.option(
    "--inception",
    metavar="FILE",
    help="Inception's weights for FID and IS; never downloaded.  [default: $SPARSE_PLUGIN_INCEPTION]",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="NAME=FILE",
    help="Weights of another extractor, as clip-vit-b-32=ViT-B-32.pt; never downloaded.",
)
@click.option("--generator", metavar="MODULE:CLASS", help="Of a checkpoint that another codebase wrote.")
@click.option("--arg", "arguments", multiple=True, metavar="[KEY=]VALUE", help="For its constructor, as for sites.")
@click.option(
    "--input", "inputs", multiple=True, metavar="SHAPE", help='Of one batch: "64x128", "64:int<10" for labels.'
)
@click.option("--key", metavar="NAME", help="Where in the checkpoint its state_dict is, where several fit.")
@click.option("--site", "sites", multiple=True, metavar="PATH", help="Where it was regularized, if it cannot be told.")
@click.option("--range", "bounds", nargs=2, type=float, default=(-1.0, 1.0), show_default=True, help="Of its images.")
@click.option("--import", "imports", multiple=True, metavar="FILE", help="A .py file or module to import first.")
@click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
@click.option("--save", is_flag=True, help="Keep the result in RUN/result.json, for figures.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def evaluate(target: str, as_json: bool, generator: str | None, bounds: tuple[float, float], **options: Any) -> None:
    """Measure a run, a checkpoint or images against real images: FID, IS and KID, or FD-lite0 and KID-lite0.

    \b
        sparse-plugin evaluate runs/a --data cifar10
        sparse-plugin evaluate netG.pth --generator my.models:Generator --data images.zip
    """
    from sparse_plugin.evaluate.evaluation import evaluate as measure
    from sparse_plugin.support import advice
    from sparse_plugin.support.optional import need

    need("evaluating", "metrics", "numpy", "PIL")  # which importing the data takes
    host = {name: options.pop(name) for name in ("arguments", "inputs", "imports", "key", "sites")}
    host["imports"] = imported(host["imports"])  # of a run's regularizer, too: the run itself has no say in it
    options["weights"] = _files(options["weights"])
    spec = None
    if generator is None:
        refuse(
            ("arguments", "inputs", "key", "sites", "bounds"),
            "it is of a checkpoint of another codebase, whose generator --generator names; give that, or leave it out",
        )
    else:
        from sparse_plugin.evaluate.sampling import GeneratorSpec

        spec = GeneratorSpec(generator, low=bounds[0], high=bounds[1], **host)
    with advice.speaking_to("evaluate"):
        report = measure(target, source_of(options), spec=spec, **options)
    click.echo(report.to_json() if as_json else report.to_text())
