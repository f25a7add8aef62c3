"""Rules about data: at which training budget their cells are taken, and whether budget is what limits them."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from vision_attn import wording
from vision_attn.records import Records, pick, require_factor, rows_at
from vision_attn.spec import InputError
from vision_attn.statistics import limits
from vision_attn.verdicts.base import Finding

if TYPE_CHECKING:
    from vision_attn.verdicts.seeds import SeedVerdict

Levels = dict[str, Any]
NAMED = ("model", "train_size")
"""Factors that name a cell, beside those in which the cells of a rule differ."""


def rule_text(factor: str) -> str:
    """What a rule about data says of budgets."""
    return (
        " Decided only where every cell is limited by its data: at least 95 % accuracy on its training images, or a "
        f"gain from the last ×4 of {factor.replace('_', ' ')} whose interval is entirely below 1.5 points; else "
        "budget-limited."
    )


def at_largest(records: Records, cells: Sequence[Levels], factor: str, what: str) -> list[Levels]:
    """The cells that do not name their budget at the largest that all of these are planned at."""
    require_factor(records.plan, "needs_data_limited", what, factor)
    if texts := [level for level in records.plan.factors[factor] if isinstance(level, str)]:
        raise InputError(
            f"needs_data_limited of {what} must be a factor whose levels are numbers, such as images_seen. "
            f"{factor} has {texts[0]!r}."
        )
    unnamed = [levels for levels in cells if factor not in levels]
    planned = [one for levels in unnamed if (one := set(at(records.runs, levels, records)[factor]))]
    if not planned:
        return list(cells)
    if not (shared := set.intersection(*planned)):
        raise InputError(f"cells of {what} must be planned at one common level of {factor}. Got none instead.")
    return [{**levels, factor: levels.get(factor, max(shared))} for levels in cells]


def limited(finding: Finding, records: Records, cells: Sequence[Levels], rule: "SeedVerdict") -> Finding:
    """The finding, or "budget-limited" in the place of its answer where a cell is limited by its budget."""
    factor = str(rule.needs_data_limited)
    factors = [name for name in records.plan.factors if name != factor]
    told = [name for name in factors if name in NAMED or len({levels.get(name) for levels in cells}) > 1]
    reasons, unknown = [], []
    for levels in {tuple(one.items()): one for one in cells}.values():
        row = _limit(records, levels, factor, rule)
        name = ", ".join(wording.level_text(name, levels[name]) for name in told if name in levels)
        if row is None or row["limited_by"] == "not measured":
            unknown.append(name)
        elif row["limited_by"] == "budget":
            reasons.append(f"{name} ({_reason(row, factor)})")
    if unknown:
        words = f"Accuracy on training images is not measured: {wording.listing(unknown)}."
        return dataclasses.replace(finding, verdict="not measured", words=words, p=float("nan"))
    if reasons:
        words = f"Limited by budget rather than data: {wording.listing(reasons)}."
        words = f"{words} {finding.words}".strip()
        return dataclasses.replace(finding, verdict="budget-limited", words=words, p=float("nan"))
    return finding


def _limit(records: Records, levels: Levels, factor: str, rule: "SeedVerdict") -> dict[Any, Any] | None:
    """The row of `statistics.limits` of one cell, at the budget that it names; of several runs a seed their means."""
    others = {name: level for name, level in levels.items() if name != factor}
    own = dataclasses.replace(records, values=at(records.values, others, records))
    frames = []
    for split in ("train", "test"):
        frame = pick(own, "accuracy", at={"split": split})
        if rule.reduce != "one":
            frame = frame.groupby([factor, rule.over], observed=True)["value"].mean().reset_index()
        frames.append(frame[frame[factor] <= levels[factor]].assign(all=0))
    rows = limits(*frames, by=["all"], budget=factor, over=rule.over).to_dict("records")
    return rows[0] if rows else None


def at(frame: pd.DataFrame, levels: Levels, records: Records) -> pd.DataFrame:
    """The rows at those levels that are levels of factors."""
    return rows_at(frame, {name: level for name, level in levels.items() if name in records.plan.factors})


def _reason(row: dict[Any, Any], factor: str) -> str:
    said = []
    if not pd.isna(row["train_accuracy"]):
        said.append(f"{wording.quantity(row['train_accuracy'], metric='accuracy')} on its training images")
    if not pd.isna(row["gain_high"]):
        gain = wording.interval(
            {**row, "estimate": row["gain"], "low": row["gain_low"], "high": row["gain_high"], "planned": row["n"]},
            metric="accuracy",
            signed=True,
        )
        said.append(f"{gain} points from the last ×4 of {factor.replace('_', ' ')}")
    return ", ".join(said)
