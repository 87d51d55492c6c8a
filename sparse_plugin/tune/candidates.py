"""What is raced: regularizers at levels around the natural density of Γ, at D1 and at other sites; and vanilla."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import get
from sparse_plugin.registry.auto import DENSE
from sparse_plugin.registry.base import Constraint
from sparse_plugin.runs import sparsity
from sparse_plugin.runs.methods import VANILLA, Method, methods

DEFAULT_METHODS = ("l0_inf", "l0", "l1", "ml_csc")
# Shares of the natural density that a constraint keeps, the middle one where sweeps had their best; and of a penalty's
# default weight.
SHARES = (0.35, 0.5, 0.75)
WEIGHTS = (0.1, 1.0, 10.0)
# The share whose distortion at D1 is matched at other sites.
MIDDLE = 0.5
# k of a Γ that is dense by nature, where the regularizer declares none.
FALLBACK = 0.25
# File systems take names of 255 bytes.
_LONGEST = 120


@dataclass(frozen=True)
class Candidate:
    """One thing to attach. sparse: None for vanilla. share: of the natural density, None where it has none. site: None for D1."""

    name: str
    sparse: SparsityConfig | None = field(default=None, hash=False)
    share: float | None = None
    site: str | None = None

    @property
    def label(self) -> str:
        """For people and directories: "l0_inf-k=0.25", "l0-k=0.4@blocks.2"."""
        sparse = None if self.sparse is None else self.sparse.with_(sites=[])
        label = Method(self.name, sparse).label + ("" if self.site is None else f"@{self.site}")
        if len(label.encode()) <= _LONGEST:
            return label
        return f"{label[:40]}-{hashlib.sha256(label.encode()).hexdigest()[:12]}"


VANILLA_CANDIDATE = Candidate(VANILLA)


@dataclass(frozen=True)
class Natural:
    """What vanilla's Γ is like, from a vanilla run that is raced anyway.

    density: of each site, or encoder scale, 0 to 1. channels: of each, None where they were not seen. matched: by
    regularizer and site, the k whose distortion is that of the middle share at D1.
    """

    density: tuple[float, ...]
    channels: tuple[int | None, ...]
    matched: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """Whether Γ is dense by nature everywhere: a share of it says nothing."""
        return all(density >= DENSE for density in self.density)


def wanted(
    asked: Iterable[str],
    shares: Sequence[float],
    sites: Sequence[str] = (),
    imports: Iterable[str] = (),
    arch: str = "",
) -> list[Candidate]:
    """The candidates, vanilla aside, before the natural density is known: those with a share have no k yet.

    asked: methods; one with settings, as "l0:k=0.2", is raced as it is. shares: of the natural density. sites: further ones,
    at which constraints alone are raced. arch: whose defaults hold. Raises ConfigError for what there is not, and for nothing.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise ConfigError(f"a share of the natural density is {share:g}; give shares above 0 and up to 1, as in 0.35,0.5,0.75")
    if not shares:
        raise ConfigError("no shares of the natural density are given; give one or more, as in 0.35,0.5,0.75")
    imports = list(imports)
    found: list[Candidate] = []
    for text in asked:
        if text == VANILLA:
            continue
        name = text.partition(":")[0]
        if ":" in text:
            method = methods([text], arch, imports)[0]
            found.append(Candidate(name, method.sparse))
        else:
            found += _levels(name, shares, sites, imports, arch)
    labels = [(each.name, each.share, each.site, each.label) for each in found]
    if not found:
        raise ConfigError("nothing is raced against vanilla; give --methods, as in l0_inf,l1")
    if len(set(labels)) < len(labels):
        raise ConfigError("--methods names one thing twice; name each once")
    return found


def _levels(name: str, shares: Sequence[float], sites: Sequence[str], imports: list[str], arch: str) -> list[Candidate]:
    """The levels of a regularizer that is named without settings."""
    bare = SparsityConfig(regularizer=name, imports=imports)
    bare.load_imports()
    cls = get(name)
    if "k" in cls.model_fields and issubclass(cls, Constraint):
        found = [Candidate(name, bare, share) for share in shares]
        elsewhere = () if "levels" in cls.model_fields else sites  # dictionaries are inserted before D1 alone
        return found + [Candidate(name, bare.with_(sites=[site]), MIDDLE, site) for site in elsewhere]
    weight = sparsity.settings(arch, name).get("weight")
    if isinstance(weight, (int, float)):
        return [Candidate(name, bare.with_settings(weight=float(f"{weight * each:.3g}"))) for each in WEIGHTS]
    if "weight" in cls.model_fields:
        raise ConfigError(f"{name} has no default weight here; give the ones to race, as in {name}:weight=0.1,{name}:weight=1")
    return [Candidate(name, methods([name], arch, imports)[0].sparse)]


def settled(candidate: Candidate, natural: Natural, arch: str = "") -> Candidate:
    """The candidate with its k, a share of the natural density of Γ; or of its default where Γ is dense by nature."""
    if candidate.share is None or candidate.sparse is None:
        return candidate
    if candidate.site is not None:
        return replace(candidate, sparse=candidate.sparse.with_settings(k=natural.matched[candidate.name][candidate.site]))
    ks = [
        k_of(candidate.share, density, channels, default_k(candidate.name, arch))
        for density, channels in zip(natural.density, natural.channels, strict=True)
    ]
    return replace(candidate, sparse=candidate.sparse.with_settings(k=ks[0] if len(ks) == 1 else ks))


def default_k(name: str, arch: str) -> float:
    """The fraction that a regularizer keeps where nobody says, FALLBACK where it declares none."""
    declared = sparsity.settings(arch, name).get("k")
    return declared if isinstance(declared, float) else FALLBACK


def k_of(share: float, density: float, channels: int | None, default: float) -> float:
    """share · density, of a Γ that is dense by nature share / MIDDLE · default; no less than one of the channels."""
    k = share * density if density < DENSE else min(1.0, share / MIDDLE * default)
    return rounded(max(k, 0.0 if channels is None else 1 / channels))


def rounded(k: float) -> float:
    """k to three digits, never less than it is."""
    short = float(f"{k:.3g}")
    return short if short >= k else min(1.0, float(f"{k * 1.005:.3g}"))
