"""The schema of a plan: whether JSON has the parts that a plan has; where it has not, and what belongs there.

A form is a type, a tuple of types, a list with the form of every item, or a dict: with `str` as its only key the form
of every value, else the fields that must be there, each with its form.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from vision_attn.spec import InputError

LEVEL = (str, int, float, bool)
SPEC = {"kind": str}
FORM = {
    "name": str,
    "question": str,
    "factors": {str: [LEVEL]},
    "cells": [{"factors": {str: LEVEL}, "run": str}],
    "omitted": [{"factors": {str: LEVEL}}],
    "runs": {str: {"hint": str, "run": dict, "skips": {str: str}}},
    "probes": [SPEC],
    "figures": [SPEC],
}
"""What the JSON of a plan has in every version."""
OPTIONAL = {
    "schema": int,
    "verdicts": [SPEC],
    "defaults": {str: dict},
    "experiment": str,
    "preset": (str, type(None)),
    "levels": {str: [LEVEL]},
    "smoke": bool,
    "sources": {str: str},
}
"""What it has only in later ones."""

NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object"}
NAMES |= {list: "a list", type(None): "null"}


def check(data: Any) -> None:
    """Raise `InputError` where JSON is not that of a plan: the part, and what it must be."""
    form = FORM | {name: one for name, one in OPTIONAL.items() if name in data} if isinstance(data, dict) else FORM
    if missing := [name for name in form if isinstance(data, dict) and name not in data]:
        raise InputError(f"a plan must have the field {missing[0]!r}. It does not.")
    if (wrong := misfit([data], form)) is not None:
        _, where, allowed = wrong
        raise InputError(f"plan{where} must be {allowed}, as `vision-attn plan --json` shows it. It is not.")
    runs, names = data["runs"], data["factors"].keys()
    for place, cell in enumerate(data["cells"]):
        if cell["run"] not in runs or cell["factors"].keys() != names:
            raise InputError(f"plan.cells[{place}] must be of the factors and of a run of the plan. It is not.")


def misfit(parts: Sequence[Any], form: Any) -> tuple[int, str, str] | None:
    """Which of some parts of one form has not that form, where in it, as .cells[3].run, and what belongs there.

    None where all fit. Looked at all at once, and not one after another, 100,000 take a tenth of the time.
    """
    kinds: Any = (type(form),) if isinstance(form, dict | list) else form if isinstance(form, tuple) else (form,)
    if not set(map(type, parts)) <= set(kinds):
        number = next(number for number, part in enumerate(parts) if type(part) not in kinds)
        return number, "", " or ".join(NAMES[kind] for kind in kinds)
    if isinstance(form, list):
        found = misfit(list(itertools.chain.from_iterable(parts)), form[0])
        return found and _placed(found, [range(len(part)) for part in parts], "[{}]")
    if not isinstance(form, dict):
        return None
    if str in form:
        found = misfit([inner for part in parts for inner in part.values()], form[str])
        return found and _placed(found, [list(part) for part in parts], ".{}")
    for name, inner in form.items():
        try:
            own = [part[name] for part in parts]
        except KeyError:
            return next(number for number, part in enumerate(parts) if name not in part), f".{name}", "there"
        if (found := misfit(own, inner)) is not None:
            number, place, allowed = found
            return number, f".{name}{place}", allowed
    return None


def _placed(found: tuple[int, str, str], names: Iterable[Sequence[Any]], text: str) -> tuple[int, str, str]:
    """What was found among the inner parts of several, told of the one that it is in; `names` are those of all."""
    number, place, allowed = found
    for owner, own in enumerate(names):
        if number < len(own):
            return owner, text.format(own[number]) + place, allowed
        number -= len(own)
    raise AssertionError("there is no such part")
