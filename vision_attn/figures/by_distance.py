"""By distance: accuracy by distance, with distance as a factor or as a coordinate of the probe AccuracyByDistance."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vision_attn.records import Records, pick, planned, require_factor
from vision_attn.spec import InputError
from vision_attn.wording import is_number


def by_distance(
    records: Records, *, what: str, metric: str, split: str, x: str, direction: bool = False
) -> pd.DataFrame:
    """The values of a metric with a column `x`, and one `direction` where every direction is wanted.

    Where `x` is a factor the values of the probe Accuracy are taken, or of AccuracyByDistance where there are none.
    Raises `InputError` in the name of `what` where `x` is neither a factor nor measured, or has levels that are no
    numbers.
    """
    is_factor = x in records.plan.factors
    if not is_factor and len(records.values) and x not in records.values:
        require_factor(records.plan, "x", what, x)
    names = (x, "direction") if direction else (x,)
    found = pick(records, metric, at={"split": split}, along=names if direction or not is_factor else ())
    if is_factor and not direction and found.empty:
        found = pick(records, metric, at={"split": split}, along=names)
    found = found.reindex(columns=[*dict.fromkeys([*found.columns, *names])])
    levels = records.plan.factors[x] if is_factor else found[x].dropna().unique().tolist()
    if wrong := [level for level in levels if not is_number(level)]:
        allowed = f"a {'factor' if is_factor else 'coordinate'} of numbers"
        raise InputError(f"x of {what} must be {allowed}. Got {wrong[0]!r} in {x!r} instead.")
    return found


def distances(records: Records, values: pd.DataFrame, x: str) -> list[Any]:
    """The levels of `x`: those of the plan, or those measured; 0 stands in as long as there are none."""
    measured = sorted(values[x].dropna().unique()) if x in values else []
    return list(records.plan.factors.get(x, measured or [0]))


def cells(records: Records, values: pd.DataFrame, *, by: Sequence[str], x: str) -> pd.DataFrame:
    """How many cells are planned at every combination of `by` and level of `x`."""
    if x in records.plan.factors:
        return planned(records, [*by, x])
    return planned(records, by).merge(pd.DataFrame({x: distances(records, values, x)}), how="cross")
