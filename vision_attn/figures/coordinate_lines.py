"""Lines along a coordinate of the records, such as the shift of an image or the number of tokens."""

import abc
from typing import Any

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.figures.lines import Lines
from vision_attn.figures.view import View
from vision_attn.records import Records, planned
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval


@spec
class CoordinateLines(Lines, abc.ABC):
    """A metric along `x_name`, a coordinate whose levels are those measured: every cell planned at each of them."""

    def cells(self, view: View, values: pd.DataFrame) -> pd.DataFrame:
        """The cells of which each has a line, with the number of runs planned."""
        return planned(view, view.by)

    def levels_by(self, view: View) -> list[str]:
        """The factors whose levels may have other levels of x than the rest."""
        return []

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        x, values, levels_by = self.x_name(view), self.values(view), self.levels_by(view)
        cells, columns = self.cells(view, values), ["estimate", "low", "high", "n", "sd"]
        if values.empty:
            out = cells.assign(**{x: np.nan}, **dict.fromkeys(columns, np.nan))
        else:
            levels = values[[*levels_by, x]].drop_duplicates().sort_values(x)
            means = mean_interval(values, by=[*view.by, x], level=self.level)
            out = cells.merge(levels, how="left" if levels_by else "cross", on=levels_by or None)
            out = out.merge(means, on=[*view.by, x], how="left")
        out["n"] = out["n"].fillna(0).astype(int)
        return out[[*view.by, x, *columns, "planned"]]

    def whole(self, values: pd.DataFrame, x: str) -> pd.DataFrame:
        """The values with levels of x that are whole numbers as such."""
        first = None if values.empty else values[x].iloc[0]
        is_whole = wording.is_number(first) and (values[x].astype(float) % 1 == 0).all()
        return values.assign(**{x: values[x].astype(float).astype("int64")}) if is_whole else values

    def places(self, table: pd.DataFrame, view: View) -> list[Any]:
        return sorted(table[self.x_name(view)].dropna().unique())

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        """Of every cell the row that has the fewest; where there are others, none of a level that the cell lacks."""
        is_measured = table["n"] > 0
        lacks_all = ~is_measured.groupby([table[name] for name in view.by]).transform("any")
        table = table[is_measured | lacks_all]
        return table.sort_values("n", kind="stable").drop_duplicates(view.by).sort_index(), view.by

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        x = self.x_name(self.view(records))
        return super().printed(table.assign(**{x: table[x].astype(object).where(table[x].notna(), "–")}), records)
