"""Convergence: how many updates it takes to learn the task, and how many runs do."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, marks, theme
from vision_attn.figures.axes import log_axis, size_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec
from vision_attn.statistics import updates_to_threshold

CROWDED = 6
NAME = 28
"""The longest line of a name beside the map, in letters."""


@spec
class ConvergenceSteps(OverSeeds):
    """Updates until validation accuracy first reaches `threshold`, and the share of runs that reach it.

    A run that diverged before it was validated has not reached it. Lines; more than six models are the rows of a map.
    """

    title: ClassVar[str] = "Convergence"
    own_columns: ClassVar[tuple[str, ...]] = ("runs", "share", "share_low", "share_high")
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue", "over")

    metric: str = "val_accuracy"
    threshold: float = 0.95
    x: str = "distance"

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        ended = view.runs[view.runs["state"].isin(["done", "diverged"])]
        history = view.history[view.history["run"].isin(ended["run"])]
        names = {"value": view.column(self.metric), "update": view.column("update")}
        if names["value"] in history:
            seen = history.loc[history[names["value"]].notna(), "run"]
            unseen = ended[(ended["state"] == "diverged") & ~ended["run"].isin(seen)]
            lost = unseen[[*view.plan.factors, "run"]].assign(**{names["value"]: 0.0})
            history = pd.concat([history, lost], ignore_index=True) if len(lost) else history
        found = updates_to_threshold(history, by=view.by, threshold=self.threshold, level=self.level, **names)
        columns = ["estimate", "low", "high", "n", "runs", "share", "share_low", "share_high", "planned"]
        return view.joined(found, by=view.by, counts=("n", "runs"))[[*view.by, *columns]]

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        if self._is_map(view):
            return self._map(table, view, into)
        with theme.style(into):
            parts = view.parts(table, with_empty=True)  # n counts the runs that reach the threshold
            across = 1 if theme.is_narrow(into) else 2
            size = (7.2, 2.7 * len(parts) + 0.6) if across == 2 else (theme.NARROW, 4.2 * len(parts) + 0.4)
            sheet = theme.sheet(size, into=into, is_scaled=across == 2)
            grid = sheet.subplots(len(parts) * 2 // across, across, sharex=True, squeeze=False).reshape(-1, 2)
            for (left, right), (title, rows) in zip(grid, parts, strict=True):
                for axes in (left, right):
                    axes.grid(visible=True, axis="y")
                    axes.spines[["top", "right"]].set_visible(False)
                    lettering.titled(axes, title)
                    axes.xaxis.label.set_visible(left is grid[-1][0] and (across == 2 or axes is right))
                self._panel(left, rows, view, names=("estimate", "low", "high"))
                self._panel(right, rows, view, names=("share", "share_low", "share_high"))
                left.set_ylabel(f"updates to {100 * self.threshold:g} % accuracy")
                right.set_ylabel(f"runs that reach\n{100 * self.threshold:g} % accuracy (%)")
                right.set_ylim(-3, 103)
                if rows["n"].sum():
                    left.set_yscale("log")
                    log_axis(left)
                else:
                    text = "no run reaches it" if rows["runs"].sum() else "nothing measured yet"
                    left.text(0.5, 0.6, text, transform=left.transAxes, ha="center", color=theme.FAINT)
            lettering.legend(sheet, view.legend())
        return sheet

    def bars_text(self) -> str:
        return f"bars: {100 * self.level:g} % intervals, Student-t of logarithms (left), Clopper and Pearson (right)"

    def small_print(self, table: pd.DataFrame, records: Records) -> str:
        """A map has no bars; n, the runs that reach the threshold, differs from mark to mark."""
        view = self.view(records)
        said = [wording.data_text(view).removeprefix(" on "), f"{int(table['runs'].sum()):,} runs"]
        return " · ".join(filter(None, [*said, "" if self._is_map(view) else self.bars_text()]))

    def _is_map(self, view: View) -> bool:
        return len(view.styles) > CROWDED and not view.panels

    def _map(self, table: pd.DataFrame, view: View, into: theme.Canvas | None) -> theme.Canvas:
        """Models in rows, `x` in columns: the colour is the share of runs that reach it, the number their updates."""
        import seaborn as sns  # as in theme

        names, levels = view.levels(self.hue), view.levels(self.x)
        place = table.set_index([self.hue, self.x])
        shares = 100 * place["share"].unstack().reindex(index=names, columns=levels).astype(float)
        texts = place["estimate"].unstack().reindex(index=names, columns=levels)
        texts = texts.map(lambda updates: "" if pd.isna(updates) else f"{updates:,.0f}").where(shares.notna(), "–")
        labels = [lettering.shown(lettering.wrapped(wording.level_text(self.hue, name), NAME)) for name in names]
        high = max(0.3, 0.19 * max(label.count("\n") + 1 for label in labels))
        with theme.style(into):
            sheet = theme.sheet((3.2 + 0.75 * len(levels), 0.9 + high * len(names)), into=into)
            axes = sheet.subplots()
            style = {"vmin": 0, "vmax": 100, "cmap": "Blues", "linewidths": 1, "linecolor": "white"}
            bar = {"label": f"runs that reach {100 * self.threshold:g} % accuracy (%)"}
            sns.heatmap(shares, annot=texts, fmt="", ax=axes, cbar_kws=bar, yticklabels=labels, **style)
            axes.tick_params(axis="y", rotation=0)
            axes.set(xlabel=lettering.shown(_axis_text(self.x)), ylabel="")
            axes.set_title(f"numbers: updates to {100 * self.threshold:g} % accuracy", loc="left")
            axes.tick_params(length=0)
        return sheet

    def _panel(self, axes: Axes, rows: pd.DataFrame, view: View, *, names: tuple[str, str, str]) -> None:
        places = size_axis(axes, view.levels(self.x), label=_axis_text(self.x), linear=True)
        for i, (name, style) in enumerate(view.styles.items()):
            at, _ = marks.dodge(places, i, len(view.styles), logarithmic=False)
            own = rows[rows[self.hue] == name].set_index(self.x).reindex(list(places))
            is_share = names[0] == "share"
            drawn = own[list(names)].set_axis(["estimate", "low", "high"], axis=1)
            drawn = drawn.assign(n=own["runs" if is_share else "n"])
            drawn, alpha = (wording.percent(drawn), 0.3) if is_share else (drawn, 0.75)
            said = wording.level_text(self.hue, name)
            marks.interval_line(axes, np.array(list(at.values())), drawn, style, alpha=alpha, name=said)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        if not table["runs"].sum():
            return "Nothing is measured yet."
        view = self.view(records)
        runs = int(table["runs"].sum())
        mean = f"the geometric mean over the runs that reach it, with its {100 * self.level:g} % Student-t interval"
        until = (
            f"updates until {wording.history_text(self.metric)}"
            f"{view.data_text} is first at {100 * self.threshold:g} %, as logged"
        )
        said = [
            f"Left: {until}: {mean} of logarithms. Right: the share of runs that reach it, with the interval of "
            "Clopper and Pearson.",
            f"{runs:,} runs, {int(table['n'].sum()):,} of them reach it. A mean on the left leaves out the others.",
        ]
        if self._is_map(view):
            said = [
                f"Numbers: {until}: {mean} in the table. Colour: the share of runs that reach it.",
                f"{runs:,} runs, {int(table['n'].sum()):,} of them reach it. A mean leaves out the others.",
            ]
        lacking = int((table["planned"] - table["runs"]).sum())
        if lacking:
            said.append(f"{lacking:,} planned runs are not in.")
        return " ".join(said)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        return view.wide(table, _cell, rows=[*view.panels, self.x])


def _axis_text(name: str) -> str:
    return "distance (cells)" if name == "distance" else wording.factor_text(name)


def _cell(row: dict[Any, Any]) -> str:
    """340 [290, 400] (3 of 3)."""
    if not row["runs"]:
        return "–"
    count = f"({row['n']} of {row['runs']})"
    if not row["n"]:
        return count
    text = f"{row['estimate']:,.0f}"
    if not pd.isna(row["low"]):
        text += f" [{row['low']:,.0f}, {row['high']:,.0f}]"
    return f"{text} {count}"
