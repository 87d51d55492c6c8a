"""`sparse-plugin theory`."""

from __future__ import annotations

from typing import Any

import click

from sparse_plugin.commands.options import imported, refuse
from sparse_plugin.errors import ConfigError
from sparse_plugin.support.progress import busy


@click.command()
@click.argument("target", metavar="[RUN|CKPT]", required=False)
@click.option("--generator", metavar="MODULE:CLASS", help="Of a checkpoint that another codebase wrote.")
@click.option("--factory", metavar="MODULE:FUNCTION", help="Instead: what returns the generator, with its weights if CKPT is left out.")
@click.option("--arg", "arguments", multiple=True, metavar="[KEY=]VALUE", help="For it, as for sites; repeatable.")
@click.option("--input", "inputs", multiple=True, metavar="SHAPE", help='Of one batch: "64x128", "64:int<10" for labels.')
@click.option("--key", metavar="NAME", help="Where in the checkpoint its state_dict is, where several fit.")
@click.option("--site", "sites", multiple=True, metavar="PATH", help="Where Γ is, if it cannot be told.")
@click.option("--import", "imports", multiple=True, metavar="FILE", help="A .py file or module to import first.")
@click.option("--samples", default=64, show_default=True, help="Whose Γ is counted, rounded up to whole batches.")
@click.option("--seed", default=0, show_default=True, help="Of the samples.")
@click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def theory(target: str | None, generator: str | None, factory: str | None, as_json: bool, **options: Any) -> None:
    """What the theory of convolutional sparse coding says of a generator: D1's coherence, the stripes of Γ, and which bounds hold.

    \b
        sparse-plugin theory runs/a
        sparse-plugin theory netG.pth --generator torch_mimicry.nets.sngan:SNGANGenerator32 --input 64x128

    A bound that says nothing here is said to be VOID.
    """
    from sparse_plugin.evaluate.theory import theory as report
    from sparse_plugin.support import advice

    host = {name: options.pop(name) for name in ("arguments", "inputs", "imports", "key", "sites")}
    host["imports"] = imported(host["imports"])
    spec = None
    if generator is not None and factory is not None:
        raise ConfigError("--generator and --factory both say what builds the generator; give one of them")
    if generator is None and factory is None:
        refuse(
            ("arguments", "inputs", "key", "sites"),
            "it is of a generator of another codebase, which --generator or --factory names; give one of them, or leave it out",
        )
    else:
        from sparse_plugin.evaluate.sampling import GeneratorSpec

        if target is None and factory is None:
            raise ConfigError(f"{generator} is a class, whose instances have no trained weights; give the checkpoint, or --factory")
        if target is None and host["key"] is not None:
            raise ConfigError("--key says where in a checkpoint the weights are, and none is given; give one, or leave it out")
        spec = GeneratorSpec(generator or factory or "", factory=factory is not None, **host)
    with advice.speaking_to("evaluate"), busy("counting Γ"):
        found = report(target, spec, **options)
    click.echo(found.to_json() if as_json else found.to_text())
