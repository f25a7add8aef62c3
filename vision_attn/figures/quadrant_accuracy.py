"""Quadrant accuracy: what a model that saw objects in one quadrant makes of them in the others."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from vision_attn import wording
from vision_attn.figures import marks, theme
from vision_attn.figures.altered_images import AlteredImages
from vision_attn.figures.lines import Panel
from vision_attn.figures.view import View
from vision_attn.spec import spec

NAMES = ("upper left", "upper right", "lower left", "lower right")
SHADE = "#ececec"
"""Behind the quadrants with training images."""
SHADED = "with training images"


@spec
class QuadrantAccuracy(AlteredImages):
    """Accuracy by the quadrant in which the object stands, of models of `Quadrants`, from `SubgroupAccuracy`.

    Dots over the four quadrants; those with training images are shaded.
    """

    title: ClassVar[str] = "Objects in other quadrants"
    measured_by: ClassVar[str] = "SubgroupAccuracy"
    coordinate: ClassVar[str] = "quadrant"
    x_label: ClassVar[str] = "quadrant of the test object"
    is_linear: ClassVar[bool] = True

    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        return {}

    def altered(self) -> tuple[str, str]:
        of = "by the quadrant of the canvas in which the object stands (shaded: those with training images)"
        return of, "What falls off in quadrants without training images was learned for a place, not for all."

    def styles(self, rows: pd.DataFrame, names: Sequence[Any], view: View) -> dict[Any, dict[str, Any]]:
        return {name: {"style": self._style(name, view), "line": ""} for name in names}

    def _style(self, name: Any, view: View) -> theme.Style:
        style: theme.Style = view.style(name)["style"]
        return style if style.marker else theme.Style(style.colour, "_")

    def under(self, axes: Axes, rows: pd.DataFrame, view: View) -> None:
        for quadrant in self._trained(rows, view):
            axes.axvspan(quadrant - 0.5, quadrant + 0.5, color=SHADE, linewidth=0, zorder=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: NAMES[round(x)].replace(" ", "\n")))
        axes.set_xlim(-0.5, len(NAMES) - 0.5)
        axes.grid(visible=False, axis="x")
        super().under(axes, rows, view)

    def _trained(self, rows: pd.DataFrame, view: View) -> list[int]:
        """The quadrants with training images, where all runs of a panel have the same."""
        panel = rows[list(view.panels)].iloc[0].to_dict() if len(rows) else {}
        found = set()
        for cell in view.plan.cells:
            if all(cell.factors[name] == level for name, level in panel.items()):
                data = view.plan.runs[cell.run].run.get("data", {})
                found.add(tuple(data.get("train_quadrants", (0,))) if data.get("kind") == "Quadrants" else ())
        return list(found.pop()) if len(found) == 1 else []

    def lines(self, panel: Panel, view: View) -> None:
        """Dots side by side over every quadrant, with their intervals."""
        count, x = len(panel.styles), self.x_name(view)
        for i, (name, style) in enumerate(panel.styles.items()):
            aside = 0.6 * ((i + 0.5) / count - 0.5)
            own = panel.rows[panel.rows[self.hue] == name].set_index(x).reindex(list(panel.places))
            at = np.array(list(panel.places.values())) + aside
            marks.interval_line(panel.axes, at, own, **style, name=wording.level_text(self.hue, name))

    def ends(self, drawn: pd.DataFrame, places: dict[Any, float], view: View) -> list[tuple[str, float, float, str]]:
        """None: there are no lines."""
        return []

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        shown = [name for name in view.styles if name in set(table[self.hue])]
        entries = {wording.level_text(self.hue, name): marks.handle(self._style(name, view), line="") for name in shown}
        if any(self._trained(rows, view) for _, rows in view.parts(table)):
            entries[SHADED] = Line2D([], [], color=SHADE, linewidth=9)
        return entries

    def bars(self) -> str:
        return f"Bars: {100 * self.level:g} % Student-t intervals."
