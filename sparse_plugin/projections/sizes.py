"""How many coefficients k stands for: an int counts them, a float in (0, 1] is the fraction (density) kept."""

from __future__ import annotations

import math
import numbers
from fractions import Fraction

from sparse_plugin.errors import ConfigError, shown

# Of a count: what a tensor can have elements at all.
LARGEST = 2**63 - 1


class AtLeastOne(float):
    """A fraction that was measured and not given: of however few coefficients, one is kept."""


def check_k(k: object) -> int | float:
    """The same k, as a plain int or float, when it is one of the two things that k can be.

    An int >= 0 counts coefficients and a float in (0, 1] is the fraction of them that is kept: 1 keeps one, 1.0 all.
    Anything else (a bool, a string, a negative count, 16.0) raises `ConfigError`.
    """
    if isinstance(k, numbers.Integral) and not isinstance(k, bool):
        if int(k) > LARGEST or int(k) < -LARGEST:
            raise ConfigError(
                "k is an integer beyond the size of any representation; write 1.0 to keep every coefficient"
            )
        if int(k) >= 0:
            return int(k)
        raise ConfigError(f"k is {k}, a negative count; write how many coefficients to keep, 0 or more")
    if isinstance(k, numbers.Real) and not isinstance(k, bool):
        try:
            fraction = float(k)
        except OverflowError:
            fraction = math.inf
        if 0.0 < fraction <= 1.0:
            return k if isinstance(k, AtLeastOne) else fraction
        if fraction.is_integer() and fraction > 1.0:
            advice = f"write {int(fraction)} for {int(fraction)} coefficients or a fraction in (0, 1]"
        elif fraction == 0.0:
            advice = "write 0 to keep no coefficient or a fraction in (0, 1]"
        elif math.isfinite(fraction):
            advice = "write an int for a number of coefficients or a fraction in (0, 1]"
        else:
            advice = "a fraction is in (0, 1]; write 1.0 to keep every coefficient"
        raise ConfigError(f"k is the float {fraction}, which is no fraction of the coefficients; {advice}")
    others = ", or auto as a setting of a regularizer" if isinstance(k, str) else ""
    raise ConfigError(
        f"k is {shown(k)}, of type {type(k).__name__}; write an int for a number of coefficients or a float in (0, 1] for "
        f"the fraction kept{others}"
    )


def resolve_k(k: int | float, size: int) -> int:
    """The number of coefficients that k keeps among `size` of them.

    An int is min(k, size); a fraction keeps the largest number whose share of size is not above it, so that 0.25 of 30 is 7.
    A size that is a symbol of torch.export gives a symbol.

    Raises `ConfigError` for the k that `check_k` refuses, and for a fraction of less than one coefficient that is not
    `AtLeastOne`: nothing would be left of Γ.
    """
    k = check_k(k)
    if not isinstance(size, int):
        return _symbolic(k, size)
    if isinstance(k, int):
        return min(k, size)
    if not size:
        return 0
    count = min(int(k * size), size)
    # The product of floats may fall on the wrong side of a whole number, as 0.29 * 100 does; the share does not.
    if count < size and (count + 1) / size <= k:
        count += 1
    elif count / size > k:
        count -= 1
    if count == 0 and isinstance(k, AtLeastOne):
        return 1
    if count == 0:
        raise ConfigError(
            f"k is the fraction {k}, and of {size} coefficients that is less than one, so that nothing would be left; give a "
            "larger fraction, or the int 1 for one coefficient"
        )
    return count


def _symbolic(k: int | float, size: int) -> int:
    """The same without deciding anything of size: of a fraction, in integers."""
    if isinstance(k, int):
        import torch

        least: int = torch.sym_min(k, size)  # type: ignore[assignment]
        return least
    share = Fraction(k).limit_denominator(10**9)  # what the float stands for: 1/3, 29/100
    kept = size * share.numerator // share.denominator
    if isinstance(k, AtLeastOne):
        import torch

        kept = torch.sym_max(kept, 1)  # type: ignore[assignment]
    return kept
