"""`sparse-plugin restore`: Deep Image Prior."""

from __future__ import annotations

from typing import Any

import click

from sparse_plugin.commands.options import config_of, config_options, refuse


@click.group()
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
            "--patience",
            default=300,
            show_default=True,
            help="Iterations without a lower variance, or error at held-out pixels, before stopping.",
        ),
        click.option(
            "--stop",
            default="auto",
            show_default="wmv; heldout where sparse.k is auto",
            type=click.Choice(["auto", "wmv", "emv", "heldout", "none"]),
            help="Stop by the moving variance of the output, windowed or exponential; by the error at pixels that are kept out of "
            "the loss; or only by --iterations.",
        ),
        click.option("--iterations", type=int, help="At most so many.  [default: the official number]"),
        click.option("--clean", multiple=True, metavar="FILE", help="Measure against it; one for each IMAGE."),
        click.option(
            "-o", "--output", required=True, metavar="OUT", help="A .png, .tif or .jpg; a folder for several images."
        ),
        config_options,
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
    from sparse_plugin.support.optional import need

    need("restoration", "restore", "numpy", "PIL", "skimage", "safetensors", "matplotlib", "png")
    from sparse_plugin.restore.command import restore_files

    if stop == "none":
        refuse(("patience",), "with --stop none nothing waits for it; leave it out, or give a rule to --stop")
    config = config_of(config_file, sparse, assignments, imports)
    for said in restore_files(kind, sparse=config, stop=None if stop == "none" else stop, **options):
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
        sparse-plugin restore denoise photo.png --sparse l0 -o restored.png
        sparse-plugin restore denoise photo.png --sparse l0_inf --set sparse.k=auto -o restored.png
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
