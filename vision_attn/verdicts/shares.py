"""A rule on the share of seeds that get somewhere, for runs that may fail to learn at all."""

from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.spec import spec
from vision_attn.statistics import share_interval, share_tails
from vision_attn.statistics.tails import ROUNDING
from vision_attn.verdicts.seeds import OTHER, Cell, SeedVerdict, Terms


@spec
class ShareVerdict(SeedVerdict):
    """The share of seeds whose value in a cell is at least `threshold`, against a bound.

    Where some seeds learn and others stay at chance their mean is of neither. The interval is that of Clopper and
    Pearson (1934), which covers at least as often as it says: all of five seeds are a share of 48 % or more.
    """

    at: Cell
    threshold: float
    bound: float
    side: Literal["above", "below"] = "above"

    def check(self) -> None:
        SeedVerdict.check(self)
        self.require("bound", 0 < self.bound < 1, "between 0 and 1")
        allowed = f"from 0 to 1, as {self.metric} is a share: 0.5 and not 50 for 50 %"
        self.require("threshold", not wording.is_share(self.metric) or 0 <= self.threshold <= 1, allowed)
        self.require("exact", not self.exact, "False: a share is estimated")

    @property
    def cells(self) -> Terms:
        return ((1.0, self.at),)

    @property
    def _what(self) -> str:
        amount = wording.quantity(self.threshold, metric=self.metric)
        return f"share of {self.over}s with {self._place(self.at)} of {amount} or more"

    @property
    def _bound(self) -> str:
        return wording.quantity(self.bound, metric="share")

    @property
    def _asserted(self) -> str:
        return f"{self.side} {self._bound}"

    @property
    def _denied(self) -> str:
        return OTHER[self.side]

    @property
    def _measured_how(self) -> str:
        return f"{wording.headed(self._what)}{self._common}, with {100 * self.level:g} % Clopper-Pearson interval"

    @property
    def _reported(self) -> str:
        return "share"

    def _compared_with(self, cells: pd.DataFrame) -> str:
        return self._bound

    def holds(self, numbers: np.ndarray) -> np.ndarray:
        return self._reached(numbers) if self.side == "above" else ~self._reached(numbers)

    def _reached(self, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(numbers >= self.threshold - ROUNDING * abs(self.threshold))

    def estimated(self, numbers: np.ndarray) -> dict[str, float]:
        n, there = len(numbers), int(self._reached(numbers).sum())
        if not n:
            return dict.fromkeys(("estimate", "low", "high", "sd"), np.nan)
        low, high = share_interval(there, n, level=self.level)
        return {"estimate": there / n, "low": low, "high": high, "sd": np.nan}

    def made_up(self, noise: np.ndarray, *, sd: float, beyond: float) -> np.ndarray:
        share = self.bound + (beyond if self.side == "above" else -beyond)
        highest = np.inf if share >= 1 else -np.inf if share <= 0 else NormalDist().inv_cdf(share)
        return self.threshold - (noise >= highest)

    def scale(self, sd: float) -> float:
        """As far as a share goes: to all of the seeds, or to none."""
        return 1 - self.bound if self.side == "above" else self.bound

    def test(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        many, few = share_tails(self._reached(numbers).sum(-1), numbers.shape[-1], self.bound)
        own, other = (many, few) if self.side == "above" else (few, many)
        return own < (1 - self.level) / 2, np.minimum(1, 2 * other)
