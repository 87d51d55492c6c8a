"""Forwards that are called directly, past the generator's own hooks: their images are judged when they return."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from sparse_plugin.attachment import frames, lineage
from sparse_plugin.attachment.heads import Heads
from sparse_plugin.errors import SiteError
from sparse_plugin.network import readers
from sparse_plugin.network.images import images_of


class DirectCalls:
    """Those of one generator that are followed to their end."""

    def __init__(self) -> None:
        self.parts: dict[int, str] = {}  # by thread: the path of the part that is called, "" for the generator

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": {}}

    def follow(self, generator: nn.Module, module: nn.Module, heads: Heads) -> None:
        """Check the image of the running forward, in which module, a head, runs. Raises SiteError, when it returns, where a
        convolution beside the sites makes its image.
        """
        me = threading.get_ident()
        if me in self.parts or not torch.is_grad_enabled():
            return
        since: int = torch._C._autograd._get_sequence_nr()
        path = next((path for path, inner in generator.named_modules() if inner is module), None)

        def returned(output: Any) -> None:
            if self.parts.pop(me) == "" and any(lineage.unknown(image, since) for image in readers.apart(images_of(output))):
                raise SiteError(
                    f"a convolution of {type(generator).__name__} makes the image beside {heads.where(generator)}, and its forward "
                    f"is called directly, so that it cannot be followed. {heads.name_all(generator)}"
                )

        part = None if path is None else frames.when_returned(module, path, returned, methods=False)
        if part is not None:
            self.parts[me] = part
