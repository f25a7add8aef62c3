"""Rules on one number a seed: which cells it is taken from, and what the seeds that are there say."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.records import Records, pick, require_factor, rows_at
from vision_attn.selection import select_records
from vision_attn.spec import InputError, Spec, spec
from vision_attn.statistics.tails import ROUNDING
from vision_attn.verdicts import budget
from vision_attn.verdicts.base import AllOf, Answer, Finding, Verdict, decided

Cell = tuple[tuple[str, str | int | float | bool], ...]
Terms = tuple[tuple[float, Cell], ...]

OTHER = {"above": "below", "below": "above"}
SAID = {("split", "test"): "test images", ("split", "train"): "training images"} | {
    ("own", own): f"own cell {said}" for own, said in (("without", "excluded"), ("with", "included"))
}
"""Levels of coordinates that have words of their own."""


def cell(**levels: str | int | float | bool) -> Cell:
    """A place in the records: levels of factors and of coordinates, such as model="ViT", distance=7, split="test"."""
    return tuple(levels.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured(Spec):
    """One number a seed: which metric it is of, and which runs and rows it is taken from.

    A cell names levels of factors and coordinates; `given` is common to all cells. Other factors of several levels
    must be named too, unless `reduce` says what becomes of several values of a seed; `along` names coordinates that
    may vary among them. `choose` is a factor whose level is chosen on validation images beforehand, for every level
    of `choose_by`.

    Fewer seeds than `min_seeds` decide nothing. `needs_data_limited` names the factor that is the training budget of a
    rule about data: cells that do not name its level are taken at the largest that they share, and where a cell is
    limited by its budget rather than its data (`statistics.limits`) the answer is "budget-limited". `exact` marks
    what holds by construction, in every run: a condition of other parts, and a fault of the suite where it fails.
    """

    metric: str = "accuracy"
    given: Cell = ()
    along: tuple[str, ...] = ()
    reduce: Literal["one", "mean", "min", "max"] = "one"
    over: str = "seed"
    level: float = 0.95
    choose: str | None = "learning_rate"
    choose_by: tuple[str, ...] = ("model",)
    min_seeds: int = 2
    needs_data_limited: str | None = None
    exact: bool = False

    def check(self) -> None:
        self.require("level", 0 < self.level < 1, "between 0 and 1, such as 0.95")
        self.require("min_seeds", self.min_seeds >= 2, "2 or more")


@spec
class SeedVerdict(Verdict, Measured, abc.ABC):
    """A rule on one number a seed: the value of a metric in a cell, or a weighted sum of its values in several."""

    @property
    @abc.abstractmethod
    def cells(self) -> Terms:
        """The cells with their weights; a seed's number is the sum of its weighted values."""

    @property
    def sentence(self) -> str:
        """What the rule asserts, in words."""
        return f"{wording.headed(self._what)} is {self._asserted}."

    @property
    @abc.abstractmethod
    def _what(self) -> str:
        """The quantity in words."""

    @property
    @abc.abstractmethod
    def _asserted(self) -> str:
        """Where it lies as the rule has it: above 5 %."""

    @property
    @abc.abstractmethod
    def _denied(self) -> str:
        """Where it lies if the rule is contradicted: below."""

    @abc.abstractmethod
    def holds(self, numbers: np.ndarray) -> np.ndarray:
        """Whether it is so of single numbers, element by element."""

    @abc.abstractmethod
    def test(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of numbers (..., seeds): whether they support the claim, and the two-sided p-value against it, both (...)."""

    @abc.abstractmethod
    def estimated(self, numbers: np.ndarray) -> dict[str, float]:
        """Estimate, low, high and sd of the numbers of the seeds; missing ones NaN."""

    @abc.abstractmethod
    def made_up(self, noise: np.ndarray, *, sd: float, beyond: float) -> np.ndarray:
        """Numbers made of standard normal noise (..., seeds) where the truth lies `beyond` the bound of the claim."""

    def scale(self, sd: float) -> float:
        """The unit in which a truth is said to lie beyond the bound: the standard deviation between seeds."""
        return sd

    @property
    def rule(self) -> str:
        if self.exact:
            return f"{self.sentence} In every run, by construction: were it not so, it would be a fault of the suite."
        text = f"{self._measured_how}. {self._decided_how}"
        if self.min_seeds > 2:
            text += f" Inconclusive with fewer than {self.min_seeds} {self.over}s."
        return text + (budget.rule_text(self.needs_data_limited) if self.needs_data_limited else "")

    @property
    @abc.abstractmethod
    def _measured_how(self) -> str:
        """The quantity and its interval, in words."""

    @property
    def _decided_how(self) -> str:
        """When it supports and when it contradicts, in words."""
        return (
            f"Supports where the interval is entirely {self._asserted}{self._tested_how}, contradicts where it is "
            f"entirely {self._denied}, else inconclusive."
        )

    @property
    def _tested_how(self) -> str:
        """The test, in brackets, where it is not plain."""
        return ""

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset({self.metric, "accuracy"} if self.needs_data_limited else {self.metric})

    def decide(self, records: Records) -> Finding:
        require_factor(records.plan, "over", type(self).__name__, self.over)
        selected, places = self._placed(records)
        columns = [self._values(selected, at) for at in places]
        planned = _common([seeds for _, seeds in columns])
        values = pd.concat([column for column, _ in columns], axis=1).reindex(planned).dropna()
        numbers = self._joined(values)
        finding = self._finding(numbers, planned, values)
        unshared = dict.fromkeys(str(seed) for _, seeds in columns for seed in seeds if seed not in planned)
        if planned and unshared:
            left_out = f"Left out, as not planned in every cell: {self.over} {wording.listing(list(unshared))}."
            finding = dataclasses.replace(finding, words=f"{finding.words} {left_out}".strip())
        if not len(numbers):
            told = self._hint(selected, places)
            if not told and not planned and all(seeds for _, seeds in columns):
                told = f" They have no {self.over} in common."
            finding = dataclasses.replace(finding, words=finding.words + told)
        if self.needs_data_limited and finding.verdict != "not measured":
            finding = budget.limited(finding, selected, places, self)
        return finding

    def looks_at(self, records: Records) -> frozenset[str]:
        selected, places = self._placed(dataclasses.replace(records, values=records.values.iloc[:0]))
        return frozenset(run for levels in places for run in budget.at(selected.runs, levels, selected)["run"])

    def _placed(self, records: Records) -> tuple[Records, list[dict[str, Any]]]:
        """The records at the level that is chosen beforehand, and the levels of every cell."""
        named = [name for _, one in ((1, self.given), *self.cells) for name, _ in one]
        selected = select_records(records, choose=self.choose, used=[self.over, *named], by=self.choose_by)
        places = [dict([*self.given, *at]) for _, at in self.cells]
        if self.needs_data_limited:
            places = budget.at_largest(selected, places, self.needs_data_limited, type(self).__name__)
        return selected, places

    def _values(self, records: Records, levels: dict[str, Any]) -> tuple[pd.Series, list[Any]]:
        """One number a seed of the cell, and the seeds planned for it. A seed that lacks a run has no number."""
        factors = records.plan.factors
        fixed = {name: level for name, level in levels.items() if name in factors}
        runs = rows_at(records.runs, fixed)
        coordinates = {name: level for name, level in levels.items() if name not in factors}
        measured = dataclasses.replace(records, values=rows_at(records.values, {"metric": self.metric, **fixed}))
        values = pick(measured, self.metric, at=coordinates, along=self.along)
        lacking = runs.loc[~runs["run"].isin(values["run"]), self.over]
        own = values[~values[self.over].isin(lacking)]
        return self._of_seeds(own, levels, records), list(runs[self.over].unique())

    def _hint(self, records: Records, places: Sequence[dict[str, Any]]) -> str:
        """What there is none of, or what to name where the metric has coordinates that the rule leaves out; or ""."""
        if absent := self._absent(records, places):
            return f" {absent}"
        unnamed: dict[str, None] = {}
        for levels in places:
            fixed = {name: level for name, level in levels.items() if name in records.plan.factors}
            rows = rows_at(records.values, {"metric": self.metric, **fixed})
            coordinates = rows.columns[list(rows.columns).index("value") + 1 :] if len(rows) else ()
            unnamed |= dict.fromkeys(
                name for name in coordinates if name not in (*levels, *self.along) and rows[name].notna().all()
            )
        told = ", ".join(f"{name}=..." for name in unnamed)
        return (
            f" {self.metric} is measured by {wording.listing(list(unnamed))}: name it, given=cell({told})."
            if told
            else ""
        )

    def _absent(self, records: Records, places: Sequence[dict[str, Any]]) -> str:
        """The first name or level of the rule that the records do not have, and what they have; else ""."""
        factors, values = records.plan.factors, records.values
        for name, level in [one for levels in places for one in levels.items()]:
            if name in factors and level not in factors[name]:
                return f"There is no {name} {level!r} among {wording.listing(list(map(repr, factors[name])))}."
            if name not in factors and len(values) and name not in values.columns:
                return f"There is no factor {name!r} among {wording.listing(list(factors))}."
        if len(values) and not (values["metric"] == self.metric).any():
            return f"There is no metric {self.metric!r} among {wording.listing(list(values['metric'].unique()))}."
        own = rows_at(values, {"metric": self.metric})
        for name, level in [one for levels in places for one in levels.items() if one[0] not in factors]:
            if len(own) and rows_at(own, {name: level}).empty:
                there = wording.listing(list(map(repr, own[name].dropna().unique().tolist())))
                return f"There is no {name} {level!r} among {there} of {self.metric}."
        return ""

    def _of_seeds(self, values: pd.DataFrame, levels: dict[str, Any], records: Records) -> pd.Series:
        """What stands for each seed of a cell, given its records."""
        groups = values.groupby(self.over, observed=True)["value"]
        if self.reduce == "one" and (groups.size() > 1).any():
            sentence = f"cells of {type(self).__name__} must name one value a {self.over}, or reduce must not be 'one'"
            raise InputError(f"{sentence}. Got several of {self._place(tuple(levels.items()))} instead.")
        return groups.agg("first" if self.reduce == "one" else self.reduce)

    def _joined(self, values: pd.DataFrame) -> np.ndarray:
        """The number of each seed, given what stands for it in each cell; 0 where only rounding keeps it from that."""
        weighted = values.to_numpy(float) * [weight for weight, _ in self.cells]
        total = weighted.sum(axis=1)
        return np.where(np.abs(total) <= ROUNDING * np.abs(weighted).sum(axis=1), 0.0, total)

    def _finding(self, numbers: np.ndarray, planned: Sequence[Any], cells: pd.DataFrame) -> Finding:
        """The finding of complete seeds; "not measured" where a planned seed is missing or one has no interval."""
        n, p = len(numbers), np.nan
        words = self._unmeasured(n, planned)
        verdict: Answer = "inconclusive"
        if words:
            verdict = "not measured"
        elif self.exact:
            verdict = "supports" if self.holds(numbers).all() else "contradicts"
        elif n < self.min_seeds:
            words = f"{n} {self.over}s are too few: the rule asks for {self.min_seeds}."
        else:
            supports, against = self.test(numbers)
            p = float(against)
            verdict = decided(supports=bool(supports), contradicts=p < 1 - self.level)
        return Finding(
            self.claim,
            self.statement,
            self.rule,
            verdict,
            words=words,
            **self.estimated(numbers),  # type: ignore[arg-type]
            n=n,
            p=p,
            level=self.level,
            baseline=self._compared_with(cells),
            metric=self._reported,
            is_difference=len(self.cells) > 1,
            is_exact=self.exact,
            is_planned=bool(planned),
        )

    def _unmeasured(self, n: int, planned: Sequence[Any]) -> str:
        """Why nothing can be decided; empty where something can."""
        if not planned:
            return "The plan has no such cell."
        if n < len(planned):
            return f"{n} of {len(planned)} planned {self.over}s are in."
        return f"One {self.over} has no interval." if n < 2 and not self.exact else ""

    @property
    def _reported(self) -> str:
        """The metric whose unit the estimate has."""
        return self.metric

    def _compared_with(self, cells: pd.DataFrame) -> str:
        """What the estimate is compared with, given the values of each cell by seed."""
        return ""

    def _place(self, at: Cell) -> str:
        """A cell in words: accuracy of ViT at distance 7."""
        return f"{self._quantity}{_words(at)}"

    @property
    def _quantity(self) -> str:
        which = {"one": "", "mean": "mean ", "min": "smallest ", "max": "largest "}[self.reduce]
        return which + wording.metric_text(self.metric)

    @property
    def _common(self) -> str:
        """What holds of all cells."""
        return f" ({', '.join(map(_level, self.given))})" if self.given else ""

    def _amount(self, value: float) -> str:
        return wording.quantity(value, metric=self.metric)

    def _points(self, value: float, *, signed: bool = False) -> str:
        """An amount by which two values differ."""
        return wording.quantity(value, metric=self.metric, signed=signed, unit="percentage points")


def on_seeds(verdict: Verdict) -> list[SeedVerdict]:
    """The rules on seeds that a rule is or has as parts, those of its parts too."""
    if isinstance(verdict, AllOf):
        return [rule for part in verdict.parts for rule in on_seeds(part)]
    return [verdict] if isinstance(verdict, SeedVerdict) else []


def _words(levels: Cell) -> str:
    """A cell in words: of ViT at distance 7, test images."""
    model = "".join(f" of {level}" for name, level in levels if name == "model")
    others = ", ".join(_level(one) for one in levels if one[0] != "model")
    return model + (f" at {others}" if others else "")


def _level(one: tuple[str, Any]) -> str:
    """A level with the name of its factor; models by their labels."""
    name, level = one
    return SAID.get(one) or (str(level) if name == "model" else f"{name.replace('_', ' ')} {level}")


def _common(seeds: Sequence[Sequence[Any]]) -> list[Any]:
    """The seeds that are planned in every cell."""
    return [seed for seed in seeds[0] if all(seed in others for others in seeds[1:])]
