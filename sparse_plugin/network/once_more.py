"""A call of a generator that is run once more, undisturbed, to see what a module of it does in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sparse_plugin.network.images import image_of
from sparse_plugin.network.probe import forward, learning, unattached, undisturbed, unseen
from sparse_plugin.network.readers import is_linear


class OnceMore:
    """A call of run, which is generator or a method of it or of a part of it."""

    def __init__(self, generator: nn.Module, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.generator, self.run, self.args, self.kwargs = generator, run, args, kwargs

    def matters(self, path: str) -> bool:
        """Whether the image changes when the output of the module at path is left out."""

        def silence(module: nn.Module, inputs: Any, output: Any) -> Any:
            return torch.zeros_like(output) if isinstance(output, Tensor) else output

        with undisturbed(self.generator), unseen(self.generator):
            plain = image_of(forward(self.generator, self.args, self.kwargs, run=self.run))
            self.generator.get_submodule(path).register_forward_hook(silence)
            without = image_of(forward(self.generator, self.args, self.kwargs, run=self.run))
        assert plain is not None and without is not None
        return not torch.equal(plain, without)

    def is_linear(self, path: str) -> bool:
        """Whether what the module at path returns is linear in its first input, but for a bias."""
        found: list[bool] = []

        def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            tensors = isinstance(output, Tensor) and bool(inputs) and isinstance(inputs[0], Tensor)
            found.append(tensors and output.requires_grad and inputs[0].requires_grad and is_linear(output, inputs[0]))

        with undisturbed(self.generator), unseen(self.generator), unattached(self.generator.get_submodule(path)):
            self.generator.get_submodule(path).register_forward_hook(look)
            with learning(self.generator):
                forward(self.generator, self.args, self.kwargs, True, self.run)
        return found == [True]


def is_linear_in_its_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether what module returns of these is linear in its first argument, but for a bias, wherever the call is made."""
    with torch.inference_mode(False), undisturbed(module), unseen(module), unattached(module), torch.enable_grad():
        gamma = args[0].detach().clone().requires_grad_()
        rest = tree_map(lambda given: given.clone() if isinstance(given, Tensor) and given.is_inference() else given, (args[1:], kwargs))
        image = image_of(module.forward(gamma, *rest[0], **rest[1]))
        return image is not None and image.requires_grad and is_linear(image, gamma)
