"""Rows: very many of them with few different sets of names, in a fraction of the memory that dicts take."""

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Packed = tuple[tuple[str, ...], tuple[Any, ...]]
"""The names and the cells of a row."""


def packed(row: Mapping[str, Any]) -> Packed:
    """A row in little memory: rows of the same names share these, equal texts are one."""
    cells = [sys.intern(cell) if type(cell) is str else cell for cell in row.values()]
    return _one(tuple(row)), tuple(cells)


def columns(rows: Iterable[tuple[str, Packed]], *, always: Sequence[str]) -> dict[str, list[Any]]:
    """The cells by name, after `run`, which stands before each row; None where a row has no such name.

    The columns `always` come first, the others in the order in which they are met.
    """
    runs: list[Any] = []
    alike: dict[tuple[str, ...], tuple[list[int], list[tuple[Any, ...]]]] = {}
    for place, (run, (names, cells)) in enumerate(rows):
        runs.append(run)
        places, members = alike.setdefault(names, ([], []))
        places.append(place)
        members.append(cells)
    found = {"run": runs} | {name: [None] * len(runs) for name in always}
    for names, (places, members) in alike.items():
        for name, column in zip(names, zip(*members, strict=True), strict=True):
            into = found.setdefault(name, [None] * len(runs))
            for place, cell in zip(places, column, strict=True):
                into[place] = cell
    return found


@functools.lru_cache(maxsize=4096)
def _one(names: tuple[str, ...]) -> tuple[str, ...]:
    return names
