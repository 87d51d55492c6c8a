"""diffusers: its autoencoders, whose trainers call `encode` and `decode` and never the whole, and where Γ is in them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import SiteError
from sparse_plugin.hosts.host import Example, Host
from sparse_plugin.hosts.recognize import Revision
from sparse_plugin.network.adapters import Adapter
from sparse_plugin.support import advice

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.hosts.host import Patcher


def _conv_out(autoencoder: nn.Module) -> str:
    """The convolution that a decoder calls conv_out, as in 0.40 to 0.42."""
    return _at_hand(autoencoder, "decoder.conv_out")


def _last_of_decoder(autoencoder: nn.Module) -> str:
    """The last convolution of a decoder that is one Sequential."""
    from sparse_plugin.network.sites import kernel_owners

    owners = [path for path, _ in kernel_owners(autoencoder) if path.startswith("decoder.")]
    return _at_hand(autoencoder, owners[-1] if owners else "decoder.layers")


def _at_hand(autoencoder: nn.Module, path: str) -> str:
    if path not in dict(autoencoder.named_modules()):
        version = getattr(sys.modules.get("diffusers"), "__version__", "of an unknown version")
        raise SiteError(
            f"{type(autoencoder).__name__} of diffusers {version} has no {path}, whose input is Γ in the versions that its adapter was "
            f"written for (0.40 to 0.42); name the last convolution of the decoder with {advice.sites()}, or update sparse_plugin"
        )
    return path


class Diffusers(Host):
    """Whatever trains its autoencoders: they are handed on by `diffusers`, come from `from_config` and `from_pretrained`, and are
    averaged by EMAModel, a list of parameters that builds an autoencoder to save them.
    """

    def __init__(self) -> None:
        super().__init__(
            "diffusers",
            generators=[f"diffusers:{name}" for name in ("AutoencoderKL", "AsymmetricAutoencoderKL", "VQModel", "AutoencoderTiny")],
            marks=["diffusers.models.modeling_utils:ModelMixin", "diffusers.training_utils:EMAModel"],
            sources=[
                Revision(
                    "huggingface/diffusers",
                    "58eb52c0803ea9af3abec60841c2a093bdf1f951",
                    "src",
                    {
                        "diffusers/models/autoencoders/autoencoder_kl.py": "4434b735d949",
                        "diffusers/models/autoencoders/vae.py": "a65bca418175",
                        "diffusers/models/autoencoders/vq_model.py": "619327dde417",
                        "diffusers/models/modeling_utils.py": "5af0ca0e6278",
                        "diffusers/training_utils.py": "68c0c5254234",
                    },
                )
            ],
        )
        # By the average, the autoencoder that it was last updated with.
        self._averaged: weakref.WeakKeyDictionary[Any, weakref.ref[nn.Module]] = weakref.WeakKeyDictionary()

    def dense(self, generator: nn.Module) -> bool:
        """All but the tiny one have a SiLU before their last convolution."""
        return type(generator).__name__ != "AutoencoderTiny"

    def patch(self, session: Patcher) -> None:
        """An average stands for the step of training of what it averages, wherever its parameters are copied to."""

        def step(wrapped: Any, average: Any, args: Any, kwargs: Any) -> Any:
            parameters, args, kwargs = _parameters(args, kwargs)
            of = _holding(session, parameters)
            if of is not None:
                self._averaged[average] = weakref.ref(of)
            return wrapped(*args, **kwargs)

        def copy_to(wrapped: Any, average: Any, args: Any, kwargs: Any) -> Any:
            parameters, args, kwargs = _parameters(args, kwargs)
            done = wrapped(*args, **kwargs)
            of, into = self._averaged.get(average), _holding(session, parameters)
            if of is not None and into is not None and (found := of()) is not None and found is not into:
                from sparse_plugin.attachment.child import stand_where

                stand_where(found, into)
            return done

        self.wrap(session, "diffusers.training_utils:EMAModel.step", step)
        self.wrap(session, "diffusers.training_utils:EMAModel.copy_to", copy_to)

    def examples(self, root: Path) -> Iterator[Example]:
        """Each autoencoder, small."""
        del root

        def build(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
            import diffusers  # type: ignore[import-not-found,unused-ignore]
            import torch

            blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
            small: dict[str, Any] = {"norm_num_groups": 4, "block_out_channels": [8, 8], **blocks}
            if name == "AsymmetricAutoencoderKL":
                small = {"norm_num_groups": 4, "down_block_out_channels": [8, 8], "up_block_out_channels": [8, 8], **blocks}
            elif name == "AutoencoderTiny":
                small = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
            return getattr(diffusers, name)(**small), (torch.rand(2, 3, 32, 32),)

        for spec in self.generators:
            name = spec.partition(":")[2]
            yield Example(name, lambda name=name: build(name))  # type: ignore[misc]


def _parameters(args: Any, kwargs: Any) -> tuple[list[Any], Any, Any]:
    """What EMAModel is handed, an iterator, as a list; and the arguments with it."""
    if args:
        parameters = list(args[0])
        return parameters, (parameters, *args[1:]), kwargs
    parameters = list(kwargs.get("parameters", ()))
    return parameters, args, {**kwargs, "parameters": parameters}


def _holding(session: Patcher, parameters: list[Any]) -> nn.Module | None:
    """The attached autoencoder that these are the parameters of."""
    if not parameters:
        return None
    generators = [handle.generator for handle in session.attachments()]
    return next((each for each in generators if any(p is parameters[0] for p in each.parameters())), None)


HOST = Diffusers()
# Defined in diffusers.models.autoencoders, handed on by diffusers.
ADAPTER = Adapter(
    "diffusers",
    {
        "diffusers:AutoencoderKL": _conv_out,
        "diffusers:AsymmetricAutoencoderKL": _conv_out,
        "diffusers:VQModel": _conv_out,
        "diffusers:AutoencoderTiny": _last_of_decoder,
    },
)
