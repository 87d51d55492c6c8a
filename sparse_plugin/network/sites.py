"""Sites: where a representation is read, and what the modules alone tell of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from sparse_plugin.errors import SiteError, one_of, shown
from sparse_plugin.support import advice

CHILD = "sparse_plugin"  # the child of D1 that holds what the plugin adds


@dataclass(frozen=True)
class Site:
    """A module path, the side on which Γ passes, and its level (1 for Γ_1, which D1 consumes)."""

    path: str
    side: str = "input"
    level: int = 1

    @classmethod
    def parse(cls, text: str, level: int = 1) -> Site:
        """From `path` or `path:side`. Raises SiteError for another side than input and output."""
        if not isinstance(text, str):
            raise SiteError(f"a site is {shown(text)}; give the path of a module, or path:output")
        path, colon, side = text.rpartition(":")
        if side in ("input", "output"):
            return cls(path, side, level)
        if colon and ":" not in path:  # with more of them, they are part of a module's name
            raise SiteError(f"site {text!r} names the side {side!r}; write {path}:input or {path}:output")
        return cls(text, "input", level)

    def __str__(self) -> str:
        return f"{self.side} of {self.path or 'the generator'}"


def shape(size: Sequence[int]) -> str:
    """A shape without its batch, for people."""
    return "x".join(map(str, size[1:])) or "-"


def inside(path: str, of: str) -> bool:
    """Whether the module at path is below the one at of."""
    return path != of and (of == "" or path.startswith(of + "."))


def own_kernel(module: nn.Module) -> Tensor | None:
    """The convolution kernel that module itself owns, in any guise (weight, weight_orig, a parametrization); else None.

    A kernel has two spatial dimensions or more. A synthesis network's learned constant (1, C, H, W), per-channel scales
    (1, C, 1, 1) and buffers such as blur filters are no kernels; modulated kernels (1, out, in, kh, kw) are.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return None  # no hook runs in it
    weight = weight_in_use(module)
    if isinstance(module, nn.modules.conv._ConvNd) and isinstance(weight, Tensor):
        return weight.detach() if weight.dim() >= 4 else None
    if isinstance(module, ParametrizationList):
        return None
    parameters = [p for p in module._parameters.values() if p is not None]
    if "parametrizations" in module._modules:
        parameters += list(module._modules["parametrizations"].parameters())  # type: ignore[union-attr]
    for parameter in parameters:
        alone = (
            parameter.dim() == 4
            and parameter.shape[0] == 1
            and (next(module.children(), None) is None and parameter.shape[-1] > 1)
        )
        if parameter.dim() == 5 or (parameter.dim() == 4 and parameter.shape[0] > 1) or alone:
            return parameter.detach()
    return None


def weight_in_use(module: nn.Module) -> Any:
    """module.weight, if there is one: some wrappers take it away and put it back at each forward.

    Reading a weight under spectral normalisation in training mode takes a step of its power iteration.
    """
    lists = module._modules.get("parametrizations")
    if not isinstance(lists, nn.ModuleDict) or "weight" not in lists:
        return getattr(module, "weight", None)
    modes = [(part, part.training) for part in lists["weight"].modules()]
    try:
        for part, _ in modes:
            part.training = False
        return module.weight
    finally:
        for part, training in modes:
            part.training = training


def pointwise(generator: nn.Module) -> bool:
    """Whether none of generator's kernels is larger than one: each pixel is made by itself, unless something else mixes positions."""
    kernels = [own_kernel(module) for _, module in kernel_owners(generator)]
    return bool(kernels) and all(kernel is not None and math.prod(kernel.shape[-2:]) == 1 for kernel in kernels)


def kernel_owners(generator: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module that owns a kernel, with its path; what the plugin inserted is left out."""
    for path, module in generator.named_modules():
        if CHILD not in path.split(".") and own_kernel(module) is not None:
            yield path, module


def predict(generator: nn.Module) -> str | None:
    """The path of D1 as far as the modules alone show it: the only kernel that makes 1 to 4 channels; else None.

    Where a parameter might be a learned constant as well as a kernel, only execution can tell.
    """
    makers = [(path, module) for path, module in kernel_owners(generator) if (out_channels(module) or 99) <= 4]
    if len(makers) != 1 or _may_be_a_constant(makers[0][1]) or filters(makers[0][1]):
        return None
    return climb(generator, makers[0][0])


def image_makers(generator: nn.Module) -> list[str]:
    """Where Γ is if the image is made by a convolution to 3 channels or to 1; where there is none, to 2 or 4."""
    owners = [(path, m) for path, m in kernel_owners(generator) if not (_may_be_a_constant(m) or filters(m))]
    makes = {path: out_channels(module) for path, module in owners}
    found = [path for path, channels in makes.items() if channels in (1, 3)]
    return [climb(generator, path) for path in found or [path for path, channels in makes.items() if channels in (2, 4)]]


def _may_be_a_constant(module: nn.Module) -> bool:
    """Whether the kernel of module is one tensor (1, C, height, width), as the first input of a StyleGAN is too."""
    weight = own_kernel(module)
    known = isinstance(module, nn.modules.conv._ConvNd)
    return weight is not None and not known and weight.dim() == 4 and weight.shape[0] == 1


def out_channels(module: nn.Module) -> int | None:
    """The channels that module makes, where its kernel tells."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.out_channels
    weight = own_kernel(module)
    if weight is None or weight.dim() not in (4, 5):
        return None
    # Whichever of the two channel axes is smaller makes the image; a modulated kernel has a leading 1.
    return min(weight.shape[1:3]) if weight.dim() == 5 and weight.shape[0] == 1 else min(weight.shape[:2])


def takes_an_image(module: nn.Module) -> bool:
    """Whether module is a convolution to 1 to 4 channels that takes no more of them than it makes, so that it may take an image."""
    return isinstance(module, nn.modules.conv._ConvNd) and module.in_channels <= module.out_channels <= 4


def filters(module: nn.Module) -> bool:
    """Whether module makes of an image another one of as many channels, pixel by pixel or channel by channel, as a shift of its mean
    (EDSR) or a blur does: no dictionary synthesizes there, and what makes the image stands before it.
    """
    if not isinstance(module, nn.modules.conv._ConvNd) or not takes_an_image(module) or module.in_channels != module.out_channels:
        return False
    return module.groups == module.in_channels > 1 or all(side == 1 for side in module.kernel_size)


def in_channels(module: nn.Module) -> int | None:
    """The channels of the Γ that module consumes, where its kernel tells."""
    for owner in module.modules():
        if isinstance(owner, nn.modules.conv._ConvNd):
            return owner.in_channels
    weight = own_kernel(module)
    if weight is None:
        return None
    # A kernel of somebody's own makes an image of few channels out of more; a modulated one has a leading 1.
    return max(weight.shape[-4:-2])


def spatial_dimensions(module: nn.Module) -> int:
    """Over how many dimensions the convolution of module runs; 0 where it has no kernel."""
    weight = own_kernel(module)
    if isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        return weight.dim() - 2
    return 0 if weight is None else 2


def climb(generator: nn.Module, path: str) -> str:
    """The module at which Γ is read, for the convolution at path: where padding stands before it, Γ is not padded yet.

    In a Sequential of its own, padding and what repeats positions (nearest upsampling) with their convolution are one
    synthesis, read at its input: every needle that D1 consumes is one of Γ. What mixes positions (bilinear) is none. In a
    longer Sequential Γ is the input of the padding.
    """
    parent_path, _, name = path.rpartition(".")
    parent = generator.get_submodule(parent_path)
    if not isinstance(parent, nn.Sequential) or own_forward(parent):
        return path
    names = [key for key, _ in parent.named_children()]
    before = [parent.get_submodule(key) for key in names[: names.index(name)]]
    rest = [module for key in names[names.index(name) + 1 :] for module in parent.get_submodule(key).modules()]
    if (
        parent_path
        and before
        and all(repeats(m) for m in before)
        and not any(own_kernel(m) is not None for m in rest)
    ):
        return parent_path
    first = names.index(name)
    while first > 0 and _pads(before[first - 1]):
        first -= 1
    return ".".join(filter(None, (parent_path, names[first])))


# Those of torch that hand what they are given to one operation, or one module, as it is.
_FORWARDS = [
    *(kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    *(kind.forward for kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)),
    nn.Sequential.forward,
]


def own_forward(module: nn.Module) -> bool:
    """Whether module has a forward of its own, which may do anything with what it is given before it convolves it."""
    return type(module).forward not in _FORWARDS or not {"forward", "_conv_forward"}.isdisjoint(vars(module))


def _pads(module: nn.Module) -> bool:
    return "Pad" in type(module).__name__ and not any(True for _ in module.parameters())


def repeats(module: nn.Module) -> bool:
    """Whether every needle of what module returns is one of its input, or zero."""
    if isinstance(module, nn.Upsample):
        return module.mode in ("nearest", "nearest-exact")
    return _pads(module) or isinstance(module, (nn.Identity, nn.Dropout, nn.Dropout2d))


def convolution(generator: nn.Module, site: Site) -> str:
    """The path of the module that synthesizes from the Γ at site: the site's own, or the convolution behind its padding."""
    module = generator.get_submodule(site.path)
    if isinstance(module, nn.Sequential):
        inner = (
            path for path, m in module.named_modules() if own_kernel(m) is not None and CHILD not in path.split(".")
        )
        return ".".join(filter(None, (site.path, next(inner, ""))))
    if _pads(module):
        parent_path, _, name = site.path.rpartition(".")
        names = [key for key, _ in generator.get_submodule(parent_path).named_children()]
        for key in names[names.index(name) :]:
            path = ".".join(filter(None, (parent_path, key)))
            if not _pads(generator.get_submodule(path)):
                return path
    return site.path


def check(generator: nn.Module, site: Site) -> nn.Module:
    """The module at an explicit site. Raises SiteError where there is none, or it is no place for a representation."""
    modules = dict(generator.named_modules())
    if site.path not in modules:
        near = one_of("module", site.path, [p for p in modules if p and CHILD not in p.split(".")][:200])
        raise SiteError(f"site {site.path!r} does not exist in {type(generator).__name__}: {near}")
    module: nn.Module = modules[site.path]
    if site.path == "":
        raise SiteError(
            "a site cannot be the whole generator: hosts call its forward directly, past every hook. Have its last convolution be a "
            f"module in it, as in torch.nn.Sequential(convolution), or name {advice.returned()}"
        )
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        raise SiteError(
            f"site {site} is a {type(module).__name__}, which parallel wrappers replace; name the convolution after it"
        )
    synthesis = generator.get_submodule(convolution(generator, site))
    if site.side == "input" and not any(own_kernel(m) is not None for m in synthesis.modules()):
        owners = ", ".join(path for path, _ in kernel_owners(generator)) or "none"
        raise SiteError(
            f"site {site} is a {type(module).__name__}, not a synthesis convolution; modules with a kernel are {owners}. Or name "
            f"{advice.returned()}"
        )
    if site.side == "output" and _channels_last(module):
        raise SiteError(
            f"site {site} is a {type(module).__name__}, whose channels are the last axis, and a needle lies along the second one of a "
            "representation (N, C, H, W); name a module that returns that"
        )
    return module


def _channels_last(module: nn.Module) -> bool:
    """Whether module works on the last axis of what it is given; one with a forward of its own may turn the axes before and after."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return len(module.normalized_shape) == 1 and type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward)
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward
