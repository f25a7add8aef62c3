"""Scope: for which models, data and budgets the records of an experiment speak, in a few words."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from vision_attn import wording
from vision_attn.records import BASELINES, Records, column, pick
from vision_attn.statistics import limits

SEED = "seed"


def scope(records: Records, runs: frozenset[str] | None = None) -> list[str]:
    """Models, data, budget, and what limits the results, of all or of some runs; what is not known is left out."""
    own = _at_runs(records, runs)
    found = (models_text(own), data_text(own), budget_text(own), limits_text(_up_to(records, runs)))
    return [text for text in found if text]


def in_brief(records: Records, runs: frozenset[str] | None = None) -> list[str]:
    """The size of the networks, the training images and how many they saw, where known, of all or of some runs."""
    own = _at_runs(records, runs)
    found = (models_text(own), _sizes_text(own), budget_text(own).removesuffix(" in training"))
    return [text for text in found if text]


def models_text(records: Records) -> str:
    """The sizes of the networks: 0.20 to 0.21 million parameters."""
    kinds = {key: entry.run.get("model", {}).get("kind") for key, entry in records.plan.runs.items()}
    sizes = pick(records, "params", at={})
    sizes = sizes.loc[[kinds.get(run) not in BASELINES for run in sizes["run"]], "value"]
    if sizes.empty:
        return ""
    is_large = bool(sizes.min() >= 5e4)
    return _span(list(sizes), _millions if is_large else _count) + " million" * is_large + " parameters"


def data_text(records: Records) -> str:
    """How many training images, of which data set and size."""
    runs = _done(records)
    names = _values(runs, column(records, "dataset"))
    if not names or _is_untrained(records):
        return ""
    pixels = _values(runs, column(records, "image_size"))
    where = f"{wording.listing(_families(names), most=3)}{f', {_span(pixels, str)} px' if pixels else ''}"
    sizes = _sizes_text(records)
    return f"{sizes} of {where}" if sizes else f"images of {where}, drawn anew for every update"


def _sizes_text(records: Records) -> str:
    """The numbers of training images: 250 to 8,000 training images."""
    sizes = [] if _is_untrained(records) else _values(_done(records), _size_column(records))
    return f"{_span(sizes, _count)} training images" if sizes else ""


def budget_text(records: Records) -> str:
    """How many images were seen in training: 48,000 images seen in training."""
    if _is_untrained(records):
        return "networks before training"
    seen = [value for value in _values(_done(records), column(records, "images_seen")) if value > 0]
    return f"{_span(seen, _count)} images seen in training" if seen else ""


def limits_text(records: Records) -> str:
    """Whether data or budget limit the cells of a learning curve (`statistics.limits`), counted."""
    found = limited_cells(records)
    known = found[found["limited_by"] != "not measured"]
    if known.empty:
        return ""
    by_data, cells = int((known["limited_by"] == "data").sum()), len(known)
    small = int(((known["limited_by"] == "data") & ~known["fits"]).sum())
    aside = f", in {small} of them perhaps by the size of the network" if small else ""
    if not by_data:
        return "limited by the training budget, not by the data"
    if by_data < cells:
        return f"limited by the data in {by_data} of {cells} cells{aside}, by the training budget in the others"
    return f"limited by the data{f' in all {cells} cells' if small else ''}{aside}"


def limited_cells(records: Records) -> pd.DataFrame:
    """What limits every cell of the factors beside the seed: of networks that are trained on a set of images."""
    trained = _done(records)
    seen = column(records, "images_seen")
    trained = trained[trained[seen].fillna(0) > 0] if seen in trained else trained.iloc[:0]
    factors = records.plan.factors
    budget = budget_factor(records)
    by = [name for name in factors if name not in (SEED, budget)]
    parts = [pick(records, "accuracy", at={"split": split}) for split in ("train", "test")]
    train, test = (_one_each(part[part["run"].isin(trained["run"])], list(factors)) for part in parts)
    is_set = bool(_values(trained, _size_column(records)))
    if SEED not in factors or not by or not is_set or train.empty or test.empty:
        return pd.DataFrame(columns=[*by, "limited_by"])
    return limits(train, test, by=by, budget=budget, over=SEED)


def budget_factor(records: Records) -> str | None:
    """The factor that is a ladder of training budgets."""
    return next((name for name in ("images_seen", "updates") if len(records.plan.factors.get(name, ())) > 1), None)


def _at_runs(records: Records, runs: frozenset[str] | None) -> Records:
    if runs is None:
        return records
    own = (frame[frame["run"].isin(runs)] for frame in (records.values, records.runs))
    return dataclasses.replace(records, **dict(zip(("values", "runs"), own, strict=True)))


def _up_to(records: Records, runs: frozenset[str] | None) -> Records:
    """The records of some runs and those of their cells at smaller budgets, from which the gain tells what limits."""
    budget = budget_factor(records)
    by = [name for name in records.plan.factors if name != budget]
    if runs is None or budget is None or not by:
        return _at_runs(records, runs)
    own = records.runs[records.runs["run"].isin(runs)]
    top = own.groupby(by, observed=True, dropna=False)[budget].max().rename("_top").reset_index()
    both = records.runs.merge(top, on=by)
    return _at_runs(records, frozenset(both.loc[both[budget] <= both["_top"], "run"]))


def _done(records: Records) -> pd.DataFrame:
    return records.runs[records.runs["state"] == "done"].drop_duplicates("run")


def _is_untrained(records: Records) -> bool:
    """Whether no run has seen an image in training."""
    seen = _values(_done(records), column(records, "images_seen"))
    return bool(seen) and not any(seen)


def _one_each(values: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One value for every cell, also where two probes have measured it."""
    return values.groupby(by, observed=True, dropna=False)["value"].mean().reset_index()


def _size_column(records: Records) -> str:
    """The column of the number of training images: what was measured, else the factor."""
    measured = column(records, "train_size")
    return measured if measured in records.runs else "train_size"


def _values(runs: pd.DataFrame, name: str) -> list[Any]:
    return list(runs[name].dropna().unique()) if name in runs else []


def _span(values: Sequence[Any], text: Any) -> str:
    """One value, or the smallest to the largest, as texts that may be alike."""
    return " to ".join(dict.fromkeys([text(min(values)), text(max(values))]))


def _families(names: Sequence[str]) -> list[str]:
    """Data sets that differ in a number at their end only are one: cued-recall-filled-0, -1, ..."""
    return list(dict.fromkeys(re.sub(r"-\d+$", "", str(name)) for name in names))


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f}"


def _count(value: float) -> str:
    return f"{int(value):,}"
