"""The wording of figures, rules and pages: numbers, intervals, levels, seeds and data sets as texts."""

import itertools
import numbers
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.metrics import is_share as is_share
from vision_attn.records import Records, column
from vision_attn.spec import counted as counted


def level_text(factor: str, level: Any) -> str:
    """A level in a title: labels speak for themselves, numbers and on and off need the factor's name."""
    if factor == "train_size":
        return f"{short(level) if is_number(level) else level} images"
    if isinstance(level, bool | np.bool_):
        return factor.replace("_", " ") if level else f"not {factor.replace('_', ' ')}"
    text = short(level) if is_number(level) else _words(str(level))
    return f"{factor.replace('_', ' ')} {text}" if is_number(level) or text in ("on", "off") else text


def _words(text: str) -> str:
    """A name as code has it, unit_variance, in words; any other text as it is."""
    return text.replace("_", " ") if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", text) else text


def cut_text(table: pd.DataFrame, metric: str) -> str:
    """Said where an interval of a share goes beyond what is possible, as those of very few seeds do."""
    beyond = is_share(metric) and ((table["low"] < -0.02) | (table["high"] > 1.03)).any()
    return "Intervals are clipped to 0–100 %; full values in the table." if beyond else ""


def percent(table: pd.DataFrame) -> pd.DataFrame:
    """Shares, with their bounds, in percent."""
    return table.assign(**{name: 100 * table[name] for name in ("estimate", "low", "high", "value") if name in table})


def number(value: Any, *, metric: str = "", signed: bool = False) -> str:
    """A value of the metric in a table: percent with one decimal for shares, else three significant digits.

    Seconds and bytes have their unit: 12.3 ms, 7.66 MB.
    """
    if pd.isna(value):
        return "–"
    factor, unit = _in_unit(value, metric)
    return _digits(factor * value, metric=metric, signed=signed) + unit


def _digits(value: float, *, metric: str, signed: bool) -> str:
    sign = "+" if signed else ""
    text = f"{100 * value:{sign}.1f}" if is_share(metric) else f"{value:{sign}.3g}"
    if "e+" in text and abs(value) < 1e15:
        text = f"{float(text):{sign},.0f}"
    return text.replace("-", "−")


def _in_unit(value: float, metric: str) -> tuple[float, str]:
    """What a value of the metric is multiplied by to be read, and the unit behind it."""
    if unit_of(metric) == "B":
        name, unit = next((one for one in BYTES.items() if abs(value) >= one[1]), ("B", 1))
        return 1 / unit, f" {name}"
    if unit_of(metric) != "s":
        return 1, ""
    return (1000, " ms") if abs(value) < 1 else (1, " s")


def quantity(value: Any, *, metric: str, signed: bool = False, unit: str = "%") -> str:
    """A value of the metric in a sentence, with its unit where it is a share: 91.2 %."""
    text = number(value, metric=metric, signed=signed)
    return f"{text} {unit}" if is_share(metric) and not pd.isna(value) else text


def interval(row: Any, *, metric: str, signed: bool = False) -> str:
    """Estimate and bounds in a table: 91.2 [90.1, 92.3]; no bounds where there are none, n where seeds are missing."""
    if pd.isna(row["estimate"]):
        return "–"
    factor, unit = _in_unit(row["estimate"], metric)
    keys = ("estimate",) if pd.isna(row["low"]) else ("estimate", "low", "high")
    text, *bounds = (_digits(factor * row[key], metric=metric, signed=signed) for key in keys)
    text += (f" [{', '.join(bounds)}]" if bounds else "") + unit
    return text if row["n"] == row["planned"] else f"{text} (n = {row['n']})"


UNITS = {"G": 1e9, "M": 1e6, "k": 1e3}
BYTES = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
IN_WORDS = {
    "cka": "CKA",
    "latency_seconds": "time of a pass",
    "peak_bytes": "peak memory",
    "time_slope": "exponent of time in tokens",
    "memory_slope": "exponent of memory in tokens",
    "ran_out": "share that ran out of memory",
    "random_shift_consistency": "shift consistency",
    "correct_random_shift_consistency": "shift consistency, if right",
}
IN_PLACE = {
    "quantile 0.5": "median",
    "part mixer": "mixer alone",
    "part blocks": "whole blocks",
    "split test": "test images",
    "split train": "training images",
    "band low": "low frequencies",
    "band high": "high frequencies",
    "estimator unbiased": "unbiased estimate",
    "estimator biased": "biased estimate",
    "inputs normal": "normal inputs",
    "inputs images": "inputs from images",
}
"""Coordinates of records that read better than by their name and level."""
PLAIN = ("passes", "corruption")
"""Coordinates whose levels say what they are: forward and backward, noise."""
SYMBOLS = {"seconds": "s", "bytes": "B"}


def metric_text(metric: str) -> str:
    """A metric in a sentence: relative influence distance."""
    name = metric.removesuffix("_relative")
    return ("relative " if name != metric else "") + IN_WORDS.get(name, name.replace("_", " "))


def history_text(metric: str) -> str:
    """A metric of the training history in a sentence: validation accuracy."""
    return metric.replace("val_", "validation ").replace("_", " ")


def at_text(at: Sequence[tuple[str, Any]]) -> str:
    """Coordinates of records in a sentence: fill mean, layer 1; no name before a level that says it: other images."""
    return ", ".join(_coordinate(name, str(level)) for name, level in at)


def _coordinate(name: str, level: str) -> str:
    if known := IN_PLACE.get(f"{name} {level}"):
        return known
    return _words(level) if level.startswith(name) or name in PLAIN else f"{name.replace('_', ' ')} {_words(level)}"


def headed(text: str) -> str:
    """The text with a capital letter first, and all others as they are."""
    return text[:1].upper() + text[1:]


def unit_of(metric: str) -> str:
    """The unit that the name of a metric ends with, as a symbol: s of latency_seconds, B of peak_bytes; else none."""
    return SYMBOLS.get(metric.rpartition("_")[2], "")


def short(value: Any) -> str:
    """A number in few characters: 250, 1k, 1.5k, 121k, 48.1M."""
    if pd.isna(value):
        return "–"
    for letter, unit in UNITS.items():
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.4g}"


def exact(value: Any) -> str:
    """A number in full: 250, 1.5k, but 1,024 and 3.072M where `short` would round it."""
    text = short(value)
    if text[-1:] not in UNITS or float(text[:-1]) * UNITS[text[-1]] == value:
        return text
    return min(f"{value:,}", f"{value / UNITS[text[-1]]:.12g}{text[-1]}", key=len)


def clock(seconds: float) -> str:
    """Minutes and seconds, 7:29, or 1:07:29 from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def listing(texts: Sequence[str], *, most: int = 6) -> str:
    """A, B and C; A; B, C and D where a text has commas of its own; the rest of a long list is counted."""
    if len(texts) > most:
        texts = [*texts[: most - 1], f"{len(texts) - most + 1} others"]
    separator = "; " if any(", " in text for text in texts) else ", "
    return " and ".join(filter(None, [separator.join(texts[:-1]), *texts[-1:]]))


def cell_text(row: dict[Any, Any], names: Sequence[str]) -> str:
    """A cell of the plan in words: ViT, train size 50."""
    return ", ".join(level_text(name, row[name]) for name in names)


def seeds_text(table: pd.DataFrame, names: Sequence[str], *, unit: str = "seed") -> str:
    """How many seeds stand behind the points, in sentences; cells that lack some are named."""
    if not table["n"].sum():
        return "Nothing is measured yet."
    measured = table.loc[table["n"] > 0, "n"]
    least, most = int(measured.min()), int(measured.max())
    counts = f"{least} to {most}" if least < most else f"{most}"
    said = f"Mean over {counts} {unit}s." if most > 1 else f"One {unit} a point, so there is no interval."
    lacking = table[table["n"] < table["planned"]].to_dict("records")
    if lacking:
        cells = [f"{cell_text(row, names)} ({row['n']} of {row['planned']})" for row in lacking]
        said += f" Not all planned {unit}s are in: {listing(cells, most=5)}."
    return said


def alone_text(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Which values have no partner, in a sentence: the cells, by the columns `names`, that `dropped` counts some of."""
    if not (count := int(table["dropped"].sum())):
        return ""
    said = (
        "1 value has no partner and is left out" if count == 1 else f"{count} values have no partner and are left out"
    )
    cells = [
        f"{cell_text(row, names)}, {listing(row['dropped_pairs'].split('; '), most=3)}"
        for row in table[table["dropped"] > 0].to_dict("records")
    ]
    return f"{said}: {listing(cells, most=5)}."


def data_text(records: Records) -> str:
    """The data sets of the runs that have ended, to be put behind a quantity: " on mnist5k"."""
    name = column(records, "dataset")
    names = list(dict.fromkeys(records.runs[name].dropna())) if name in records.runs else []
    if len(names) > 3:
        alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*map(str, names), strict=False))
        common = "".join(letters[0] for letters in alike).rstrip("-_ ")
        return f" on {common} ({len(names)} data sets)" if common else f" on {len(names)} data sets"
    return f" on {listing([str(one) for one in names])}" if names else ""


def factor_text(name: str) -> str:
    """A factor in a caption or on an axis."""
    return "number of training images" if name == "train_size" else name.replace("_", " ")


def wide(
    table: pd.DataFrame, cells: Sequence[str], *, rows: Sequence[str], columns: str, names: Sequence[Any]
) -> pd.DataFrame:
    """The cells as a table to be printed: a row for each combination of the factors `rows`, a column a level."""
    texts = table[[*rows, columns]].assign(cell=list(cells))
    out = []
    for key, part in texts.groupby(list(rows), observed=True, dropna=False, sort=True):
        head = heads(dict(zip(rows, key, strict=True)))
        by_level = dict(zip(part[columns], part["cell"], strict=True))
        out.append(head | {level_text(columns, name): by_level.get(name, "–") for name in names})
    return pd.DataFrame(out)


def heads(levels: dict[Any, Any]) -> dict[str, str]:
    """The first cells of a row as it is printed: its levels under the names of their factors."""
    return {factor_text(name): level_cell(level) for name, level in levels.items()}


def level_cell(level: Any) -> str:
    """A level in a cell of a table, under the name of its factor."""
    if pd.isna(level):
        return "–"
    if not is_number(level):
        return str(level)
    return f"{level:,.0f}" if level == int(level) else f"{level:,.6g}"


def is_number(level: Any) -> bool:
    """Whether a level is a number; truth values are labels."""
    return isinstance(level, numbers.Real) and not isinstance(level, bool | np.bool_)
