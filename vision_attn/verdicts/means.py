"""Rules on means over seeds: a difference, a likeness, a bound, each against its Student-t interval."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from vision_attn import wording
from vision_attn.choice import settled
from vision_attn.records import Records, pick
from vision_attn.spec import InputError, spec
from vision_attn.statistics import mean_interval
from vision_attn.verdicts.base import Answer, Finding, Verdict, decided

Cell = tuple[tuple[str, str | int | float | bool], ...]


def cell(**levels: str | int | float | bool) -> Cell:
    """A place in the records: levels of factors and of coordinates, such as model="ViT", distance=7, split="test"."""
    return tuple(levels.items())


@spec
class MeanVerdict(Verdict, abc.ABC):
    """A rule on the mean over seeds of one number a seed, with its Student-t interval.

    A cell names levels of factors and coordinates; `given` is common to all cells. Other factors of several levels
    must be named too, unless `reduce` says what becomes of several values of a seed; `along` names coordinates that
    may vary among them. `choose` is a factor settled on validation images for every level of `choose_by` beforehand.
    """

    metric: str = "accuracy"
    given: Cell = ()
    along: tuple[str, ...] = ()
    reduce: Literal["one", "mean", "min", "max"] = "one"
    over: str = "seed"
    level: float = 0.95
    choose: str | None = "learning_rate"
    choose_by: tuple[str, ...] = ("model",)

    def check(self) -> None:
        self.require("level", 0 < self.level < 1, "between 0 and 1, such as 0.95")

    def _measured(self, records: Records, at: Cell) -> tuple[pd.Series, list[Any]]:
        """One number a seed of the cell, and the seeds planned for it. A seed that lacks a run has no number."""
        levels = dict([*self.given, *at])
        factors = records.plan["factors"]
        fixed = {name: level for name, level in levels.items() if name in factors}
        runs = _rows(records.runs, fixed)
        coordinates = {name: level for name, level in levels.items() if name not in factors}
        values = _rows(pick(records, self.metric, at=coordinates, along=self.along), fixed)
        lacking = runs.loc[~runs["run"].isin(values["run"]), self.over]
        groups = values[~values[self.over].isin(lacking)].groupby(self.over, observed=True)["value"]
        if self.reduce == "one" and (groups.size() > 1).any():
            sentence = f"cells of {type(self).__name__} must name one value a {self.over}, or reduce must not be 'one'"
            raise InputError(f"{sentence}. Got several of {self._place(at)} instead.")
        return groups.agg("first" if self.reduce == "one" else self.reduce), list(runs[self.over].unique())

    def _settled(self, records: Records, *cells: Cell) -> Records:
        """The records at the chosen level, unless a cell names one itself."""
        if self.over not in records.plan["factors"]:
            allowed = f"a factor of the experiment ({', '.join(records.plan['factors'])})"
            raise InputError(f"over of {type(self).__name__} must be {allowed}. Got {self.over!r} instead.")
        named = [name for one in (self.given, *cells) for name, _ in one]
        return settled(records, choose=self.choose, used=[self.over, *named], by=self.choose_by)

    def _found(self, values: pd.Series, planned: Sequence[Any], *, baseline: str) -> Finding:
        """The mean with its interval; "not measured" where a planned seed is missing or there are fewer than two."""
        frame = pd.DataFrame({"value": values.to_numpy(float), "all": 0})
        means = mean_interval(frame, by=["all"], level=self.level).to_dict("records")
        row = {name: means[0][name] for name in ("estimate", "low", "high", "n")} if means else {"n": 0}
        answer: Answer = "inconclusive"
        words = ""
        if not planned:
            answer, words = "not measured", "The plan has no such cell."
        elif row["n"] < len(planned):
            answer, words = "not measured", f"{row['n']} of {len(planned)} planned {self.over}s are in."
        elif row["n"] < 2:
            answer, words = "not measured", f"One {self.over} has no interval."
        return Finding(
            self.claim,
            self.statement,
            self.rule,
            answer,
            words=words,
            baseline=baseline,
            metric=self.metric,
            is_planned=bool(planned),
            **row,
        )

    def _place(self, at: Cell) -> str:
        """A cell in words: accuracy of ViT, distance 7."""
        return f"{self._quantity} at {_words(at)}"

    @property
    def _quantity(self) -> str:
        text = self.metric.replace("_", " ")
        which = {"one": "", "mean": "mean ", "min": "smallest ", "max": "largest "}[self.reduce]
        return which + text

    @property
    def _common(self) -> str:
        """What holds of all cells, and what the interval is."""
        where = f" ({_words(self.given)})" if self.given else ""
        return f"{where}, mean over {self.over}s with {100 * self.level:g} % Student-t interval"

    def _amount(self, value: float) -> str:
        return wording.quantity(value, metric=self.metric)

    def _points(self, value: float, *, signed: bool = False) -> str:
        """An amount by which two values differ."""
        return wording.quantity(value, metric=self.metric, signed=signed, unit="percentage points")


@spec
class DifferenceVerdict(MeanVerdict):
    """The mean difference of a metric between two cells, seed by seed, against a bound: `at` minus `reference`."""

    at: Cell
    reference: Cell
    bound: float = 0.0
    side: Literal["above", "below"] = "above"

    @property
    def rule(self) -> str:
        what = f"{self._place(self.at)} minus {self._place(self.reference)}{self._common}, paired by {self.over}"
        return _one_sided(what, self._points(self.bound, signed=True), self.side)

    def decide(self, records: Records) -> Finding:
        differences, planned, baseline = _differences(self, records, self.at, self.reference)
        found = dataclasses.replace(self._found(differences, planned, baseline=baseline), is_difference=True)
        return _against(found, self.bound, self.side)


@spec
class EquivalenceVerdict(MeanVerdict):
    """Whether two cells are alike: their mean difference, seed by seed, within ± `margin` (flat in a distance, say)."""

    at: Cell
    reference: Cell
    margin: float

    def check(self) -> None:
        MeanVerdict.check(self)
        self.require("margin", self.margin > 0, "above 0")

    @property
    def rule(self) -> str:
        what = f"{self._place(self.at)} minus {self._place(self.reference)}{self._common}, paired by {self.over}"
        within = f"±{self._points(self.margin)}"
        return (
            f"{_capital(what)}. Supports where the interval lies within {within}, contradicts where it lies outside "
            "of it, else inconclusive."
        )

    def decide(self, records: Records) -> Finding:
        differences, planned, baseline = _differences(self, records, self.at, self.reference)
        found = dataclasses.replace(self._found(differences, planned, baseline=baseline), is_difference=True)
        if found.verdict == "not measured":
            return found
        is_within = -self.margin < found.low and found.high < self.margin
        is_outside = found.low > self.margin or found.high < -self.margin
        return dataclasses.replace(found, verdict=decided(is_within, is_outside))


@spec
class BoundVerdict(MeanVerdict):
    """The mean of a metric in a cell against a number, such as chance, which `bound_name` may name."""

    at: Cell
    bound: float
    side: Literal["above", "below"] = "above"
    bound_name: str = ""

    @property
    def _bound(self) -> str:
        return f"{self.bound_name} {self._amount(self.bound)}".strip()

    @property
    def rule(self) -> str:
        return _one_sided(f"{self._place(self.at)}{self._common}", self._bound, self.side)

    def decide(self, records: Records) -> Finding:
        values, planned = self._measured(self._settled(records, self.at), self.at)
        return _against(self._found(values, planned, baseline=self._bound), self.bound, self.side)


def _words(levels: Cell) -> str:
    """Models by their labels, all else with its name: ViT, distance 7, split test."""
    return ", ".join(str(level) if name == "model" else f"{name.replace('_', ' ')} {level}" for name, level in levels)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rows(frame: pd.DataFrame, fixed: dict[str, Any]) -> pd.DataFrame:
    for name, level in fixed.items():
        frame = frame[frame[name] == level]
    return frame


def _differences(rule: MeanVerdict, records: Records, at: Cell, reference: Cell) -> tuple[pd.Series, list[Any], str]:
    """The differences of the seeds that both cells have, the seeds planned for either, and the reference in words."""
    own = rule._settled(records, at, reference)
    (values, planned), (others, also) = rule._measured(own, at), rule._measured(own, reference)
    mean = f": {rule._amount(float(others.mean()))}" if len(others) else ""
    seeds = list(dict.fromkeys([*planned, *also])) if planned and also else []
    return (values - others).dropna(), seeds, f"{rule._place(reference)}{mean}"


def _one_sided(what: str, bound: str, side: str) -> str:
    other = "below" if side == "above" else "above"
    return (
        f"{_capital(what)}. Supports where the interval lies {side} {bound}, contradicts where it lies {other}, "
        "else inconclusive."
    )


def _against(found: Finding, bound: float, side: str) -> Finding:
    """The finding with its verdict: on which side of the bound the whole interval lies."""
    if found.verdict == "not measured":
        return found
    is_above, is_below = found.low > bound, found.high < bound
    return dataclasses.replace(
        found, verdict=decided(*((is_above, is_below) if side == "above" else (is_below, is_above)))
    )
