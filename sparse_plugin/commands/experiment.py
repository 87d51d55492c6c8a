"""`sparse-plugin experiment`: the paper's tables."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from sparse_plugin.commands.options import data_options, imported, source_of, steps_of


@click.group()
def experiment() -> None:
    """Make a table of the paper: train and measure its grid of runs, and collect them beside the paper's numbers."""


def _table(name: str, what: str) -> None:
    """The command of one of the tables of GANs."""

    @experiment.command(
        name,
        help=f"{what}\n\nThe same command again skips finished runs and resumes others; started once "
        "for every GPU, each process takes runs in which no other is at work.",
    )
    @click.option(
        "--out", metavar="DIR", default=f"runs/{name}", show_default=True, help="Where the runs and the table are."
    )
    @data_options("Images, as for train.", "cifar10")
    @click.option(
        "--scale", default="small", show_default=True, help="small, for two cores; or paper: the recipes as they are."
    )
    @click.option("--archs", multiple=True, metavar="NAME,...", help="Rows.  [default: the paper's]")
    @click.option(
        "--methods",
        multiple=True,
        metavar="NAME,...",
        help="Columns, as in \"vanilla,l0_inf,l1:weight=0.1\".  [default: the paper's, with the recipes' settings]",
    )
    @click.option("--seeds", type=int, help="Runs of each method.  [default: 2, or 3 at the paper's scale]")
    @click.option("--first-seed", default=0, show_default=True, help="Seeds count from it on.")
    @click.option(
        "--fraction",
        "fractions",
        type=float,
        multiple=True,
        help="A share of the data; repeatable.  [default: the table's]",
    )
    @click.option("--no-control", is_flag=True, help="Leave out ml_csc with k = 1.0, the added layer without sparsity.")
    @click.option("--width", type=float, help="Multiplies all channels, instead of the scale's.")
    @click.option("--steps", type=int, help="Instead of the scale's.")
    @click.option("--batch", type=int, help="Instead of the recipe's.")
    @click.option("--samples", type=int, help="Images to measure.  [default: 10000, or 50000 at the paper's scale]")
    @click.option("--precision", default="float32", show_default=True, help="float32, bfloat16, float16 or auto, as for train.")
    @click.option("--metric", "metrics", multiple=True, metavar="NAME", help="As for evaluate; repeatable.")
    @click.option("--inception", metavar="FILE", help="Inception's weights, for FID and IS; as for evaluate.")
    @click.option("--kid-subset", type=int, help="As for evaluate.")
    @click.option("--checkpoint-every", type=int, help="In steps.  [default: a fifth of a run, at most 1000]")
    @click.option("--measure-at", metavar="STEP,...", default="", help="Earlier steps to measure, as 2000,4000.")
    @click.option("--test-data", metavar="PATH", help="Real images of a test split, to be measured against too.")
    @click.option("--record", metavar="FILE", help="Add finished runs to it, a line each, for `results`.")
    @click.option(
        "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
    )
    @click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
    @click.option("--dry-run", is_flag=True, help="Say what would be run.")
    def command(
        out: str,
        archs: tuple[str, ...],
        methods: tuple[str, ...],
        imports: tuple[str, ...],
        measure_at: str,
        no_control: bool,
        **options: Any,
    ) -> None:
        from sparse_plugin.support.optional import need

        need("an experiment", "experiments", "numpy", "PIL")  # which importing it takes
        from sparse_plugin.experiments.run import run as run_experiment
        from sparse_plugin.restore.allocator import keep_pages
        from sparse_plugin.runs.methods import split

        keep_pages()
        said, code = run_experiment(
            name,
            out,
            source_of(options),
            archs=split(archs),
            methods=split(methods),
            imports=imported(imports),
            measure_at=steps_of(measure_at, "--measure-at"),
            controls=not no_control,
            command=shlex.join(["sparse-plugin", *sys.argv[1:]]),
            **options,
        )
        click.echo(said)
        sys.exit(code)


_table("table1", "Table 1: FID of the nine GANs on CIFAR-10; without Inception's weights, FD-lite0 and KID-lite0.")
_table("table2", "Table 2: IS of BigGAN and DiffCRBigGAN; without Inception's weights, FD-lite0 and KID-lite0.")
_table("table3", "Table 3: BigGAN and DiffCRBigGAN on 20 and 10 per cent of CIFAR-10.")


@experiment.command("table4")
@click.option(
    "--out", metavar="DIR", default="runs/table4", show_default=True, help="Where the runs and the table are."
)
@click.option(
    "--images", multiple=True, metavar="PATH", help="A file or folder; repeatable.  [default: built-in photographs]"
)
@click.option(
    "--scale", default="small", show_default=True, help="small: squares of 128 pixels, 1000 iterations; or paper."
)
@click.option("--crop", type=int, metavar="N", help="Denoise the central square of N pixels.")
@click.option("--runs", type=int, help="Of each image and method.  [default: 1, or 3 at the paper's scale]")
@click.option("--iterations", type=int, help="Instead of the scale's.")
@click.option(
    "--methods", multiple=True, metavar="NAME,...", help='Columns, as in "vanilla,l0:k=0.5".  [default: the paper\'s]'
)
@click.option("--width", default=1.0, show_default=True, help="Multiplies the network's channels.")
@click.option("--record", metavar="FILE", help="Add finished runs to it, a line each, for `results`.")
@click.option(
    "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
)
@click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
def table4(methods: tuple[str, ...], imports: tuple[str, ...], out: str, **options: Any) -> None:
    """Table 4: denoising by Deep Image Prior, σ = 25, best PSNR of the single and the averaged output.

    The same command again skips finished runs and resumes others.
    """
    from sparse_plugin.support.optional import need

    need("an experiment", "experiments", "numpy", "PIL")  # which importing it takes
    from sparse_plugin.experiments import table4 as experiment_of
    from sparse_plugin.restore.allocator import keep_pages
    from sparse_plugin.runs.methods import split

    keep_pages()
    command = shlex.join(["sparse-plugin", *sys.argv[1:]])
    said, code = experiment_of.run(out, methods=split(methods), imports=imported(imports), command=command, **options)
    click.echo(said)
    sys.exit(code)
