"""Exporting: the results of an experiment for other programs, as CSV, Parquet, LaTeX, PDF or for TensorBoard."""

import contextlib
import importlib.util
import itertools
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from vision_attn import sources
from vision_attn.figures import Figure
from vision_attn.figures.latex import latex
from vision_attn.plan import Plan
from vision_attn.records import Records
from vision_attn.report.drawn import made, named
from vision_attn.spec import InputError
from vision_attn.store import write_atomic
from vision_attn.tables import to_csv
from vision_attn.verdicts import findings
from vision_attn.verdicts import table as verdict_table

Format = Literal["csv", "parquet", "latex", "pdf", "tensorboard"]
NEEDS = {"parquet": ("pyarrow",), "tensorboard": ("tensorboard",)}
"""What a format needs beside the suite."""
NUMBERS = ("estimate", "low", "high")
"""The columns of the table of verdicts that hold what decides."""


def export(records: Records, folder: Path, *, to: str, width: str | float | None = None) -> Iterator[Path]:
    """Write the results into a folder; the files or, for TensorBoard, the folders of the runs, one after another.

    `csv`, `parquet`: records (a row a measured number), history (a row a logged update), runs (a row a cell) and
    verdicts. `latex`: the table of every figure, and of the verdicts, for the package booktabs. `pdf`: every figure,
    at `width`: column, page or inches. `tensorboard`: the history of every run. Raises `InputError` where the format is
    unknown, or needs a package that is not here.
    """
    if to not in WRITERS:
        raise InputError(f"format to export to must be one of {', '.join(get_args(Format))}. Got {to!r} instead.")
    if width is not None and to != "pdf":
        raise InputError(f"width must be left out: it is for pdf. Got {width!r} with {to}.")
    for package in NEEDS.get(to, ()):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{to} needs the package {package}: pip install {package}. It is not installed.")
    folder.mkdir(parents=True, exist_ok=True)
    yield from WRITERS[to](records, folder, width)


def _tables(records: Records) -> dict[str, pd.DataFrame]:
    found = {"records": records.values, "history": records.history, "runs": records.runs}
    return found | ({"verdicts": verdict_table(ruled)} if (ruled := findings(records)) else {})


def _csv(records: Records, folder: Path, _: Any) -> Iterator[Path]:
    for name, table in _tables(records).items():
        write_atomic(folder / f"{name}.csv", to_csv(table))
        yield folder / f"{name}.csv"


def _parquet(records: Records, folder: Path, _: Any) -> Iterator[Path]:
    for name, table in _tables(records).items():
        write_atomic(folder / f"{name}.parquet", of_one_type(table).to_parquet(index=False))
        yield folder / f"{name}.parquet"


def of_one_type(table: pd.DataFrame) -> pd.DataFrame:
    """The table with texts in columns that hold several types, as levels may that are numbers and texts."""
    texts = {name: table[name].astype("string") for name in table if table[name].dtype == object}
    levels = {name: table[name].cat.rename_categories(str) for name in table if table[name].dtype == "category"}
    return table.assign(**texts, **levels)


def _latex(records: Records, folder: Path, _: Any) -> Iterator[Path]:
    def made(name: str, figure: Figure) -> list[Path]:
        table = figure.table(records)
        content = latex(figure.printed(table, records), caption=figure.caption(table, records))
        write_atomic(folder / f"{name}.tex", content.encode())
        return [folder / f"{name}.tex"]

    lost: list[str] = []
    yield from _made(records, made, lost)
    if ruled := findings(records):
        columns = ["claim", "statement", *NUMBERS, "n", "verdict"]
        table = verdict_table(ruled)[columns]
        texts = {name: [_number(value) for value in table[name]] for name in NUMBERS}
        write_atomic(folder / "verdicts.tex", latex(table.assign(**texts).fillna("")).encode())
        yield folder / "verdicts.tex"
    _tell(lost)


def _number(value: Any) -> str:
    """A number of a verdict as one reads it, of whatever it is: four digits."""
    return "–" if pd.isna(value) else f"{value:.4g}".replace("-", "−")


def _pdf(records: Records, folder: Path, width: Any) -> Iterator[Path]:
    def made(name: str, figure: Figure) -> list[Path]:
        return figure.plot(records, width=width).save(folder / name, formats=("pdf",))

    lost: list[str] = []
    yield from _made(records, made, lost)
    _tell(lost)


def _made(records: Records, make: Callable[[str, Figure], list[Path]], lost: list[str]) -> Iterator[Path]:
    """The files that are made of every figure; why one could not be made is `lost`."""
    for name, figure in planned_figures(records.plan, lost):
        files: list[Path] = []
        with spared(name, lost):
            files = make(name, figure)
        yield from files


@contextlib.contextmanager
def spared(name: str, lost: list[str]) -> Iterator[None]:
    """What the figure of that name fails with in the block is `lost`, in a sentence: it costs no other figure."""
    try:
        yield
    except InputError as error:
        lost.append(str(error))
    except (OSError, MemoryError):  # the others would fail as well
        raise
    except sources.FAULTS as error:  # perhaps one's own
        lost.append(f"{name} fails: {sources.fault(error)}.")


def _tell(lost: list[str]) -> None:
    """Raise `InputError`, once all else is written, where figures could not be made."""
    if lost:
        raise InputError(f"All else is written. {' '.join(lost)}")


def _tensorboard(records: Records, folder: Path, _: Any) -> Iterator[Path]:
    from tensorboard.summary import Writer

    factors = list(records.plan.factors)
    scalars = [name for name in records.history if name not in (*factors, "run", "update")]
    for levels, rows in records.history.groupby(factors, sort=False):
        labels = (f"{name}={level}" for name, level in zip(factors, levels, strict=True))
        place = folder / "/".join(map(_folder_name, labels))
        for earlier in place.glob("events.out.tfevents.*"):
            earlier.unlink()  # else every number would be there twice
        writer = Writer(str(place))
        for row, name in itertools.product(rows.to_dict("records"), scalars):
            if pd.notna(row[name]):
                writer.add_scalar(name, row[name], int(row["update"]))
        writer.close()
        yield place


def _folder_name(label: str) -> str:
    """A label as the name of a folder; two labels never have one name."""
    return re.sub(r"[^\w=.,+ ()-]", lambda sign: urllib.parse.quote(sign[0], safe=""), label)


def planned_figures(plan: Plan, lost: list[str]) -> Iterator[tuple[str, Figure]]:
    """The figures of a plan that apply to it, by the names that the report gives them.

    Why one could not be made is `lost`.
    """
    for name, data in named(plan.figures):
        figure = None
        with spared(name, lost):
            one = made(data, plan)
            figure = one if one.applies(plan) else None
        if figure is not None:
            yield name, figure


WRITERS: dict[str, Callable[[Records, Path, Any], Iterator[Path]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "latex": _latex,
    "pdf": _pdf,
    "tensorboard": _tensorboard,
}
