"""Labels: records and figures with other names for some levels, as a paper wants them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text

from vision_attn.figures import lettering, theme
from vision_attn.figures.base import Figure as FigureSpec
from vision_attn.plan import Cell
from vision_attn.records import Records
from vision_attn.spec import InputError

T = TypeVar("T")


def relabelled(
    figure: FigureSpec, records: Records, labels: Mapping[str, str]
) -> tuple[FigureSpec, Records, dict[str, str]]:
    """The figure and the records with levels renamed, and those labels that are no levels.

    Raises `InputError` where two levels of a factor would have the same name.
    """
    if not labels:
        return figure, records, {}
    plan = records.plan
    levels = {name for own in plan.factors.values() for name in own if isinstance(name, str)}
    names = {str(old): str(new) for old, new in labels.items() if old in levels}
    factors = {factor: tuple(names.get(one, one) for one in own) for factor, own in plan.factors.items()}  # type: ignore[arg-type]
    for factor, own in factors.items():
        if len(set(own)) < len(own):
            given = ", ".join(map(str, own))
            raise InputError(f"labels must leave the levels of {factor} different. Got {given} instead.")
    renamed = plan.replace(
        factors=factors,
        cells=tuple(
            Cell(factors={name: _new(level, names) for name, level in cell.factors.items()}, run=cell.run)
            for cell in plan.cells
        ),
    )
    frames = {part: _frame(getattr(records, part), list(factors), names) for part in ("values", "history", "runs")}
    others = {old: new for old, new in labels.items() if old not in names}
    return _spec(figure, names), dataclasses.replace(records, plan=renamed, **frames), others


def relabel_axes(sheet: theme.Canvas, labels: Mapping[str, str], *, levels: list[str]) -> None:
    """Put other texts on the axes of what is drawn. Raises `InputError` where there is no such text."""
    found = [text for artist in _axis_texts(sheet) if (text := _one_line(artist))]
    for old in labels:
        if old not in found:
            allowed = ", ".join(repr(text) for text in dict.fromkeys([*levels, *found]))
            raise InputError(f"labels must be levels, or the texts of axes ({allowed}). Got {old!r} instead.")
    for artist in _axis_texts(sheet):
        if _one_line(artist) in labels:
            artist.set_text(lettering.shown(labels[_one_line(artist)]))


def _one_line(artist: Text) -> str:
    """The text of an axis without the breaks that its width asked for."""
    return " ".join(lettering.unshown(artist.get_text()).split())


def _axis_texts(sheet: theme.Canvas) -> list[Text]:
    panels = sheet.axes if isinstance(sheet, Figure | SubFigure) else [sheet]
    texts = [text for axes in panels for text in (axes.xaxis.label, axes.yaxis.label)]
    return [*texts, *(text for text in (getattr(sheet, "_supylabel", None),) if text is not None)]


def _new(level: Any, names: Mapping[str, str]) -> Any:
    return names.get(level, level) if isinstance(level, str) else level


def _frame(frame: pd.DataFrame, factors: list[str], names: Mapping[str, str]) -> pd.DataFrame:
    out = frame.copy()
    for factor in factors:
        if isinstance(out[factor].dtype, pd.CategoricalDtype):
            out[factor] = out[factor].cat.rename_categories(lambda level: _new(level, names))
    return out


def _spec(value: T, names: Mapping[str, str]) -> T:
    """A figure, or a field of one, with new names in the place of old ones."""
    if isinstance(value, FigureSpec):
        fields = {field.name: _spec(getattr(value, field.name), names) for field in dataclasses.fields(value)}
        return value.replace(**fields)
    if isinstance(value, tuple):
        return tuple(_spec(item, names) for item in value)  # type: ignore[return-value]
    return _new(value, names)
