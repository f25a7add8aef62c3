"""The figures of a page: drawn, with their tables and files, or the reason why they could not be."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vision_attn import sources, wording
from vision_attn.figures import Figure, rendering, svg, theme
from vision_attn.plan import Plan
from vision_attn.records import Records
from vision_attn.report import protocol
from vision_attn.spec import RENAMED, InputError, from_json, kinds
from vision_attn.store import write_atomic
from vision_attn.tables import to_csv, with_digits

Json = dict[str, Any]

LONG = 16_000
"""Bytes beyond which a figure's table is compressed, as records are: no one reads so much of it by eye."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure on the page. `problem` says in place of everything but its table why it could not be drawn.

    `told` is what is said of every mark where one points at it; `instead` a sentence in the place of the image, which
    a sheet of figures that are on the page has, too, beside its files.
    """

    name: str
    title: str
    caption: str = ""
    image: str = ""
    told: str = ""
    instead: str = ""
    has_files: bool = False
    width: int = 0
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    is_open: bool = False
    problem: str = ""
    table: bytes = b""
    levels: tuple[float, ...] = ()

    @property
    def file(self) -> str:
        """The file of its table, from the folder of the report."""
        return f"tables/{self.name}{'.csv' if len(self.table) <= LONG else '.csv.xz'}"

    @property
    def texts(self) -> set[int]:
        """The places of the columns whose cells all begin with a letter: those of words, not of numbers."""
        columns = [[cell for cell in column if cell != "–"] for column in zip(*self.rows, strict=True)]
        return {i for i, cells in enumerate(columns) if cells and all(cell[:1].isalpha() for cell in cells)}


def named(figures: Sequence[Json]) -> list[tuple[str, Json]]:
    """Every figure of a plan with the name of its files: its kind, numbered where there are several."""
    kinds_of = [str(figure.get("kind")) for figure in figures]
    out = []
    for i, (kind, figure) in enumerate(zip(kinds_of, figures, strict=True)):
        place = kinds_of[: i + 1].count(kind)
        out.append((kind if place == 1 else f"{kind}-{place}", figure))
    return out


def draw(name: str, data: Json, records: Records, folder: Path) -> Drawn | None:
    """Compute, draw and write one figure, and compute its table; None where it does not apply to the plan.

    Where the records lack what it asks for, or it fails by itself, its place on the page says so; no other figure is
    affected.
    """
    figure: Figure | None = None
    try:
        figure = made(data, records.plan)
        if not figure.applies(records.plan):
            return None
        with theme.reproducible():
            drawn, images = _figure(name, data, figure, records)
    except InputError as error:
        return Drawn(name, _plain_title(data, name), problem=str(error))
    except sources.FAULTS as error:  # a figure, perhaps one's own, must not cost the page
        return Drawn(name, _plain_title(data, name), problem=sources.fault(error), table=_table(figure, records))
    for kind, payload in images.items():
        write_atomic(folder / "figures" / f"{name}.{kind}", payload)
    return drawn


def _table(figure: Figure | None, records: Records) -> bytes:
    """The table of a figure that cannot be drawn, as a file; empty where it cannot be computed either."""
    if figure is None:
        return b""
    with contextlib.suppress(InputError, *sources.FAULTS):
        return to_csv(with_digits(figure.table(records)))
    return b""


def made(data: Json, plan: Plan) -> Figure:
    """The figure of its JSON, whose source is loaded first where it is one's own."""
    sources.bring(sources.named(data) & set(plan.sources), plan.experiment)
    return from_json(data, Figure)


def heading(figure: Figure, plan: Plan) -> str:
    """The heading of a figure, without levels of factors that have no others in this plan."""
    given = getattr(figure, "given", ())
    told = tuple(one for one in given if len(plan.factors.get(one[0], ())) != 1)
    return (figure if told == given else figure.replace(given=told)).heading()


def _figure(name: str, data: Json, figure: Figure, records: Records) -> tuple[Drawn, dict[str, bytes]]:
    """A figure as it stands on the page, and its files, which have their text as text."""
    plot = figure.plot(records)
    instead = figure.instead(plot.table, plot.records)
    if not instead and plot.figure.is_empty(plot.table):
        instead = "Nothing is measured yet."  # in the place of panels that would all be empty
    repeats = "" if instead else _repeats(name, data, records.plan.figures)
    is_shown = not (instead or repeats)
    own = ", ".join(_said(field, value) for field, value in data.items() if field != "kind" and value is not None)
    printed = pd.DataFrame() if repeats else _shown(plot.printed)
    caption = " ".join(filter(None, [plot.caption.replace(instead, "").strip(), _images(figure, records.plan)]))
    drawn = Drawn(
        name,
        heading(figure, records.plan) or (f"{figure.title}: {own}" if name != data["kind"] and own else figure.title),
        caption="" if repeats else caption,
        image=svg.address(rendering.rendered(plot.sheet, kinds=("svg",))["svg"]) if is_shown else "",
        told=_told(plot.sheet) if is_shown else "",
        instead=instead or repeats,
        has_files=not instead,
        width=round(theme.inches(plot.sheet) * 96),
        header=tuple(map(str, printed.columns)),
        rows=tuple(tuple(map(str, row)) for row in printed.itertuples(index=False)),
        is_open=figure.opens_table,
        table=to_csv(with_digits(plot.table)),
        levels=tuple(part.level for part in getattr(figure, "parts", (figure,)) if hasattr(part, "level")),
    )
    return drawn, {} if instead else plot.rendered(kinds=figure.files)


def _images(figure: Figure, plan: Plan) -> str:
    """On how many images what is drawn was measured, where the plan gives its probe a part of the test images."""
    asked = [probe for probe in plan.probes if RENAMED.get(probe["kind"], probe["kind"]) == figure.measured_by]
    numbers = sorted({int(probe["images"]) for probe in asked if probe.get("images")})
    if not numbers or any(probe.get("split") not in (None, "test") for probe in asked):
        return ""
    shown = wording.listing([f"{number:,}" for number in numbers])
    return f"On {shown} test images, the same for all seeds: intervals leave out what others would change."


def _repeats(name: str, data: Json, figures: Sequence[Json]) -> str:
    """What stands in the place of a sheet whose parts are all on the page themselves."""
    parts = data.get("parts") or ()
    is_all = bool(parts) and all(part in figures for part in parts)
    return f"Figures of this page on one sheet, for a paper: figures/{name}.pdf, .svg and .png." if is_all else ""


def _shown(printed: pd.DataFrame) -> pd.DataFrame:
    """The table without columns that have nothing but dashes, unless all have."""
    is_empty = (printed == "–").all()
    return printed.loc[:, ~is_empty] if len(printed) and not is_empty.iloc[1:].all() else printed


def _told(sheet: theme.Canvas) -> str:
    """Of every mark its place in percent of the image and what is said of it, one after another."""
    marks = sheet.tell() if isinstance(sheet, theme.Page) else []
    return "|".join(f"{x:g} {y:g} {text.replace('|', '¦')}" for x, y, text in marks)


def _plain_title(data: Json, name: str) -> str:
    """The title of a figure that could not be made."""
    stored = str(data.get("kind"))
    kind = kinds(Figure).get(RENAMED.get(stored, stored))
    return str(getattr(kind, "title", data.get("kind", name)))


def _said(field: str, value: Any) -> str:
    """A field of a figure in its title, in words: correct consistency, distance 6, by direction."""
    words = field.replace("_", " ")
    if isinstance(value, list) and value and all(isinstance(one, list) and len(one) == 2 for one in value):  # levels
        return ", ".join(wording.level_text(name, level) for name, level in value)
    if field == "metric":
        return wording.metric_text(str(value))
    if isinstance(value, list):
        shown = [_plain_title(one, "") if isinstance(one, dict) else protocol.plain(one) for one in value]
        return f"{words} {wording.listing(shown)}"
    text = protocol.plain(value).replace("_", " ") if isinstance(value, str) else protocol.plain(value)
    return words if value is True else f"{words} {text}"
