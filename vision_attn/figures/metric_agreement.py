"""Metric agreement: do metrics put the same methods in the same order?"""

import itertools
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, theme
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import mean_interval

WORDS = "metric in words"
CELL = 0.42
"""The inches that a number in a cell needs."""


@spec
class MetricAgreement(OverSeeds):
    """Spearman's rank correlation, over methods, of every metric with every other, mean over seeds; a panel a model.

    A metric with further coordinates, such as a fill, counts as one for each of their levels. 1: both put the methods
    in the same order. Where metrics of one thing disagree, a single one decides nothing (Klein et al. 2024,
    arXiv:2409.16756).
    """

    title: ClassVar[str] = "Agreement of metrics"
    measured_by: ClassVar[str] = "Pointing"
    own_columns: ClassVar[tuple[str, ...]] = ("one", "other")
    own_values: ClassVar[tuple[str, ...]] = own_columns
    interval: ClassVar[str] = ""

    metrics: tuple[str, ...] = ("hit_share", "mass_share", "deletion_gap", "deletion_correlation")
    method: str = "method"

    def check(self) -> None:
        super().check()
        self.require("metrics", len(set(self.metrics)) == len(self.metrics) >= 1, "one or more different names")

    def coordinates(self) -> tuple[str, ...]:
        return (self.method,)

    def _correlations(self, view: View) -> pd.DataFrame:
        """The rank correlation of every pair of metrics in every run: factors, one, other, value."""
        name, frame = view.column(self.method), view.values
        columns = [*view.plan.factors, "run", "one", "other", "value"]
        if name not in frame:
            return pd.DataFrame(columns=columns)
        frame = frame[frame["metric"].isin(self.metrics) & frame[name].notna()]
        others = list(frame.columns[list(frame.columns).index("value") + 1 :].difference([name]))
        keys = frame[others].apply(lambda row: ", ".join(f"{k} {v}" for k, v in row.items() if not pd.isna(v)), axis=1)
        texts = frame["metric"].map(wording.metric_text) + (
            "" if frame.empty else keys.map(lambda k: f", {k}" if k else "")
        )
        frame = frame.assign(**{WORDS: texts})
        known = list(dict.fromkeys(frame.sort_values("metric", key=lambda m: m.map(self.metrics.index))[WORDS]))
        found = []
        for _, own in frame.groupby("run", sort=False):
            table = own.pivot_table(index=name, columns=WORDS, values="value").reindex(columns=known)
            matrix = table.corr(method="spearman", min_periods=3)
            factors = own.iloc[0][[*view.plan.factors, "run"]].to_dict()
            for one, other in itertools.product(known, known):
                if not np.isnan(value := float(matrix.loc[one, other])):
                    found.append({**factors, "one": one, "other": other, "value": value})
        return pd.DataFrame(found, columns=columns)

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        found = self._correlations(view)
        known = list(dict.fromkeys(found["one"]))
        means = mean_interval(found, by=[*view.rows, "one", "other"], level=self.level)
        columns = [*view.rows, "one", "other", "estimate", "low", "high", "n", "sd", "planned"]
        out = view.joined(means, by=view.rows).reindex(columns=columns).astype(view.runs[view.rows].dtypes.to_dict())
        for key in ("other", "one"):
            out = out.iloc[out[key].map({text: i for i, text in enumerate(known)}).astype(float).argsort(kind="stable")]
        return out.sort_values(view.rows, kind="stable").reset_index(drop=True)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        parts = [(title, rows) for title, rows in view.parts(table, view.rows) if rows["n"].sum()]
        with theme.style(into):
            if not parts:
                figure, (axes,) = theme.canvas(1, into=into)
                lettering.blank(axes)
                return figure
            side = max(rows["one"].nunique() for _, rows in parts)
            margin = lettering.text_width(table["one"].dropna())
            across = len(parts)
            if isinstance(into, theme.Page) and into.given_width:
                across = max(1, min(across, int(into.given_width / (CELL * side + margin))))
            down = -(-len(parts) // across)
            size = (0.62 * side + margin) * across, (0.62 * side + 0.7 * margin + 0.5) * down
            figure = theme.sheet(size, into=into, is_scaled=True)
            grid = figure.subplots(down, across, squeeze=False).ravel()
            for axes in grid[len(parts) :]:
                axes.set_visible(False)
            for axes, (title, rows) in zip(grid, parts, strict=False):
                _matrix(axes, rows)
                lettering.titled(axes, title, wide=theme.width(axes) - margin)
        return figure

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        counted = table.sort_values("n", kind="stable").drop_duplicates(view.rows).sort_index()
        said = f"Spearman's rank correlation over methods, the baselines among them, of metrics{view.data_text}."
        return f"{said} {wording.seeds_text(counted, view.rows[::-1], unit=self.over)}"

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        rows = table[table["one"] != table["other"]].to_dict("records")
        return pd.DataFrame(
            [
                view.heads(row)
                | {"metric": _text(row["one"]), "with": _text(row["other"])}
                | {"rank correlation": wording.interval(row, metric="")}
                for row in rows
                if pd.isna(row["one"]) or row["one"] < row["other"]
            ]
        )


def _text(name: Any) -> str:
    return "–" if pd.isna(name) else str(name)


def _matrix(axes: Axes, rows: pd.DataFrame) -> None:
    """The correlations of a panel as colours with their numbers."""
    names = list(dict.fromkeys(rows["one"]))
    values = rows.pivot(index="one", columns="other", values="estimate").reindex(index=names, columns=names)
    axes.imshow(values.to_numpy(float), cmap="RdBu", vmin=-1, vmax=1)
    for (down, across), value in np.ndenumerate(values.to_numpy(float)):
        if not np.isnan(value):
            colour = "white" if abs(value) > 0.6 else theme.INK
            axes.text(
                across, down, f"{value:.2f}".replace("-", "−"), ha="center", va="center", color=colour, fontsize=8
            )
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
