"""Dots: what all dot plots share. A row a level of `hue`, with a value and its interval, panels for other factors."""

import abc
from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, theme
from vision_attn.figures.axes import rows_axis, rows_size, share_axis
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec


@spec
class Dots(OverSeeds, abc.ABC):
    """A dot plot (Cleveland 1985): models, or other levels, as rows, the first on top."""

    opens_table: ClassVar[bool] = True
    row_height: ClassVar[float] = 0.4
    """In inches."""
    says_nothing: ClassVar[bool] = True
    """Whether a panel of which nothing is measured says so; else its rows do."""

    def rows(self, view: View) -> dict[Any, str]:
        """The rows that a panel may have, with their texts, by what `key` makes of a row of the table."""
        return {name: wording.level_text(self.hue, name) for name in view.styles if name != self.reference_level}

    def key(self, row: dict[Any, Any]) -> Any:
        """To which row of the panel a row of the table belongs."""
        return row[self.hue]

    @abc.abstractmethod
    def draw_row(self, axes: Axes, row: dict[Any, Any], place: int, view: View) -> None:
        """One row: a mark at the value, with its interval."""

    @abc.abstractmethod
    def draw_axis(self, axes: Axes, view: View) -> None:
        """The x axis of a panel, and what lies under the rows."""

    @property
    def is_of_shares(self) -> bool:
        """Whether the x axis has shares in percent, none of which is below 0 or above 100."""
        return False

    def finish(self, panels: list[Axes], table: pd.DataFrame, view: View) -> None:
        """What is common to all panels, once they are drawn."""
        if self.is_of_shares:
            for axes in panels:
                share_axis(axes, along="x")

    def legend(self, view: View) -> dict[str, Any]:
        """The entries of the legend; the rows have their names beside them."""
        return {}

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        with theme.style(into):
            if text := self.instead(table, view):
                return lettering.sentence(text, into=into)
            planned = {self.key(row) for row in table.to_dict("records")}
            rows = {key: text for key, text in self.rows(view).items() if key in planned}
            parts = view.parts(table, with_empty=not self.says_nothing)
            names = lettering.row_names(rows.values(), into=into)
            size, beside = rows_size(names, len(parts), panel=3.9, row=self.row_height), lettering.text_width(names)
            sheet, panels = theme.canvas(len(parts), columns=2, size=size, beside=beside, into=into)
            for axes, (title, own) in zip(panels, parts, strict=True):
                self.draw_axis(axes, view)
                lettering.wrap_x(axes, beside=beside)
                place = {key: i for i, key in enumerate(rows)}
                for row in own.to_dict("records"):
                    self.draw_row(axes, row, place[self.key(row)], view)
                rows_axis(axes, names)
                lettering.titled(axes, title)
                if self.says_nothing and not own["n"].sum():
                    lettering.blank(axes)
            self.finish(panels, table, view)
            lettering.legend(sheet, self.legend(view))
        return sheet
