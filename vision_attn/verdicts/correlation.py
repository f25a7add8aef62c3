"""A rule on the correlation of two cells, item by item: how alike what was measured of the same places is."""

from typing import Any

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.records import Records, column
from vision_attn.spec import InputError, spec
from vision_attn.verdicts.means import MeanVerdict, OneSided
from vision_attn.verdicts.seeds import Cell, Terms


@spec
class CorrelationVerdict(OneSided):
    """The mean correlation of a metric between two cells, seed by seed, against a bound.

    Of a seed it is Pearson's correlation over the last of the coordinates `along`, such as the patches of an image,
    between the runs of `at` and `reference`, mean over the coordinates before, such as images; of ranks it is
    Spearman's. Where one of the two is the same everywhere it is 0.
    """

    at: Cell
    reference: Cell
    along: tuple[str, ...] = ("image", "patch")

    def check(self) -> None:
        MeanVerdict.check(self)
        self.require("along", len(self.along) >= 1, "one coordinate or more")
        self.require("reduce", self.reduce == "one", "'one'")

    @property
    def cells(self) -> Terms:
        return ((1.0, self.at), (1.0, self.reference))

    @property
    def _what(self) -> str:
        outer = f" (mean over {wording.listing([f'{name}s' for name in self.along[:-1]])})" if self.along[1:] else ""
        by = f"correlation by {self.along[-1]}{outer}"
        return f"{by} of {self._place(self.at)} with {self._place(self.reference)}"

    @property
    def _bound(self) -> str:
        return f"{self.bound:g}"

    @property
    def _reported(self) -> str:
        return "correlation"

    def _compared_with(self, cells: pd.DataFrame) -> str:
        return self._bound

    def _of_seeds(self, values: pd.DataFrame, levels: dict[str, Any], records: Records) -> pd.Series:
        """Of each seed all its values by their coordinates."""
        names = [column(records, name) for name in self.along]
        if values.duplicated([self.over, *names]).any():
            sentence = f"cells of {type(self).__name__} must name one value a {self.over}, {' and '.join(self.along)}"
            raise InputError(f"{sentence}. Got several of {self._place(tuple(levels.items()))} instead.")
        found = {seed: own.set_index(names)["value"] for seed, own in values.groupby(self.over, observed=True)}
        return pd.Series(list(found.values()), index=pd.Index(list(found), name=self.over), dtype=object)

    def _joined(self, values: pd.DataFrame) -> np.ndarray:
        return np.array([self._correlation(one, other) for one, other in values.to_numpy()], dtype=float)

    def _correlation(self, one: pd.Series, other: pd.Series) -> float:
        both = pd.concat([one.rename("one"), other.rename("other")], axis=1)
        if lone := int(both.isna().any(axis=1).sum()):
            sentence = f"cells of {type(self).__name__} must both be measured at every {' and '.join(self.along)}"
            raise InputError(f"{sentence}. Got {lone} of {len(both)} in one of them only instead.")
        outer = list(range(len(self.along) - 1))
        parts = [part for _, part in both.groupby(level=outer)] if outer else [both]
        found = [0.0 if part.nunique().min() < 2 else part["one"].corr(part["other"]) for part in parts]
        return float(np.mean(found))
