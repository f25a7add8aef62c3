"""Rules on means over seeds: a bound, a difference, an equivalence, a contrast, each against its Student-t interval."""

import abc
from typing import Literal

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval, t_tails
from vision_attn.verdicts.seeds import OTHER, Cell, SeedVerdict, Terms

Side = Literal["above", "below"]


@spec
class MeanVerdict(SeedVerdict, abc.ABC):
    """A rule on the mean over seeds, with its Student-t interval."""

    def estimated(self, numbers: np.ndarray) -> dict[str, float]:
        means = mean_interval(pd.DataFrame({"value": numbers, "all": 0}), by=["all"], level=self.level)
        found = {name: means[name].item() if len(means) else np.nan for name in ("estimate", "low", "high", "sd")}
        return found | dict.fromkeys(("low", "high", "sd"), np.nan) if self.exact else found

    @property
    def _measured_how(self) -> str:
        paired = f", paired by {self.over}" if len(self.cells) > 1 else ""
        how = f"mean over {self.over}s with {100 * self.level:g} % Student-t interval{paired}"
        return f"{wording.headed(self._what)}{self._common}: {how}"


@spec
class OneSided(MeanVerdict, abc.ABC):
    """A mean on one side of a bound."""

    bound: float
    side: Side = "above"

    def check(self) -> None:
        MeanVerdict.check(self)
        weights = [weight for weight, _ in self.cells]
        low, high = sum(min(0.0, weight) for weight in weights), sum(max(0.0, weight) for weight in weights)
        allowed = f"from {low:g} to {high:g}, as {self.metric} is a share: 0.5 and not 50 for 50 %"
        self.require("bound", not wording.is_share(self.metric) or low <= self.bound <= high, allowed)

    @property
    def _bound(self) -> str:
        """The bound in words: of differences in points."""
        return self._points(self.bound, signed=True) if self.bound else "0"

    @property
    def _asserted(self) -> str:
        return f"{self.side} {self._bound}"

    @property
    def _denied(self) -> str:
        return OTHER[self.side]

    def holds(self, numbers: np.ndarray) -> np.ndarray:
        return numbers > self.bound if self.side == "above" else numbers < self.bound

    def made_up(self, noise: np.ndarray, *, sd: float, beyond: float) -> np.ndarray:
        return self.bound + (beyond if self.side == "above" else -beyond) + sd * noise

    def test(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        above, below = t_tails(numbers, self.bound)
        own, other = (above, below) if self.side == "above" else (below, above)
        return own < (1 - self.level) / 2, np.minimum(1, 2 * other)


@spec
class BoundVerdict(OneSided):
    """The mean of a metric in a cell against a number, such as chance, which `bound_name` may name."""

    at: Cell
    bound_name: str = ""

    @property
    def cells(self) -> Terms:
        return ((1.0, self.at),)

    @property
    def _what(self) -> str:
        return self._place(self.at)

    @property
    def _bound(self) -> str:
        return f"{self.bound_name} {self._amount(self.bound)}".strip()

    def _compared_with(self, cells: pd.DataFrame) -> str:
        return self._bound


@spec
class OfTwoCells(MeanVerdict, abc.ABC):
    """A rule on the difference of a metric between two cells, seed by seed: `at` minus `reference`."""

    at: Cell
    reference: Cell

    @property
    def cells(self) -> Terms:
        return ((1.0, self.at), (-1.0, self.reference))

    @property
    def _what(self) -> str:
        return f"{self._place(self.at)} minus {self._place(self.reference)}"

    def _compared_with(self, cells: pd.DataFrame) -> str:
        """The reference and its mean."""
        mean = f": {self._amount(float(cells.iloc[:, -1].mean()))}" if len(cells) else ""
        return f"{self._place(self.reference)}{mean}"


@spec
class DifferenceVerdict(OfTwoCells, OneSided):
    """The mean difference of a metric between two cells, seed by seed, against a bound: `at` minus `reference`."""

    bound: float = 0.0


@spec
class EquivalenceVerdict(OfTwoCells):
    """Whether two cells are alike: their mean difference, seed by seed, within ± `margin` (flat in a distance, say).

    Two one-sided t-tests (TOST; Schuirmann 1987), each at half of 1 - `level`: both reject where the interval lies
    within the margin.
    """

    margin: float

    def check(self) -> None:
        MeanVerdict.check(self)
        self.require("margin", self.margin > 0, "above 0")
        allowed = f"below 1, as {self.metric} is a share: 0.02 and not 2 for 2 points"
        self.require("margin", not wording.is_share(self.metric) or self.margin < 1, allowed)

    @property
    def _asserted(self) -> str:
        return f"within ±{self._points(self.margin)}"

    @property
    def _denied(self) -> str:
        return "outside"

    @property
    def _tested_how(self) -> str:
        return " (two one-sided t-tests, TOST)"

    def holds(self, numbers: np.ndarray) -> np.ndarray:
        return np.abs(numbers) < self.margin

    def made_up(self, noise: np.ndarray, *, sd: float, beyond: float) -> np.ndarray:
        return max(0.0, self.margin - beyond) + sd * noise

    def test(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (over, under), (above, below) = t_tails(numbers, self.margin), t_tails(numbers, -self.margin)
        supports = np.maximum(above, under) < (1 - self.level) / 2
        return supports, np.minimum(1, 2 * np.minimum(over, below))


@spec
class ContrastVerdict(OneSided):
    """The mean of a linear contrast of cells, seed by seed, against a bound: a sum of their values with weights.

    Half of one difference minus another says whether more than half of it goes, without a ratio of two means.
    """

    terms: Terms
    bound: float = 0.0

    def check(self) -> None:
        OneSided.check(self)
        self.require("terms", len(self.terms) >= 2 and all(weight for weight, _ in self.terms), "two cells or more")

    @property
    def cells(self) -> Terms:
        return self.terms

    @property
    def _what(self) -> str:
        said = ""
        for weight, at in self.terms:
            sign = " minus " if weight < 0 else " plus " if said else ""
            said += sign + ("" if abs(weight) == 1 else f"{abs(weight):.3g} × ") + self._place(at)
        return said.strip()
