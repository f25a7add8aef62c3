"""What the arguments of layers may be, in one sentence each: the argument, what is allowed, what was given."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from vision_attn.layers.symbolic import is_integer


def require(holds: bool, field: str, what: str, allowed: str, given: Any) -> None:
    if not holds:
        raise ValueError(f"{field} of {what} must be {allowed}. Got {given!r} instead.")


def whole(field: str, what: str, value: Any, *, least: int = 1) -> int:
    """An integer of at least so much; 2.0 and True are none."""
    require(is_integer(value) and value >= least, field, what, f"an integer, at least {least}", value)
    return int(value)


def odd(field: str, what: str, value: Any) -> int:
    """The side of a kernel that has a middle."""
    require(is_integer(value) and value >= 1 and value % 2 == 1, field, what, "an odd integer, at least 1", value)
    return int(value)


def above_0(field: str, what: str, value: Any) -> float:
    require(is_number(value) and value > 0, field, what, "a finite number more than 0", value)
    return value


def switch(field: str, what: str, value: Any) -> bool:
    """True or False; any text would be true."""
    require(isinstance(value, bool | Integral) and value in (0, 1), field, what, "True or False", value)
    return bool(value)


def is_number(value: Any) -> bool:
    """Whether it is a finite number, numpy's too; True is none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_among(value: Any, options: Iterable[str]) -> bool:
    """Whether it is one of some names; what is no text, such as an array, is none."""
    return isinstance(value, str) and value in options
