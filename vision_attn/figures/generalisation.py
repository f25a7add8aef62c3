"""Generalisation: accuracy on the training images beside accuracy on the test images."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.lines import Lines, Panel
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec

SPLITS = {"train": "training images", "test": "test images"}


@spec
class Generalisation(Lines):
    """A metric on the training and on the test images, one panel per level of `hue`.

    Both low: the model underfits. Training high and test low: it overfits. The height between the lines is the
    generalisation gap.
    """

    title: ClassVar[str] = "Training against test"
    own_columns: ClassVar[tuple[str, ...]] = ("split",)
    factor_fields: ClassVar[tuple[str, ...]] = ("x", "hue")

    metric: str = "accuracy"
    x: str = "train_size"

    def values(self, view: View) -> pd.DataFrame:
        parts = [view.pick(self.metric, split=split).assign(split=split) for split in SPLITS]
        return pd.concat(parts, ignore_index=True)

    def line_name(self) -> str:
        return "split"

    def panel_names(self, view: View) -> list[str]:
        return [*view.panels, self.hue]

    def line_levels(self, table: pd.DataFrame, view: View) -> list[Any]:
        return list(SPLITS)

    def styles(self, rows: pd.DataFrame, names: Sequence[Any], view: View) -> dict[Any, dict[str, Any]]:
        style = view.styles[rows[self.hue].iloc[0]] if len(rows) else theme.Style(theme.INK, "o")
        return {"train": {"style": style, "hollow": True}, "test": {"style": style}}

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        values = self.values(view)
        parts = [view.means(values[values["split"] == split], by=view.by).assign(split=split) for split in SPLITS]
        out = pd.concat(parts, ignore_index=True)
        out["split"] = pd.Categorical(out["split"], categories=list(SPLITS), ordered=True)
        return out[[*view.by, "split", "estimate", "low", "high", "n", "sd", "planned"]]

    def columns(self, panels: int, view: View) -> int:
        models = len(view.styles)
        return models if models <= 4 else 3

    def singles(self, view: View) -> None:
        """None: two lines of bars are enough."""

    def lines(self, panel: Panel, view: View) -> None:
        """Both lines at the same places, and the height between them shaded."""
        x, splits = np.array(list(panel.places.values())), panel.rows.set_index(self.x).groupby("split", observed=True)
        lines = {name: splits.get_group(name).reindex(list(panel.places)) for name in panel.styles}
        train, test = (lines[name]["estimate"].to_numpy(float) for name in SPLITS)
        panel.axes.fill_between(x, train, test, color=panel.styles["test"]["style"].colour, alpha=0.10, linewidth=0)
        for name, style in panel.styles.items():
            marks.interval_line(panel.axes, x, lines[name], **style, name=SPLITS[name])

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        ink = theme.Style(theme.INK, "o")
        return {SPLITS[split]: marks.handle(ink, hollow=split == "train") for split in self._measured(table)}

    def _measured(self, table: pd.DataFrame) -> list[str]:
        """The splits that have values; both where there is none."""
        return [split for split in SPLITS if table.loc[table["split"] == split, "n"].sum()] or list(SPLITS)

    def quantity(self, view: View) -> str:
        return self.metric.replace("_", " ")

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        what = self.metric.replace("_", " ").capitalize()
        if len(measured := self._measured(table)) == 1:
            other = next(text for split, text in SPLITS.items() if split not in measured)
            return f"{what} on the {SPLITS[measured[0]]}{view.data_text}. Nothing is known of the {other}."
        return (
            f"{what} on the training subset and on the test images{view.data_text}. Both "
            "low: underfitting; training high and test low: overfitting. The shaded height is the generalisation gap."
        )

    def counted(self, table: pd.DataFrame, view: View) -> tuple[pd.DataFrame, list[str]]:
        return table[table["split"] == self._measured(table)[-1]], view.by

    def bars(self) -> str:
        return f"Bars: {100 * self.level:g} % Student-t intervals."

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        return [view.elsewhere(table, self.metric, *SPLITS)]

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        view = self.view(records)
        train = {
            tuple(row[name] for name in view.by): row for row in table[table["split"] == "train"].to_dict("records")
        }

        def cell(row: dict[Any, Any]) -> str:
            other = train[tuple(row[name] for name in view.by)]
            texts = [wording.number(each["estimate"], metric=self.metric) for each in (other, row)]
            return " → ".join(texts) if row["n"] or other["n"] else "–"

        return view.wide(table[table["split"] == "test"], cell, rows=[*view.panels, self.x])
