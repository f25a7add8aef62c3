"""Rows: very many of them with few different sets of names, in a fraction of the memory that dicts take."""

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Packed = tuple[tuple[str, ...], tuple[Any, ...]]
"""The names and the cells of a row."""


def packed(row: Mapping[str, Any]) -> Packed:
    """A row in little memory: rows of the same names share these, equal texts are one."""
    cells = tuple(sys.intern(cell) if type(cell) is str else cell for cell in row.values())
    return _one(tuple(row)), cells


def columns(rows: Iterable[tuple[str, Packed]], *, always: Sequence[str]) -> dict[str, list[Any]]:
    """The cells by name, after `run`, which stands before each row; None where a row has no such name.

    The columns `always` come first, the others in the order in which they are met.
    """
    found: dict[str, list[Any]] = {name: [] for name in ("run", *always)}
    count = 0
    for run, (names, cells) in rows:
        for name, cell in zip(("run", *names), (run, *cells), strict=True):
            column = found.setdefault(name, [])
            column.extend([None] * (count - len(column)))
            column.append(cell)
        count += 1
    for column in found.values():
        column.extend([None] * (count - len(column)))
    return found


@functools.lru_cache(maxsize=4096)
def _one(names: tuple[str, ...]) -> tuple[str, ...]:
    return names
