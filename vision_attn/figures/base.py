"""Figure: a table computed from the records, and the drawing of that table."""

import abc
import dataclasses
from typing import Any, ClassVar

import pandas as pd

from vision_attn.spec import Spec, spec


@dataclasses.dataclass(frozen=True)
class Records:
    """All that a figure may draw from.

    `values`: one row a measured number (the factors, `run`, `metric`, `value`, coordinates);
    `history`: one row a run and logged update; `runs`: one row a cell of the plan, whatever became of it;
    `plan`: the plan, as read from plan.json.
    """

    values: pd.DataFrame
    history: pd.DataFrame
    runs: pd.DataFrame
    plan: dict[str, Any]


@spec
class Figure(Spec, abc.ABC):
    """A figure of the report."""

    title: ClassVar[str]

    @abc.abstractmethod
    def table(self, records: Records) -> pd.DataFrame:
        """The numbers drawn, with `estimate, low, high, n` where there is an interval. Written as CSV."""

    @abc.abstractmethod
    def draw(self, table: pd.DataFrame, records: Records) -> Any:
        """A matplotlib Figure of the table. Every number drawn is in the table."""

    @abc.abstractmethod
    def caption(self, table: pd.DataFrame, records: Records) -> str:
        """What is seen: the quantity, the interval, the numbers of seeds, the data set."""
