"""Figure: a table computed from the records, and the drawing of that table."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as PageFigure
from matplotlib.figure import SubFigure

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.view import View
from vision_attn.plan import Plan
from vision_attn.records import Records, fitted_levels, may_have, require_factor, require_level
from vision_attn.selection import at_largest, largest, select_records
from vision_attn.spec import InputError, Spec, spec

if TYPE_CHECKING:
    from vision_attn.figures.plot import Plot, Width

Levels = tuple[tuple[str, str | int | float | bool], ...]
"""Levels of some factors, to which a figure keeps: (("distance", 7),)."""


@spec
class Figure(Spec, abc.ABC):
    """A figure of the report. Raises `InputError` where the records do not have what it asks for."""

    title: ClassVar[str]
    opens_table: ClassVar[bool] = False
    """Whether the page shows the table at once, rather than folded away."""
    files: ClassVar[tuple[str, ...]] = ("svg", "png", "pdf")
    """The formats it is written in."""
    measured_by: ClassVar[str] = ""
    """The probe whose records it draws, where a table of results made elsewhere cannot hold the like."""

    def applies(self, plan: Plan) -> bool:
        """Whether the plan has what the figure is about; the page only names it otherwise."""
        return True

    def heading(self) -> str:
        """The title over this figure in words that tell it from others of its kind; "" where `title` says enough."""
        return ""

    def view(self, records: Records) -> Records:
        """The records as the figure sees them; given to its other methods, it saves them the same work."""
        return records

    def instead(self, table: pd.DataFrame, records: Records) -> str:
        """A sentence that says all there is, in the place of a drawing that would show nothing; "" where one does."""
        return ""

    def is_empty(self, table: pd.DataFrame) -> bool:
        """Whether nothing of what it draws is measured yet."""
        counts = pd.to_numeric(table["n"], errors="coerce") if "n" in table else pd.Series([1.0])
        return bool((counts == 0).all())

    @abc.abstractmethod
    def table(self, records: Records) -> pd.DataFrame:
        """The numbers drawn, with `estimate, low, high, n` where there is an interval. Written as CSV."""

    @abc.abstractmethod
    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        """A matplotlib Figure of the table, or `into` with it: a figure, a part of one, or axes that are there already.

        Every number drawn is in the table, or is a single record.
        """

    def plot(
        self,
        records: Records,
        *,
        ax: Axes | None = None,
        figure: PageFigure | SubFigure | None = None,
        width: "Width | None" = None,
        title: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> "Plot":
        """The figure of those records, drawn: for a notebook, a paper (`save`), or as a part of another figure.

        It is drawn on the axes `ax`, if it has one panel, or fills `figure`, if one of them is given; else it is a
        figure of its own, by the user's `rcParams`. For `width`, `title` and `labels` see `Plot`.
        """
        from vision_attn.figures.plot import Plot

        if ax is not None and figure is not None:
            raise InputError("ax must be left out where figure is given.")
        _require_one("records", records, Records, "Records, such as Records.from_frame(frame)")
        _require_one("ax", ax, Axes | None, "one panel of matplotlib, such as the first of plt.subplots(1, 2)[1]")
        _require_one("figure", figure, PageFigure | SubFigure | None, "a figure or subfigure of matplotlib")
        return Plot(self, records, into=figure if ax is None else ax, width=width, title=title, labels=labels)

    @abc.abstractmethod
    def caption(self, table: pd.DataFrame, records: Records) -> str:
        """What is seen: the quantity, the interval, the numbers of seeds, the data set."""

    def small_print(self, table: pd.DataFrame, records: Records) -> str:
        """What stands below the figure itself: the data, how many runs a mark stands for, what the bars are."""
        counts = pd.to_numeric(table["n"], errors="coerce") if "n" in table else pd.Series(dtype=float)
        counts = counts[counts > 0]
        said = [wording.data_text(records).removeprefix(" on ")]
        if len(counts):
            least, most = int(min(counts)), int(max(counts))
            said.append(f"n = {most}" if least == most else f"n = {least} to {most}")
            said.append(self.bars_text() if most > 1 else "")
        return " · ".join(filter(None, said))

    def bars_text(self) -> str:
        """What the bars are, in the small print; "" where there are none."""
        return ""

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        """The table as it stands on the page, every cell a text. It may be wide where the table is long."""
        return table.astype(object).map(lambda cell: "" if pd.isna(cell) else str(cell))


def _require_one(field: str, value: Any, kind: Any, allowed: str) -> None:
    if not isinstance(value, kind):
        raise InputError(f"{field} of plot must be {allowed}. Got a {type(value).__name__} instead.")


@spec
class OverSeeds(Figure, abc.ABC):
    """A figure of means over the factor `over`, with intervals of `level`, and a colour for every level of `hue`.

    It keeps to the levels `given` of other factors; a plan without those levels has no such figure. Where `choose` is
    a factor that it does not draw, it shows the level chosen for every level of `hue` (`selection.selections`). Where
    `budget` is one, it shows every cell at the largest level planned for it; with None there is a panel for each.
    """

    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over")
    """The fields that hold factors of the experiment. One that is None holds none."""
    interval: ClassVar[str] = "Student-t"
    """The kind of the intervals drawn; "" where there are none."""

    own_columns: ClassVar[tuple[str, ...]] = ()
    """Columns of its table that no factor may take the names of, beside those that every factor must leave alone."""

    own_values: ClassVar[tuple[str, ...]] = ()
    """Columns of its single values that the factor `over` may not take the names of, either."""
    own_hues: ClassVar[tuple[str, ...]] = ()
    """Columns that the factor `hue` may not take the names of, though others may."""

    hue: str = "model"
    over: str = "seed"
    level: float = 0.95
    choose: str | None = "learning_rate"
    given: Levels = ()
    budget: str | None = "images_seen"

    def bars_text(self) -> str:
        return f"bars: {100 * self.level:g} % {self.interval} intervals over {self.over}s" if self.interval else ""

    def check(self) -> None:
        self.require("level", 0 < self.level < 1, "between 0 and 1, such as 0.95")

    @property
    def reference_level(self) -> Any:
        """The level of `hue` that the others are compared to, where there is one."""
        return getattr(self, "reference", None)

    @property
    def shows_differences_only(self) -> bool:
        """Whether nothing is left to be seen where the reference is the only level of `hue`."""
        return False

    def applies(self, plan: Plan) -> bool:
        """Where the plan has the levels `given`, the reference among those of `hue`, and what to compare it with.

        And where the probe that measures what it draws fits any of the runs.
        """
        has_given = all(may_have(plan, name, level) for name, level in self.given)
        has_reference = self.reference_level is None or may_have(plan, self.hue, self.reference_level)
        is_measured = not self.measured_by or plan.may_measure(self.measured_by)
        return has_given and has_reference and is_measured and not self._lacks_others(plan)

    def _lacks_others(self, plan: Plan) -> bool:
        return self.shows_differences_only and set(plan.factors.get(self.hue, ())) == {self.reference_level}

    def named_factors(self, plan: Plan) -> list[str]:
        """The factors that its fields name. Raises `InputError` where the plan has not one, or two fields name one."""
        fields = {field: name for field in self.factor_fields if (name := getattr(self, field)) is not None}
        first: dict[str, str] = {}
        for field, name in fields.items():
            require_factor(plan, field, type(self).__name__, name)
            if (other := first.setdefault(name, field)) != field:
                raise InputError(
                    f"{field} of {type(self).__name__} must be another factor than {other}. Both are {name!r}."
                )
        return list(fields.values())

    def view(self, records: Records) -> View:
        """The records that it shows. Raises `InputError` where a field names no factor, or the plan lacks a level."""
        if isinstance(records, View) and records.figure == self:
            return records
        what, used = type(self).__name__, [*self.named_factors(records.plan), *self.coordinates()]
        budget = self.budget_factor(records)
        budget = budget if len(records.plan.factors.get(budget, ())) > 1 else ""
        top = largest(records, budget, over=self.over) if budget else None
        own = records if top is None else at_largest(records, budget, top)
        own = select_records(own, choose=self.choose, used=used, by=(self.hue,), given=self.given)
        if self.reference_level is not None:
            require_level(own.plan, "reference", what, self.hue, self.reference_level)
        if self._lacks_others(own.plan):
            raise InputError(f"{what} compares with {self.reference_level}, and there is no other level of {self.hue}.")
        view = View.of(own, figure=self, used=used)
        taken = [name for name in view.by if name in self.own_columns]
        taken += [self.over] if self.over in self.own_values else []
        taken += [self.hue] if self.hue in self.own_hues else []
        if taken:
            raise InputError(f"factors of {what} must have other names than columns of its own. Got {taken[0]!r}.")
        if top is None:
            return view
        trained = ~top[self.hue].isin(fitted_levels(records.plan, self.hue)) if self.hue in top else slice(None)
        return dataclasses.replace(view, budget=budget, budgets=tuple(sorted(top.loc[trained, budget].unique())))

    def budget_factor(self, records: Records) -> str:
        """The factor `budget` where the records have it and it is neither drawn nor given, else ""."""
        taken = [*(getattr(self, field) for field in self.factor_fields), self.over, *(name for name, _ in self.given)]
        wanted = self.budget or ""
        return wanted if wanted in records.plan.factors and wanted not in taken else ""

    def coordinates(self) -> tuple[str, ...]:
        """Names that are drawn whether they are factors or coordinates of the records."""
        return ()
