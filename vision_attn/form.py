"""Form: whether the JSON of a plan has the parts that a plan has; where it has not, and what belongs there.

A form is a type, a tuple of types, a list with the form of every item, or a dict: with `str` as its only key the form
of every value, else the fields that must be there, each with its form.
"""

import itertools
from collections.abc import Callable
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
    if not _all_fit([data], form) and (wrong := misfit(data, form)) is not None:
        raise InputError(f"plan{wrong[0]} must be {wrong[1]}, as `vision-attn plan --json` shows it. It is not.")
    runs, names = data["runs"], data["factors"].keys()
    for place, cell in enumerate(data["cells"]):
        if cell["run"] not in runs or cell["factors"].keys() != names:
            raise InputError(f"plan.cells[{place}] must be of the factors and of a run of the plan. It is not.")


def _all_fit(parts: list[Any], form: Any) -> bool:
    """Whether parts have the same form: told of all of them at once, which for 100,000 takes a tenth of the time."""
    kinds = set(map(type, parts))
    if isinstance(form, list):
        return kinds <= {list} and _all_fit(list(itertools.chain.from_iterable(parts)), form[0])
    if not isinstance(form, dict):
        return kinds <= set(form if isinstance(form, tuple) else (form,))
    if not kinds <= {dict}:
        return False
    if str in form:
        return _all_fit([inner for part in parts for inner in part.values()], form[str])
    return all(
        all(name in part for part in parts) and _all_fit([part[name] for part in parts], inner)
        for name, inner in form.items()
    )


def misfit(data: Any, form: Any) -> tuple[str, str] | None:
    """The place of the first part that has not its form, as .cells[3].run, and what belongs there; None if all fit."""
    if isinstance(form, dict):
        return _in_object(data, form)
    if isinstance(form, list):
        if type(data) is not list:
            return "", NAMES[list]
        return _first(enumerate(data), "[{}]".format, lambda place: form[0])
    allowed = form if isinstance(form, tuple) else (form,)
    return None if type(data) in allowed else ("", " or ".join(NAMES[one] for one in allowed))


def _in_object(data: Any, form: dict[Any, Any]) -> tuple[str, str] | None:
    if type(data) is not dict:
        return "", NAMES[dict]
    if str in form:
        return _first(data.items(), ".{}".format, lambda name: form[str])
    if missing := [name for name in form if name not in data]:
        return f".{missing[0]}", "there"
    return _first(((name, data[name]) for name in form), ".{}".format, form.__getitem__)


def _first(parts: Any, named: Callable[[Any], str], form: Callable[[Any], Any]) -> tuple[str, str] | None:
    for place, part in parts:
        if (found := misfit(part, form(place))) is not None:
            return named(place) + found[0], found[1]
    return None
