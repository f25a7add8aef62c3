"""Figure: a table computed from the records, and the drawing of that table."""

import abc
from typing import Any, ClassVar

import pandas as pd

from vision_attn.figures import theme
from vision_attn.records import Records
from vision_attn.spec import Spec, spec

Levels = tuple[tuple[str, str | int | float | bool], ...]
"""Levels of some factors, to which a figure keeps: (("distance", 7),)."""


@spec
class Figure(Spec, abc.ABC):
    """A figure of the report. Raises `InputError` where the records do not have what it asks for."""

    title: ClassVar[str]
    opens_table: ClassVar[bool] = False
    """Whether the page shows the table at once, rather than folded away."""
    files: ClassVar[tuple[str, ...]] = ("svg", "png")
    """The formats it is written in."""

    def applies(self, plan: dict[str, Any]) -> bool:
        """Whether the plan has what the figure is about; the page leaves it out otherwise."""
        return True

    @abc.abstractmethod
    def table(self, records: Records) -> pd.DataFrame:
        """The numbers drawn, with `estimate, low, high, n` where there is an interval. Written as CSV."""

    @abc.abstractmethod
    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        """A matplotlib Figure of the table, or `into` with it, a part of a page that is there already.

        Every number drawn is in the table, or is a single record.
        """

    @abc.abstractmethod
    def caption(self, table: pd.DataFrame, records: Records) -> str:
        """What is seen: the quantity, the interval, the numbers of seeds, the data set."""

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        """The table as it stands on the page, every cell a text. It may be wide where the table is long."""
        return table.astype(object).map(lambda cell: "" if pd.isna(cell) else str(cell))
