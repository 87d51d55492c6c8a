"""`sparse-plugin train`."""

from __future__ import annotations

from typing import Any

import click

from sparse_plugin.commands.derived import DerivedCommand
from sparse_plugin.commands.options import config_of, config_options, data_options, imported, source_of, steps_of


class _Train(DerivedCommand):
    def derive(self) -> None:
        """Say which GANs there are."""
        from sparse_plugin.gans import architectures

        *names, last = architectures()
        self.help = self.written.replace("ARCHITECTURES", f"{', '.join(names)} or {last}")


@click.command(cls=_Train)
@config_options
@click.argument("arch")
@click.option(
    "--run", "run_dir", required=True, metavar="DIR", help="The run's directory; one that is there is resumed."
)
@data_options("Images: folder, zip, npz, parquet, cifar10.  [default: built-in photographs]")
@click.option("--fraction", default=1.0, show_default=True, help="The share of the data, class by class, as 0.2.")
@click.option("--size", default=32, show_default=True, help="Of the images, in pixels: 32, 64 or 128.")
@click.option("--width", default=1.0, show_default=True, help="Multiplies all channels.")
@click.option("--batch", type=int, help="Images of an update, over all processes.  [default: the recipe's]")
@click.option("--accumulation", type=int, help="Passes to one update.  [default: the recipe's]")
@click.option("--steps", type=int, help="Updates of the generator.  [default: the recipe's]")
@click.option("--seed", default=0, show_default=True)
@click.option("--precision", default="float32", show_default=True, help="float32, bfloat16, float16 or auto: what is faster.")
@click.option("--checkpoint-every", default=1000, show_default=True, help="In steps.")
@click.option("--sample-every", type=int, help="In steps.  [default: as checkpoints]")
@click.option("--log-every", default=50, show_default=True, help="In steps.")
@click.option("--keep", default=3, show_default=True, help="So many latest checkpoints stay.")
@click.option("--keep-at", metavar="STEP,...", default="", help="Checkpoints of these steps stay as well.")
@click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
def train(
    arch: str,
    config_file: str | None,
    sparse: str | None,
    assignments: tuple[str, ...],
    imports: tuple[str, ...],
    keep_at: str,
    **options: Any,
) -> None:
    """Train a GAN, with or without a regularizer.

    ARCH is ARCHITECTURES.

    \b
        sparse-plugin train dcgan --data images.zip --sparse l0_inf --set sparse.k=0.25 --run runs/a

    The same command again resumes. Under torchrun each process takes its part of every batch.
    """
    from sparse_plugin.support.optional import need

    need("training", "train", "numpy", "PIL")  # which importing it takes
    from sparse_plugin.gans.train import train_run

    imports = imported(imports)  # now: a file may register the GAN
    config = config_of(config_file, sparse, assignments, imports)
    options["keep_at"] = steps_of(keep_at, "--keep-at")
    said = train_run(arch, data=source_of(options), sparse=config, **options)
    if said:
        click.echo(said)
