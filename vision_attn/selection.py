"""Selection: the level of a factor, such as the learning rate, that every model does best with on validation images."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.plan import Cell
from vision_attn.records import Records, column, require_factor, require_level, rows_at
from vision_attn.spec import InputError

Levels = Sequence[tuple[str, Any]]


def selections(
    records: Records,
    *,
    over: str = "learning_rate",
    by: Sequence[str] = ("model",),
    metric: str = "val_accuracy",
) -> pd.DataFrame:
    """The mean final `metric` of every level of `over` in every group of `by`, and which level is chosen.

    Final is what the last update logged with it says; a run that diverged counts as 0. The highest mean is chosen,
    of equal ones the first in order of size. Where a group has no value yet, its first level stands in.
    One row a group and level: `by`, `over`, estimate, n (runs), chosen. Raises `InputError` where runs have ended
    and none was validated.
    """
    for name in (over, *by):
        require_factor(records.plan, "over", "a selection", name)
    name = column(records, metric)
    ended = finals(records, name)
    if (records.runs["state"] == "done").any() and not (ended["value"] > 0).any():
        raise InputError(f"metric of a selection must be logged in the history. Got {metric!r} instead.")
    out = records.runs[[*by, over]].drop_duplicates().sort_values([*by, over]).reset_index(drop=True)
    groups = ended.groupby([*by, over], observed=True, dropna=False)["value"]
    means = groups.agg(estimate="mean", n="count").reset_index()
    out = out.merge(means, on=[*by, over], how="left")
    out["n"] = out["n"].fillna(0).astype(int)
    score = out["estimate"].fillna(-np.inf)
    groups_of = [out[one] for one in by] or [pd.Series(0, index=out.index)]
    best = score.groupby(groups_of, observed=True, dropna=False).idxmax()
    out["chosen"] = out.index.isin(best)
    return out


def at_selected(
    records: Records,
    *,
    over: str = "learning_rate",
    by: Sequence[str] = ("model",),
) -> Records:
    """The records at the level of `over` chosen for every group of `by`, as if there were no such factor."""
    table = selections(records, over=over, by=by)
    return _kept(records, table.loc[table["chosen"], [*by, over]], without=(over,))


def at_levels(records: Records, levels: Levels) -> Records:
    """The records at one level of some factors, as if there were no such factors."""
    for name, level in levels:
        require_factor(records.plan, "given", "a figure", name)
        require_level(records.plan, "given", "a figure", name, level)
    if not levels:
        return records
    names = [name for name, _ in levels]
    runs = rows_at(records.runs, dict(levels))
    return _kept(records, runs[names].drop_duplicates(), without=names)


def largest(records: Records, factor: str, *, over: str) -> pd.DataFrame:
    """The largest level of `factor` planned for every cell; cells are told apart by all other factors but `over`."""
    others = [name for name in records.plan.factors if name not in (factor, over)]
    own = records.runs[[*others, factor]]
    if others:
        top = own.groupby(others, observed=True, dropna=False)[factor].max().reset_index()
    else:
        top = own.max().to_frame().T
    return top.astype(own.dtypes.to_dict())


def at_largest(records: Records, factor: str, top: pd.DataFrame) -> Records:
    """The records of every cell at its `largest` level of `factor`, as if there were no such factor."""
    return _kept(records, top, without=(factor,))


def _kept(records: Records, keys: pd.DataFrame, *, without: Sequence[str]) -> Records:
    """The records of the cells that have one of the rows `keys` of factors, the factors `without` left out."""
    on = list(keys.columns)

    def kept(frame: pd.DataFrame) -> pd.DataFrame:
        own = frame.merge(keys, on=on, how="inner").drop(columns=list(without))
        return own.rename(columns={f"measured_{name}": name for name in without})

    wanted = {tuple(row) for row in keys.itertuples(index=False)}
    cells = tuple(
        Cell(factors={name: level for name, level in cell.factors.items() if name not in without}, run=cell.run)
        for cell in records.plan.cells
        if tuple(cell.factors[name] for name in on) in wanted
    )
    factors = {name: levels for name, levels in records.plan.factors.items() if name not in without}
    return dataclasses.replace(
        records,
        values=kept(records.values),
        history=kept(records.history),
        runs=kept(records.runs),
        plan=records.plan.replace(factors=factors, cells=cells),
    )


def select_records(
    records: Records, *, choose: str | None, used: Sequence[str], by: Sequence[str], given: Levels = ()
) -> Records:
    """The records at the levels `given` and at the chosen levels of `choose`, where it is a factor that is not used.

    The choice is made for every group of those factors `by` that the experiment has, before the levels are taken.
    """
    factors, fixed = records.plan.factors, {*used, *(name for name, _ in given)}
    is_own = records.history.empty and (records.runs["state"] == "done").any()  # a table has no history to choose by
    if choose is not None and choose in factors and choose not in fixed and not is_own:
        records = at_selected(records, over=choose, by=[name for name in by if name in factors])
    return at_levels(records, given)


def finals(records: Records, name: str) -> pd.DataFrame:
    """The last validated value of every cell whose run has ended."""
    factors = list(records.plan.factors)
    runs = records.runs[[*factors, "run", "state"]]
    history = records.history
    if name in history:
        last = history.dropna(subset=[name]).sort_values("update").groupby("run")[name].last()
        values = runs["run"].map(last).astype(float)
    else:
        values = pd.Series(np.nan, index=runs.index)
    values = values.mask(runs["state"] == "diverged", 0.0)
    return runs.assign(value=values).dropna(subset=["value"])
