"""Differences to a reference, seed by seed: what the seeds share cancels out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.spec import InputError
from vision_attn.statistics.intervals import mean_interval
from vision_attn.statistics.tails import ROUNDING

PAIRED = ("value of a pair", "reference of a pair", "difference of a pair")
"""Names for what `pairs` adds where its other columns may have any name, such as factors."""


def pairs(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    by: Sequence[str],
    pair_on: Sequence[str],
    compare: str = "model",
    reference: Any,
    names: tuple[str, str, str] = ("value", "reference", "difference"),
) -> pd.DataFrame:
    """Every value of the other levels of `compare` beside the reference's of the same `by` and `pair_on`.

    One row a pair: `by`, `compare`, `pair_on`, value, reference, difference = value - reference, 0 where no more than
    rounding; `names` are those of the last three. Where one of the two is missing the row is there and its difference
    is missing. Raises `InputError` where another column has one of the names, or the pairs cannot be told.
    """
    keys, (first, second, third) = [*by, *pair_on], names
    if taken := [name for name in (*keys, compare) if name in names]:
        allowed = f"columns other than {', '.join(names)}, or `names` given"
        raise InputError(f"by, pair_on and compare of a paired difference must be {allowed}. Got {taken[0]!r} instead.")
    values = frame[[*keys, compare, value]].rename(columns={value: first})
    levels = _levels(values[compare])
    if reference not in levels:
        allowed = ", ".join(map(repr, levels)) or "measured: there are no values"
        raise InputError(f"reference of a paired difference must be one of {allowed}. Got {reference!r} instead.")
    if values.duplicated([*keys, compare]).any():
        twice = values[values.duplicated([*keys, compare])].iloc[0]
        cell = ", ".join(f"{name}={twice[name]}" for name in [*keys, compare])
        raise InputError(f"pair_on must leave one value a cell. Got several for {cell} instead.")
    own = values[values[compare] == reference].drop(columns=compare).rename(columns={first: second})
    parts = []
    for level in levels:
        if level != reference:
            other = values[values[compare] == level].drop(columns=compare)
            part = other.merge(own, on=keys, how="outer")
            part[compare] = pd.Categorical([level] * len(part), categories=levels, ordered=True)
            parts.append(part)
    out = pd.concat(parts, ignore_index=True) if parts else own.iloc[:0].assign(**{first: [], compare: []})
    difference = out[first] - out[second]
    rounding = ROUNDING * np.maximum(out[first].abs(), out[second].abs())
    out[third] = difference.mask(difference.abs() <= rounding, 0.0)
    return out[[*by, compare, *pair_on, *names]]


def paired_difference(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    by: Sequence[str],
    pair_on: Sequence[str],
    compare: str = "model",
    reference: Any,
    level: float = 0.95,
) -> pd.DataFrame:
    """The mean difference to the reference over pairs, with its Student-t interval, in every group of `by`.

        d_s = value(level, s) - value(reference, s),   mean(d) ± t(n - 1, (1 + level) / 2) * sd(d) / sqrt(n)

    One row a group and other level: `by`, `compare`, estimate, low, high, n (pairs), sd, dropped, dropped_pairs:
    how many values had no partner, and which: "seed=2 (without ResNet)".
    """
    options = {"compare": compare, "reference": reference, "names": PAIRED}
    both = pairs(frame, value=value, by=by, pair_on=pair_on, **options)
    keys, (_, second, third) = [*by, compare], PAIRED
    out = mean_interval(both, value=third, by=keys, level=level)
    alone = both[both[third].isna()]
    names = [
        ", ".join(f"{name}={row[name]}" for name in pair_on)
        + f" (without {reference if pd.isna(row[second]) else row[compare]})"
        for row in alone.to_dict("records")
    ]
    said = alone.assign(dropped_pairs=names).groupby(keys, observed=True, dropna=False)["dropped_pairs"]
    dropped = said.agg(dropped="size", dropped_pairs="; ".join).reset_index()
    out = out.merge(dropped, on=keys, how="left")
    out["dropped"] = out["dropped"].fillna(0).astype(int)
    out["dropped_pairs"] = out["dropped_pairs"].astype(object).fillna("")
    return out


def _levels(column: pd.Series) -> list[Any]:
    """The levels that occur, in the order of the plan where the column knows it, else of first occurrence."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(column)
        return [level for level in column.cat.categories if level in present]
    return list(column.drop_duplicates())
