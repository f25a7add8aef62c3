"""The fields of an experiment, as its file gives them: checked one by one before anything is made of them."""

import inspect
import itertools
import keyword
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vision_attn.plan import LONGEST_LEVEL, RESERVED, Level
from vision_attn.spec import InputError, Spec, short

MOST_LEVELS = 100_000


def mapping(what: str, given: Any) -> Mapping[str, Any]:
    """A dict whose keys are texts."""
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be a dict. Got {short(given)} instead.")
    for name in given:
        if not isinstance(name, str):
            raise InputError(f"names in {what} must be texts. Got {short(name)} instead.")
    return given


def factors(what: str, given: Any, *, known: Iterable[str] | None = None) -> dict[str, tuple[Level, ...]]:
    """Factors with their levels; `known` are those there may be."""
    found = {}
    for name, levels in mapping(what, given).items():
        if known is not None and name not in known:
            raise InputError(f"{what} must give levels of factors ({', '.join(known)}). Got {name!r} instead.")
        if not name.isidentifier() or keyword.iskeyword(name):
            allowed = "a name that an argument of run can have: letters, digits and '_', and no word of Python"
            raise InputError(f"factor must be {allowed}. Got {name!r} instead.")
        if name in RESERVED:
            raise InputError(f"factor must be a name other than {', '.join(sorted(RESERVED))}. Got {name!r} instead.")
        found[name] = _levels(name, levels)
    return found


def _levels(name: str, given: Any) -> tuple[Level, ...]:
    """The levels of a factor as plain texts and numbers, in their order."""
    if isinstance(given, str | bytes | Mapping | set | frozenset) or not isinstance(given, Iterable):
        hint = f": write ({given!r},)" if isinstance(given, str | int | float) else ""
        hint = f": write tuple({short(list(given))})" if isinstance(given, Mapping) else hint
        raise InputError(f"levels of factor {name!r} must be a tuple or list. Got {short(given)} instead{hint}.")
    levels = tuple(_plain(level) for level in itertools.islice(given, MOST_LEVELS + 1))
    if not levels:
        raise InputError(f"levels of factor {name!r} must be at least one. Got none instead.")
    if len(levels) > MOST_LEVELS:
        raise InputError(f"levels of factor {name!r} must be at most {MOST_LEVELS:,}. Got more.")
    for level in levels:
        _check_level(name, level)
    if len(set(levels)) != len(levels) or len(set(map(str, levels))) != len(levels):
        raise InputError(f"levels of factor {name!r} must differ, also as texts. Got {short(levels)} instead.")
    return levels


def _check_level(factor: str, level: Any) -> None:
    what = f"levels of factor {factor!r}"
    if not isinstance(level, str | int | float):
        raise InputError(f"{what} must be texts or numbers. Got {short(level)} instead.")
    if isinstance(level, str) and not (level.isprintable() and level.strip() and len(level) <= LONGEST_LEVEL):
        allowed = f"1 to {LONGEST_LEVEL} characters that can be printed, not all of them spaces"
        raise InputError(f"{what} that are texts must have {allowed}. Got {short(level)} instead.")
    if isinstance(level, int) and not -(2**63) <= level < 2**63:
        raise InputError(f"{what} must be below 2**63. Got {short(level)} instead.")
    if isinstance(level, float) and not math.isfinite(level):
        raise InputError(f"{what} must be finite. Got {short(level)} instead.")


def _plain(level: Any) -> Any:
    """A scalar of numpy, or one of a class derived from Python's own, as Python's own."""
    numpy = sys.modules.get("numpy")  # verbs that only look do without it; where there is a scalar of it, it is there
    if numpy is not None and isinstance(level, numpy.generic):
        level = level.item()
    if isinstance(level, str):
        return "".join(level)
    own = next((kind for kind in (bool, int, float) if isinstance(level, kind)), None)
    return level if own is None else own(level)


def specs(field: str, given: Any, kind: type[Spec]) -> tuple[Any, ...]:
    """The probes, figures or verdicts, as a tuple."""
    name = kind.__name__
    if not isinstance(given, tuple | list):
        hint = f": write ({given!r},)" if isinstance(given, kind) else ""
        raise InputError(f"{field} of Experiment must be a tuple, each a {name}. Got {short(given)} instead{hint}.")
    for one in given:
        if not isinstance(one, kind):
            hint = f": write {one.__name__}()" if isinstance(one, type) and issubclass(one, kind) else ""
            raise InputError(f"{field} of Experiment must each be a {name}. Got {short(one)} instead{hint}.")
    return tuple(given)


def check_run(run: Any, factors: Sequence[str]) -> None:
    """Raise `InputError` unless `run` is a function that takes every factor by its name, and nothing else."""
    allowed = f"must take one argument for each factor ({', '.join(factors)})"
    try:
        parameters = inspect.signature(run).parameters.values()
    except (TypeError, ValueError):
        raise InputError(f"run of Experiment must be a function and {allowed}. Got {short(run)} instead.") from None
    named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if named != set(factors) or len(named) != len(parameters):
        given = ", ".join(sorted(str(one).partition(":")[0] for one in parameters)) or "none"
        given += ", /" * any(one.kind is one.POSITIONAL_ONLY for one in parameters)
        raise InputError(f"run of Experiment {allowed}. Got {given} instead.")
