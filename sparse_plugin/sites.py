"""Sites: where a representation is read. Automatic detection follows one forward pass to D1.

D1 is the last synthesis convolution before the image. It is found by execution, never by registration order: the
modules that own a convolution kernel are watched through a forward pass, and among those whose output has the image's
shape, the one that the image is computed from is D1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from sparse_plugin.errors import SiteError, one_of
from sparse_plugin.probe import forward, undisturbed

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
        path, _, side = text.partition(":")
        if side not in ("", "input", "output"):
            raise SiteError(f"site {text!r} names the side {side!r}; write {path}:input or {path}:output")
        return cls(path, side or "input", level)

    def __str__(self) -> str:
        return f"{self.side} of {self.path or 'the generator'}"


@dataclass
class Candidate:
    """A module that owns a convolution kernel, as one forward pass saw it."""

    path: str
    module: nn.Module
    calls: int = 0
    order: int = -1  # position of its last call among all calls; -1 where it never ran
    gamma: tuple[int, ...] = ()  # shape of its input
    output: tuple[int, ...] = ()
    density: float = 0.0  # of its input, before any regularizer
    verdict: str = ""
    nodes: list[Any] = field(default_factory=list, repr=False)  # the autograd nodes of its outputs, while tracing

    @property
    def kernel(self) -> str:
        """The kernel's owner and shape, for people."""
        weight = own_kernel(self.module)
        return type(self.module).__name__ + (f" {'x'.join(map(str, weight.shape))}" if weight is not None else "")


@dataclass(frozen=True)
class Detection:
    """What one forward pass showed: every candidate in order of execution, and the site that was chosen, if any."""

    candidates: tuple[Candidate, ...]
    image: tuple[int, ...]
    site: Site | None
    why: str

    def table(self) -> str:
        """The candidates, one a line, for an error message."""
        if not self.candidates:
            return "  (no module with a convolution kernel ran)"
        head = ("path", "kernel", "input (Γ)", "output", "calls", "verdict")
        rows = [
            (c.path or "(root)", c.kernel, shape(c.gamma), shape(c.output), str(c.calls), c.verdict)
            for c in self.candidates
        ]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        return "\n".join(
            "  " + "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in (head, *rows)
        )


def shape(size: Sequence[int]) -> str:
    """A shape without its batch, for people."""
    return "x".join(map(str, size[1:])) or "-"


def own_kernel(module: nn.Module) -> Tensor | None:
    """The convolution kernel that module itself owns, in any guise (weight, weight_orig, a parametrization); else None.

    A kernel has two spatial dimensions or more. A synthesis network's learned constant (1, C, H, W), per-channel scales
    (1, C, 1, 1) and buffers such as blur filters are no kernels; modulated kernels (1, out, in, kh, kw) are.
    """
    weight = getattr(module, "weight", None)  # some wrappers take it away and put it back at each forward
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


def image_of(output: Any) -> Tensor | None:
    """The image in what a generator returned: the largest tensor of 4 or 5 dimensions, the first of equals."""
    if isinstance(output, Tensor):
        return output if output.dim() in (4, 5) else None
    if isinstance(output, dict):
        output = tuple(output.values())
    if not isinstance(output, (tuple, list)):
        output = tuple(vars(output).values()) if hasattr(output, "__dict__") else ()
    images = [image for part in output if (image := image_of(part)) is not None]
    return max(images, key=lambda image: image[0].numel() if len(image) else 0, default=None)


def kernel_owners(generator: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module that owns a kernel, with its path; what the plugin inserted is left out."""
    for path, module in generator.named_modules():
        if CHILD not in path.split(".") and own_kernel(module) is not None:
            yield path, module


def predict(generator: nn.Module) -> str | None:
    """The path of D1 as far as the modules alone show it: the only kernel that makes 1 to 4 channels; else None."""
    makers = [path for path, module in kernel_owners(generator) if (_out_channels(module) or 99) <= 4]
    if len(makers) != 1:
        return None
    return climb(generator, makers[0])


def _out_channels(module: nn.Module) -> int | None:
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.out_channels
    weight = own_kernel(module)
    if weight is None or weight.dim() not in (4, 5):
        return None
    # Whichever of the two channel axes is smaller makes the image; a modulated kernel has a leading 1.
    return min(weight.shape[1:3]) if weight.dim() == 5 and weight.shape[0] == 1 else min(weight.shape[:2])


def in_channels(module: nn.Module) -> int | None:
    """The channels of the Γ that module consumes, where its kernel tells."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.in_channels
    for owner in module.modules():
        if isinstance(owner, nn.modules.conv._ConvNd):
            return owner.in_channels
    return None


def trace(generator: nn.Module, *args: Any, grad: bool = True, **kwargs: Any) -> Detection:
    """Follow one undisturbed forward pass of generator on these inputs to D1.

    Returns every candidate and the chosen site, or none with the reason in `why`.
    """
    candidates = {path: Candidate(path, module) for path, module in kernel_owners(generator)}
    fired: dict[str, Candidate] = {path: Candidate(path, module) for path, module in generator.named_modules()}
    clock = iter(range(1 << 60))

    def watch(path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            seen = fired[path]
            seen.calls, seen.order = seen.calls + 1, next(clock)
            gamma = next((t for t in inputs if isinstance(t, Tensor)), None)
            if gamma is not None:
                seen.gamma = tuple(gamma.shape)
                if path in candidates:
                    seen.density = float((gamma.detach() != 0).float().mean()) if gamma.numel() else 0.0
            image = image_of(output)
            if image is not None:
                seen.output = tuple(image.shape)
                # Taken now: an in-place tanh would put its own node into the tensor.
                seen.nodes.append(image.grad_fn)

        return hook

    handles = [m.register_forward_hook(watch(p)) for p, m in generator.named_modules() if CHILD not in p.split(".")]
    try:
        image = image_of(forward(generator, args, kwargs, grad))
    finally:
        for handle in handles:
            handle.remove()
    # A kernel whose module never ran was called behind its back by a wrapper: the nearest ancestor that ran stands in.
    for path in list(candidates):
        at = path
        while at and not fired[at].calls:
            at = at.rpartition(".")[0]
        del candidates[path]
        if at or path == "":
            candidates[at] = fired[at]
    detection = _choose(generator, candidates, image, lambda path: _matters(generator, path, args, kwargs))
    for seen in fired.values():
        seen.nodes.clear()
    return detection


def _choose(generator: nn.Module, candidates: dict[str, Candidate], image: Tensor | None, matters: Any) -> Detection:
    ran = tuple(sorted((c for c in candidates.values() if c.calls), key=lambda c: c.order))
    # A module around another candidate owns a kernel by accident; what it makes, the inner one makes.
    ran = tuple(c for c in ran if not any(o is not c and inside(o.path, c.path) for o in ran))
    if image is None:
        return Detection(ran, (), None, "it returned no image, a tensor of shape (N, channels, H, W)")
    size = tuple(image.shape)
    if not ran:
        return Detection(ran, size, None, "no module with a convolution kernel ran, so it has no dictionary")
    makers = _makers(image, ran)
    for c in ran:
        if c.output != size:
            c.verdict = "output has not the image's shape"
        elif makers is not None and c not in makers:
            c.verdict = "the image is not computed from its output directly"
        elif c.path == "" and list(generator.children()):
            c.verdict = "the whole generator: its convolution is no module"
    able = [c for c in ran if not c.verdict]
    if len(able) > 1:
        for c in able:
            if not matters(c.path):
                c.verdict = "the image is the same without it"
        able = [c for c in able if not c.verdict]
    if len(able) > 1:
        return Detection(ran, size, None, f"{len(able)} convolutions make the image together")
    if not able:
        return Detection(ran, size, None, f"no convolution gives the image, {shape(size)}, as its output")
    d1 = able[0]
    if d1.calls != 1:
        d1.verdict = f"called {d1.calls} times in one forward"
        return Detection(ran, size, None, f"{d1.path} is called {d1.calls} times in one forward")
    path = climb(generator, d1.path)
    d1.verdict = "D1" + (f"; Γ is read at {path}, before its padding" if path != d1.path else "")
    return Detection(ran, size, Site(path), "the only convolution that makes the image")


def inside(path: str, of: str) -> bool:
    """Whether the module at path is below the one at of."""
    return path != of and (of == "" or path.startswith(of + "."))


def _makers(image: Tensor, ran: Sequence[Candidate]) -> list[Candidate] | None:
    """The candidates that the image is computed from with no other candidate between; None where there is no graph."""
    if image.grad_fn is None:
        return None
    owner = {id(node): c for c in ran for node in c.nodes}
    found: list[Candidate] = []
    todo: list[Any] = [image.grad_fn]
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if id(node) in owner:
            found.append(owner[id(node)])
        else:
            todo.extend(parent for parent, _ in node.next_functions)
    return found


def _matters(generator: nn.Module, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the image changes when the module's output is left out."""

    def silence(module: nn.Module, inputs: Any, output: Any) -> Any:
        return torch.zeros_like(output) if isinstance(output, Tensor) else output

    with undisturbed(generator):
        plain = image_of(forward(generator, args, kwargs))
        handle = generator.get_submodule(path).register_forward_hook(silence)
        try:
            without = image_of(forward(generator, args, kwargs))
        finally:
            handle.remove()
    assert plain is not None and without is not None
    return not torch.equal(plain, without)


def climb(generator: nn.Module, path: str) -> str:
    """The module at which Γ is read, for the convolution at path: where padding stands before it, Γ is not padded yet.

    In a Sequential of its own, padding and resampling with their convolution are one synthesis, read at its input. In a
    longer Sequential Γ is the input of the padding.
    """
    parent_path, _, name = path.rpartition(".")
    parent = generator.get_submodule(parent_path)
    if not isinstance(parent, nn.Sequential):
        return path
    names = [key for key, _ in parent.named_children()]
    before = [parent.get_submodule(key) for key in names[: names.index(name)]]
    rest = [module for key in names[names.index(name) + 1 :] for module in parent.get_submodule(key).modules()]
    if (
        parent_path
        and before
        and all(_prepares(m) for m in before)
        and not any(own_kernel(m) is not None for m in rest)
    ):
        return parent_path
    first = names.index(name)
    while first > 0 and _pads(before[first - 1]):
        first -= 1
    return ".".join(filter(None, (parent_path, names[first])))


def _pads(module: nn.Module) -> bool:
    return "Pad" in type(module).__name__ and not any(True for _ in module.parameters())


def _prepares(module: nn.Module) -> bool:
    kinds = (nn.Upsample, nn.Identity, nn.Dropout, nn.Dropout2d)
    return _pads(module) or isinstance(module, kinds)


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


def detect(generator: nn.Module, *args: Any, **kwargs: Any) -> Site:
    """The site of Γ_1: the input of the last synthesis convolution before the image.

    generator is run once on args and kwargs (its own inputs), and left as it was. Raises SiteError with the table of
    candidates where D1 cannot be told.
    """
    found = trace(generator, *args, **kwargs)
    if found.site is None:
        raise SiteError(
            f"cannot tell where the representation of {type(generator).__name__} is: {found.why}. "
            f'Name the module whose input it is, as in sites=["path"]. What ran:\n{found.table()}'
        )
    return found.site


def check(generator: nn.Module, site: Site) -> nn.Module:
    """The module at an explicit site. Raises SiteError where there is none, or it is no place for a representation."""
    modules = dict(generator.named_modules())
    if site.path not in modules:
        near = one_of("module", site.path, [p for p in modules if p and CHILD not in p.split(".")][:200])
        raise SiteError(f"site {site.path!r} does not exist in {type(generator).__name__}: {near}")
    module: nn.Module = modules[site.path]
    if site.path == "" and list(generator.children()):
        raise SiteError("a site cannot be the whole generator: hosts call its forward directly, past every hook")
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        raise SiteError(
            f"site {site} is a {type(module).__name__}, which parallel wrappers replace; name the convolution after it"
        )
    synthesis = generator.get_submodule(convolution(generator, site))
    if site.side == "input" and not any(own_kernel(m) is not None for m in synthesis.modules()):
        owners = ", ".join(path for path, _ in kernel_owners(generator)) or "none"
        raise SiteError(
            f"site {site} is a {type(module).__name__}, not a synthesis convolution; modules with a kernel are {owners}"
        )
    return module
