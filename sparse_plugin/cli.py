"""The command line."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from sparse_plugin import __version__
from sparse_plugin.errors import SparsePluginError
from sparse_plugin.progress import busy


class _Group(click.Group):
    """Prints a user's mistake as a sentence, not a traceback, and exits 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SparsePluginError as error:
            raise _Mistake(error) from None


class _Mistake(click.ClickException):
    def __init__(self, error: SparsePluginError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        click.echo(f"sparse-plugin: {self.message}", err=True)


def main() -> None:
    """The entry point of `sparse-plugin` and `python -m sparse_plugin`."""
    cli(prog_name="sparse-plugin")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": 80})
@click.version_option(__version__, package_name="sparse-plugin")
def cli() -> None:
    """Sparse-modeling regularization for image generators that other people wrote.

    Exit codes: 0 done, 1 failed, 2 a mistake in what was asked, 3 the command ran and nothing was regularized.
    """


def _config_options(command: Any) -> Any:
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
        click.option("--sparse", metavar="NAME", help="The regularizer: l1, l0, l0_inf, ml_csc, or a registered one."),
        click.option("--config", "config_file", metavar="FILE", help="A YAML or TOML file with a section `sparse`."),
    ):
        command = option(command)
    return command


def _config(
    config_file: str | None, sparse: str | None, assignments: tuple[str, ...], imports: tuple[str, ...], **own: Any
) -> Any:
    import os

    from sparse_plugin.config import SparsityConfig, assign, read

    mapping: dict[str, Any] = {}
    if config_file is not None:
        mapping = read(config_file)
    else:
        inherited = SparsityConfig.from_environment()
        if inherited is not None:
            mapping = inherited.flat()
    if sparse is not None and sparse != mapping.get("regularizer"):
        kept = set(SparsityConfig.model_fields) - {"settings"}
        mapping = {**{key: value for key, value in mapping.items() if key in kept}, "regularizer": sparse}
    mapping = assign(mapping, assignments)
    mapping.update({key: value for key, value in own.items() if value is not None})
    named = [*mapping.get("imports", []), *imports]
    if named:
        mapping["imports"] = [os.path.abspath(name) if name.endswith(".py") else name for name in named]
    return SparsityConfig.from_mapping(mapping, config_file or "the command line", waiting=True)


@cli.command(context_settings={"ignore_unknown_options": False})
@_config_options
@click.option(
    "--generator",
    metavar="MODULE:CLASS",
    help='The generator\'s class in a host that is not known, as in "__main__:Generator".',
)
@click.option("--host", metavar="NAME", help="Patch this host only.")
@click.option(
    "--run-dir", metavar="DIR", help="Where measurements are logged.  [default: the host's, else sparse_runs/<time>]"
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(command: tuple[str, ...], generator: str | None, host: str | None, run_dir: str | None, **options: Any) -> None:
    """Run a script that does not know of the plugin, with the plugin on.

    \b
        sparse-plugin run --sparse l0_inf --set sparse.k=16 -- python train.py --its --own --flags

    Exits with the script's own code, or with 3 where the script succeeded and nothing was regularized.
    """
    from sparse_plugin.launch import run as launch

    config = _config(**options, generator=generator, host=host, run_dir=run_dir)
    sys.exit(launch(command, config))


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--kernels", is_flag=True, help="The projections' kernels on this machine instead.")
@click.option(
    "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
)
def list_(as_json: bool, kernels: bool, imports: tuple[str, ...]) -> None:
    """What is registered, and which package it came from."""
    from sparse_plugin.imports import load
    from sparse_plugin.plugins import ADAPTERS, HOSTS, REGULARIZERS

    for name in imports:
        load(name)
    if kernels:
        from sparse_plugin.projections import kernel_status

        with busy("loading the kernels"):
            rows: list[dict[str, Any]] = [dict(row) for row in kernel_status()]
    else:
        rows = [
            {"kind": plugins.kind, "name": plugin.name, "from": plugin.origin, "fields": _fields(plugins, plugin.name)}
            for plugins in (REGULARIZERS, ADAPTERS, HOSTS)
            for plugin in plugins.all().values()
        ]
    _print(rows, as_json)


def _fields(plugins: Any, name: str) -> str:
    """A regularizer's fields, with their defaults; or why it does not load."""
    try:
        plugin = plugins.get(name)
    except SparsePluginError as error:
        return f"broken: {error}"
    if plugins.kind != "regularizer":
        return ""
    return ", ".join(
        key if field.is_required() else f"{key}={field.default}" for key, field in plugin.model_fields.items()
    )


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
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


@cli.command()
@click.argument("generator", metavar="MODULE:CLASS")
@click.option(
    "--arg", "arguments", multiple=True, metavar="[KEY=]VALUE", help="For the constructor, read as YAML; repeatable."
)
@click.option(
    "--input", "inputs", multiple=True, metavar="SHAPE", help='Of one forward, as in "4x128"; labels as "4:int<10".'
)
@click.option("--import", "imports", multiple=True, metavar="FILE", help="A .py file or module to import first.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def sites(
    generator: str, arguments: tuple[str, ...], inputs: tuple[str, ...], imports: tuple[str, ...], as_json: bool
) -> None:
    """Where Γ is in a generator that can be imported: the candidates, their shapes, and what would be chosen and why.

    \b
        sparse-plugin sites torch_mimicry.nets.sngan:SNGANGenerator32 --input 2x128

    Exits 3 where D1 cannot be told.
    """
    from sparse_plugin.inspection import inspect

    with busy(f"running {generator} once"):
        report = inspect(generator, arguments, inputs, imports)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        _print(report["candidates"], False)
        click.echo(
            f"\n{report['generator']}: image {report['image']}; site: {report['site'] or 'none'} ({report['why']})"
        )
    sys.exit(0 if report["site"] else 3)


@cli.command()
@click.argument("folder", metavar="HOST_DIR")
@click.option("--host", metavar="NAME", help="The host patch to use.  [default: the one that knows the folder]")
@click.option("--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers hosts.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(folder: str, host: str | None, imports: tuple[str, ...], as_json: bool) -> None:
    """Whether the plugin fits somebody's code: which host it is, where Γ is, how its loss is reached, how to turn it on.

    Nothing is trained. Exits 3 where it would not attach.
    """
    from sparse_plugin.checking import check as look

    with busy(f"building and running the generators in {folder}"):
        reports = look(folder, host, imports)
    if as_json:
        click.echo(json.dumps(reports, indent=1, ensure_ascii=False))
    else:
        for report in reports:
            _print_check(report)
    sys.exit(0 if all(report["attaches"] for report in reports) else 3)


def _print_check(report: dict[str, Any]) -> None:
    click.echo(f"host    {report['host'] or 'none that is known'}, in {report['root']}")
    click.echo(f"source  {report['source']}" + "".join(f"; it has no {spec}" for spec in report["missing"]))
    click.echo(f"loss    {report['loss']}")
    for line in report["switch"]:
        click.echo(f"on      {line}")
    click.echo()
    rows = []
    for generator in report["generators"]:
        for site in generator["sites"] or [{"gamma": "", "where": generator["error"], "shape": "", "density": ""}]:
            rows.append({"generator": generator["name"], **site})
    _print(rows, False)
    if not report["attaches"]:
        verdict = f"IT WOULD NOT ATTACH: {report['why']}"
    elif any(generator["sites"] for generator in report["generators"]):
        verdict = "It attaches."
    else:
        verdict = (
            "Nothing was built; a run attaches when its script builds a generator, and checks in the first forward."
        )
    click.echo(f"\n{verdict}\n")


@cli.command()
@click.argument("checkpoint", type=click.Path(dir_okay=False))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), help="Where to write; never over a file."
)
def strip(checkpoint: str, output: str) -> None:
    """Write a checkpoint without the plugin's settings, for code that loads it without the plugin.

    The generator's samples then come from a representation that is not projected.
    """
    from sparse_plugin.checkpoint import strip_file

    with busy(f"reading {checkpoint}"):
        found = strip_file(checkpoint, output)
    click.echo(f"{output}: without {found}" if found else f"{output}: the checkpoint was trained without sparse_plugin")


@cli.command()
@_config_options
@click.argument("arch")
@click.option(
    "--run", "run_dir", required=True, metavar="DIR", help="The run's directory; one that is there is resumed."
)
@click.option(
    "--data", metavar="PATH", help="Images: folder, zip, npz, parquet, cifar10.  [default: built-in photographs]"
)
@click.option("--fraction", default=1.0, show_default=True, help="The share of the data, class by class, as 0.2.")
@click.option("--size", default=32, show_default=True, help="Of the images, in pixels: 32, 64 or 128.")
@click.option("--width", default=1.0, show_default=True, help="Multiplies all channels.")
@click.option("--batch", type=int, help="Images of an update, over all processes.  [default: the recipe's]")
@click.option("--accumulation", type=int, help="Passes to one update.  [default: the recipe's]")
@click.option("--steps", type=int, help="Updates of the generator.  [default: the recipe's]")
@click.option("--seed", default=0, show_default=True)
@click.option("--precision", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--checkpoint-every", default=1000, show_default=True, help="In steps.")
@click.option("--sample-every", type=int, help="In steps.  [default: as checkpoints]")
@click.option("--log-every", default=50, show_default=True, help="In steps.")
@click.option("--keep", default=3, show_default=True, help="So many latest checkpoints stay.")
@click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
def train(
    arch: str,
    config_file: str | None,
    sparse: str | None,
    assignments: tuple[str, ...],
    imports: tuple[str, ...],
    **options: Any,
) -> None:
    """Train a reference GAN: dcgan, cgan, wgan_gp, msgan, sngan, sagan, ssgan, biggan or diffcrbiggan.

    \b
        sparse-plugin train dcgan --data images.zip --sparse l0_inf --set sparse.k=0.25 --run runs/a

    The same command again resumes. Under torchrun each process takes its part of every batch.
    """
    from sparse_plugin.extras import need

    need("training", "train", "numpy", "PIL")  # which importing it takes
    from sparse_plugin.reference.train import run as train_reference

    config = _config(config_file, sparse, assignments, imports)
    said = train_reference(arch, sparse=None if config.regularizer is None else config, **options)
    if said:
        click.echo(said)


@cli.command()
@click.argument("target", metavar="RUN|CKPT|IMAGES")
@click.option("--data", metavar="PATH", help="The real images, as for train.  [default: built-in photographs]")
@click.option("--fraction", default=1.0, show_default=True, help="Of every class of the real images, by --data-seed.")
@click.option("--data-seed", default=0, show_default=True)
@click.option("--split", type=click.Choice(["train", "test"]), help="Where the data has both.")
@click.option("--resize", is_flag=True, help="Cut real images of another size to a square and scale them.")
@click.option("--download", is_flag=True, help="Fetch CIFAR-10 where it is missing.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="FID, KID, IS, PR-inception, FD-lite0, KID-lite0 or PR-lite0; repeatable.  "
    "[default: the first four with --inception, else the last three]",
)
@click.option("--samples", type=int, help="Images to sample.  [default: 10000; of IMAGES, all]")
@click.option("--seed", default=0, show_default=True, help="Of the samples.")
@click.option("--kid-subset", default=1000, show_default=True, help="Images in a subset of the kernel distance.")
@click.option(
    "--inception",
    metavar="FILE",
    help="Inception's weights for FID and IS; never downloaded.  [default: $SPARSE_PLUGIN_INCEPTION]",
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
    from sparse_plugin.evaluation import evaluate as measure

    host = {name: options.pop(name) for name in ("arguments", "inputs", "imports", "key", "sites")}
    named = None
    if generator is not None:
        from sparse_plugin.sampling import Named

        named = Named(generator, low=bounds[0], high=bounds[1], **host)
    report = measure(target, named=named, **options)
    click.echo(report.to_json() if as_json else report.to_text())


@cli.group()
def experiment() -> None:
    """Make a table of the paper: train and measure its grid of runs, and collect them beside the paper's numbers."""


def _imported(files: tuple[str, ...]) -> tuple[str, ...]:
    """Load what registers regularizers, and name it so that runs can load it from anywhere."""
    import os

    from sparse_plugin.imports import load

    absolute = tuple(os.path.abspath(file) if file.endswith(".py") else file for file in files)
    for file in absolute:
        load(file)
    return absolute


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
    @click.option("--data", metavar="PATH", default="cifar10", show_default=True, help="Images, as for train.")
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
    @click.option("--width", type=float, help="Multiplies all channels, instead of the scale's.")
    @click.option("--steps", type=int, help="Instead of the scale's.")
    @click.option("--batch", type=int, help="Instead of the recipe's.")
    @click.option("--samples", type=int, help="Images to measure.  [default: 10000, or 50000 at the paper's scale]")
    @click.option("--precision", default="float32", show_default=True, help="float32, bfloat16 or float16.")
    @click.option("--metric", "metrics", multiple=True, metavar="NAME", help="As for evaluate; repeatable.")
    @click.option("--inception", metavar="FILE", help="Inception's weights, for FID and IS; as for evaluate.")
    @click.option("--kid-subset", type=int, help="As for evaluate.")
    @click.option("--checkpoint-every", type=int, help="In steps.  [default: a fifth of a run, at most 1000]")
    @click.option(
        "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
    )
    @click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
    @click.option("--dry-run", is_flag=True, help="Say what would be run.")
    def command(
        out: str, archs: tuple[str, ...], methods: tuple[str, ...], imports: tuple[str, ...], **options: Any
    ) -> None:
        import shlex

        from sparse_plugin.extras import need

        need("an experiment", "experiments", "numpy", "PIL")  # which importing it takes
        from sparse_plugin.experiments.methods import split
        from sparse_plugin.experiments.run import run as run_experiment

        said, code = run_experiment(
            name,
            out,
            archs=split(archs),
            methods=split(methods),
            imports=_imported(imports),
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
@click.option(
    "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
)
@click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
def table4(methods: tuple[str, ...], imports: tuple[str, ...], out: str, **options: Any) -> None:
    """Table 4: denoising by Deep Image Prior, σ = 25, best PSNR of the single and the averaged output.

    The same command again skips finished runs and resumes others.
    """
    import shlex

    from sparse_plugin.extras import need

    need("an experiment", "experiments", "numpy", "PIL")  # which importing it takes
    from sparse_plugin.experiments import table4 as experiment_of
    from sparse_plugin.experiments.methods import split
    from sparse_plugin.restore.allocator import keep_pages

    keep_pages()
    command = shlex.join(["sparse-plugin", *sys.argv[1:]])
    said, code = experiment_of.run(out, methods=split(methods), imports=_imported(imports), command=command, **options)
    click.echo(said)
    sys.exit(code)


@cli.command()
@click.argument("kind", metavar="4a|4b|A|B|training|psnr")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("-o", "--out", "path", metavar="FILE", help=".png, .svg or .pdf.  [default: figure-KIND.png]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def figure(kind: str, runs: tuple[str, ...], path: str | None, force: bool) -> None:
    """Draw a figure of the paper from runs: directories of runs, or that hold runs.

    \b
        4a, B     sparsity level and distance of every method
        4b        needle density at every position, every method
        A         atoms of D1 and of D_eff, of one run
        training  losses and sparsity level over steps
        psnr      PSNR over the iterations of table 4
    """
    from sparse_plugin.figures import make

    click.echo(make(kind, runs, path or f"figure-{kind}.png", force))


@cli.group()
def restore() -> None:
    """Restore images by Deep Image Prior: denoise, inpaint, upscale.

    Nothing is learned from other images. Exits 130 where it was interrupted, with the best result so far written.
    """


def _restore_options(command: Any) -> Any:
    """The options and the argument that all restorations take, after the command's own."""
    for option in (
        click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]"),
        click.option("--precision", default="float32", show_default=True, help="float32, or bfloat16 for a GPU."),
        click.option("--compile", "compiled", is_flag=True, help="Run the network by torch.compile, for a GPU."),
        click.option("--log-every", default=50, show_default=True, help="In iterations."),
        click.option("--checkpoint-every", default=200, show_default=True, help="In iterations."),
        click.option("--force", is_flag=True, help="Write over OUT, and start anew."),
        click.option("--single", is_flag=True, help="Write the output of one iteration, not the average."),
        click.option("--scales", default=5, show_default=True, help="Of the network; fewer for small images."),
        click.option("--width", default=1.0, show_default=True, help="Multiplies the network's channels."),
        click.option("--seed", default=0, show_default=True, help="Of all that is random."),
        click.option(
            "--patience", default=300, show_default=True, help="Iterations without a lower variance before stopping."
        ),
        click.option(
            "--stop",
            default="wmv",
            show_default=True,
            type=click.Choice(["wmv", "emv", "none"]),
            help="Stop by the moving variance of the output, windowed or exponential; or only by --iterations.",
        ),
        click.option("--iterations", type=int, help="At most so many.  [default: the official number]"),
        click.option("--clean", multiple=True, metavar="FILE", help="Measure against it; one for each IMAGE."),
        click.option(
            "-o", "--output", required=True, metavar="OUT", help="A .png, .tif or .jpg; a folder for several images."
        ),
        _config_options,
        click.argument("images", nargs=-1, required=True, metavar="IMAGE..."),
    ):
        command = option(command)
    return command


def _restored(
    kind: str,
    config_file: str | None,
    sparse: str | None,
    assignments: tuple[str, ...],
    imports: tuple[str, ...],
    stop: str,
    **options: Any,
) -> None:
    from sparse_plugin.extras import need

    need("restoration", "restore", "numpy", "PIL", "skimage", "safetensors", "matplotlib", "png")
    from sparse_plugin.restore.allocator import keep_pages
    from sparse_plugin.restore.command import run as restore_files

    keep_pages()
    config = _config(config_file, sparse, assignments, imports)
    for said in restore_files(
        kind, sparse=None if config.regularizer is None else config, stop=None if stop == "none" else stop, **options
    ):
        click.echo(said)


@restore.command()
@_restore_options
@click.option("--sigma", default=25.0, show_default=True, help="The noise's deviation, of pixels from 0 to 255.")
@click.option(
    "--add-noise", "noisy", is_flag=True, help="IMAGE is clean: add noise of --sigma by --seed, measure against it."
)
def denoise(**options: Any) -> None:
    """Take the noise out of photographs.

    \b
        sparse-plugin restore denoise photo.png --sparse l0 --set sparse.k=0.5 -o restored.png
        sparse-plugin restore denoise clean.png --add-noise --sigma 25 -o restored.png

    IMAGE is denoised as it is: --sigma says how noisy it is, which sets the noise on the network's input (1/30, from 37.5
    on 1/20). Only with --add-noise, the protocol of papers, is noise of that deviation added first.
    """
    _restored("denoise", **options)


@restore.command()
@_restore_options
@click.option(
    "--mask",
    "masks",
    required=True,
    multiple=True,
    metavar="FILE",
    help="Black where pixels are missing, white where they are known; once, or for each IMAGE.",
)
def inpaint(**options: Any) -> None:
    """Fill in what is missing in photographs. Known pixels stay as they are.

    \b
        sparse-plugin restore inpaint photo.png --mask mask.png -o restored.png
    """
    _restored("inpaint", **options)


@restore.command()
@_restore_options
@click.option("--factor", default=4, show_default=True, help="2, 3, 4, 6 or 8.")
def upscale(**options: Any) -> None:
    """Restore a larger image from a small one.

    \b
        sparse-plugin restore upscale small.png --factor 4 -o large.png
    """
    _restored("upscale", **options)


@cli.command()
@click.option(
    "--steps", default=300, show_default=True, type=click.IntRange(2), help="Generator steps of each of the two runs."
)
@click.option("--out", "folder", default="demo", show_default=True, help="Where the page and the picture go.")
def demo(steps: int, folder: str) -> None:
    """Train mimicry's SNGAN-32 without and with l0_inf on photographs, and write a page that compares them."""
    from sparse_plugin.demo.run import run as run_demo

    click.echo(run_demo(steps, folder))
