"""A call of a generator that is run once more, undisturbed, to see what a module of it does in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sparse_plugin.network.images import image_of, images_of
from sparse_plugin.network.inside import Inside, quiet
from sparse_plugin.network.probe import forward, learning, unattached, undisturbed, unseen
from sparse_plugin.network.readers import is_linear
from sparse_plugin.network.sites import own_forward
from sparse_plugin.support import capture


class OnceMore:
    """A call of run, which is generator or a method of it or of a part of it."""

    def __init__(self, generator: nn.Module, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.generator, self.run, self.args, self.kwargs = generator, run, args, kwargs

    def matters(self, path: str, size: Sequence[int]) -> bool:
        """Whether the first image of this shape changes when the output of the module at path is left out."""

        def silence(module: nn.Module, inputs: Any, output: Any) -> Any:
            return torch.zeros_like(output) if isinstance(output, Tensor) else output

        with undisturbed(self.generator), unseen(self.generator):
            plain = _image(forward(self.generator, self.args, self.kwargs, run=self.run), size)
            self.generator.get_submodule(path).register_forward_hook(silence)
            without = _image(forward(self.generator, self.args, self.kwargs, run=self.run), size)
        return not torch.equal(plain, without)

    def takes_its_input(self, path: str) -> bool:
        """Whether what makes the image in the module at path takes the module's first argument, or is linear in it as a whole."""
        module = self.generator.get_submodule(path)
        if not own_forward(module):
            return True
        running: list[Inside] = []
        takes: list[bool] = []

        def begin(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor) and capture.readable(inputs[0]) and quiet():
                running.append(Inside(module, inputs[0], lambda taken: True))
                running[-1].begin()

        def end(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if running:
                (inside := running.pop()).end()
                image = image_of(output)
                takes.extend(made.gamma for made in inside.makers(image)) if image is not None else None

        with undisturbed(self.generator), unseen(self.generator), module.register_forward_pre_hook(begin):
            module.register_forward_hook(end, always_call=True)
            forward(self.generator, self.args, self.kwargs, run=self.run)
        return all(takes) or (any(takes) and self.is_linear(path))

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


def _image(output: Any, size: Sequence[int]) -> Tensor:
    """The first of the images in output that has this shape, of a generator that makes one."""
    images = images_of(output)
    return next((image for image in images if tuple(image.shape) == tuple(size)), images[0])


def is_linear_in_its_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether what module returns of these is linear in its first argument, but for a bias, wherever the call is made."""
    with torch.inference_mode(False), undisturbed(module), unseen(module), unattached(module), torch.enable_grad():
        gamma = args[0].detach().clone().requires_grad_()
        rest = tree_map(lambda given: given.clone() if isinstance(given, Tensor) and given.is_inference() else given, (args[1:], kwargs))
        image = image_of(module.forward(gamma, *rest[0], **rest[1]))
        return image is not None and image.requires_grad and is_linear(image, gamma)
