"""Own results: a table of results made elsewhere, as the plan and the frames that records are made of."""

import decimal
import hashlib
import lzma
import math
import numbers
import re
import reprlib
import tarfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.metrics import is_share
from vision_attn.plan import LONGEST_LEVEL, RESERVED, Cell, Plan, PlannedRun
from vision_attn.spec import MOST_CLASSES, InputError, among, canonical

FEW_RIGHT = 100
"""Among so many classes or more, guessing is right in at most 1 %."""
SEPARATED = re.compile(r"[-+]?(\d{1,3}([,'’_ \u00a0\u202f]\d{3})+|\d{1,3}(\.\d{3}){2,}|\d+,\d+)")
"""A number as it is written for people: 1,000, 1 000, 1.000.000 or 0,5; not 0.001, a text beside other texts."""
USUAL = ("model", "train_size", "seed")
"""Factors that figures look for, whatever their levels."""
MANY = 20
"""More different numbers than this in most of the rows are a result and no factor."""
NO_NUMBER = re.compile(r"[-+]?nan|-?1\.#\w+|<na>", re.IGNORECASE)
"""How programs write a number that is missing; NA and None are names as well."""
LOWEST = re.compile(r"adv|attack|robust|pgd|fgsm|worst|group")
"""Names of accuracies that may be far below that of guessing."""
OTHERS = "leave it out by naming the others: factors=[...], or --factor COLUMN for each."
DIVERGED = " Leave the cell empty where a run diverged."
LARGEST = 1e100
"""No result is larger: sums of them would be infinite."""
UNREADABLE = (EOFError, OSError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, tarfile.TarError, ValueError)
"""What reading an archive raises that is cut off, is none, or has no file or several."""
OTHER_FILES = {
    b"PAR1": ("Parquet", "read_parquet"),
    b"ARROW1": ("Feather", "read_feather"),
    b"PK\x03\x04": ("Excel", "read_excel"),
    b"\xd0\xcf\x11\xe0": ("Excel", "read_excel"),
    b"{": ("JSON", "read_json"),
    b"[{": ("JSON", "read_json"),
    b"[[": ("JSON", "read_json"),
}
"""Tables that are no CSV, by their first bytes, and what of pandas reads them."""
COMPRESSED = {
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PK\x03\x04": ".zip",
}
"""What a file that is compressed begins with, and the ending by which pandas knows it."""


def read(path: Path, *, values: Container[str] = ("accuracy",)) -> pd.DataFrame:
    """A CSV file of results, without spaces around its cells. Raises `InputError` where it cannot be read as one.

    Columns other than the results, `values`, hold names: None and NA are levels there, and no empty cells.
    """
    try:
        _check_is_text(path)
        frame = pd.read_csv(path, skipinitialspace=True)
        texts = pd.read_csv(path, skipinitialspace=True, dtype=str, keep_default_na=False)
        header = pd.read_csv(path, skipinitialspace=True, header=None, nrows=1, dtype=str, keep_default_na=False)
    except InputError:  # a ValueError, as what an archive raises
        raise
    except FileNotFoundError:
        raise InputError(f"No such file: {path}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} must be a table in CSV, as text in UTF-8.") from None
    except IsADirectoryError:
        raise InputError(f"table must be a file in CSV. '{path}' is a folder.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[0]
        if longer := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", reason):
            names, line, cells = longer.groups()
            raise InputError(
                f"{path} must begin with the names of its columns and have as many cells in every line: {names} in "
                f"the first. Line {line} has {cells}."
            ) from None
        raise InputError(f"{path} cannot be read as a table in CSV: {reason}") from None
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk
            raise
        allowed = "a CSV, or a whole archive with one CSV in it and nothing else"
        raise InputError(f"{path} must be {allowed}. It cannot be read: {str(error).rstrip('.')}.") from None
    if len(frame.columns) == 1:
        first = str(frame.columns[0]).strip()
        given = next((mark for mark in (";", "\t", "|") if mark in first), first[:60])
        allowed = "its cells separated by commas, and decimal points"
        raise InputError(f"{path} must have {allowed}. Got {given!r} instead.")
    if not isinstance(frame.index, pd.RangeIndex):  # of what rows have more, pandas makes an index
        raise InputError(f"Rows of {path} must have no more cells than its first line has names, {len(frame.columns)}.")
    names = header.iloc[0].str.strip()
    if len(twice := names[names.duplicated() & (names != "")]):
        raise InputError(f"Columns of {path} must be named once each. Got {twice.iloc[0]!r} twice.")
    for name in frame.columns:
        frame[name] = _with_names(frame[name], texts[name].str.strip(), is_result=str(name).strip() in values)
    frame = frame.rename(columns=lambda name: str(name).strip())
    unnamed = frame.columns.str.fullmatch(r"Unnamed: \d+")
    is_index = unnamed & (np.arange(len(unnamed)) == 0)  # as `DataFrame.to_csv` writes one beside the columns
    frame = frame.loc[:, ~(is_index | (unnamed & frame.isna().all().to_numpy()))]
    frame = frame.apply(_stripped)
    return frame.dropna(how="all").reset_index(drop=True)  # lines of commas alone, as spreadsheets leave them


def _with_names(column: pd.Series, texts: pd.Series, *, is_result: bool) -> pd.Series:
    """A column with the cells that pandas takes for empty, though they are names; `texts` are its cells as written.

    Models named by numbers, such as versions, keep their names where another number is written so: 1.10.
    """
    is_number = pd.api.types.is_numeric_dtype(column.dtype)
    if is_result and is_number:
        return column
    if column.name == "model" and is_number:
        written = column.astype(str).str.removesuffix(".0")
        if (column.notna() & (written != texts)).any():
            return texts.where(texts != "", None)
    if not column.isna().any():
        return column
    if not is_number:
        return texts.where(texts != "", None)
    is_name = column.isna() & (texts != "") & ~texts.str.fullmatch(NO_NUMBER)
    return column.astype(object).mask(is_name, texts) if is_name.any() else column


def _check_is_text(path: Path) -> None:
    """Raise `InputError` where a file begins as a table of another kind does."""
    with open(path, "rb") as file:
        start = file.read(64).removeprefix(b"\xef\xbb\xbf")
    ending = next((ending for first, ending in COMPRESSED.items() if start.startswith(first)), None)
    if path.suffix.lower() == ending:  # a CSV in it is read
        return
    if ending not in (None, ".zip") or (ending and _holds_csv(path)):
        raise InputError(
            f"{path} must have a name that ends in {ending!r}, as it is compressed. Got {path.name!r} instead."
        )
    start = b"".join(start.split()) if start.lstrip().startswith((b"{", b"[")) else start
    for first, (kind, function) in OTHER_FILES.items():
        if start.startswith(first):
            raise InputError(
                f"{path} must be a table in CSV. Got one in {kind}: write it anew by "
                f"pandas.{function}(...).to_csv(..., index=False), or draw it in Python by Records.from_frame."
            )


def _holds_csv(path: Path) -> bool:
    """Whether an archive holds a CSV; a workbook is one as well, of other files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith((".csv", ".txt", ".tsv")) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _stripped(column: pd.Series) -> pd.Series:
    """Texts without spaces around them."""
    if not pd.api.types.is_string_dtype(column) and column.dtype != object:
        return column
    return column.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)


def parts(
    frame: pd.DataFrame,
    *,
    value: str | Sequence[str] | Mapping[str, str],
    factors: Sequence[str] | None,
    split: str,
    percent: bool,
    num_classes: int | None,
    name: str,
) -> dict[str, Any]:
    """The fields of records of a tidy frame: values, history, runs and plan. See `Records.from_frame`."""
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"frame of from_frame must be a DataFrame of pandas. Got {_no_frame(frame)}")
    frame, metrics = _named(frame), _metrics(value)
    chosen = _factors(frame, list(metrics), [factors] if isinstance(factors, str) else factors)
    table = {factor: _levels(frame, factor) for factor in chosen}
    if num_classes is not None and not (isinstance(num_classes, numbers.Real) and 2 <= num_classes <= MOST_CLASSES):
        raise InputError(f"num_classes must be from 2 to {MOST_CLASSES:,}. Got {num_classes!r} instead.")
    cells = [dict(zip(chosen, row, strict=True)) for row in zip(*(plain for plain, _ in table.values()), strict=True)]
    splits, where = [split] * len(frame), "measured_split" if "split" in chosen else "split"
    if "split" in frame and "split" not in chosen:
        _check_filled(frame["split"], "split")
        splits = [str(level) for level in _levels(frame, "split")[0]]
    _check_twice(cells, splits)
    keys = [_key(cell) for cell in cells]
    columns = {factor: _column(plain, levels) for factor, (plain, levels) in table.items()}
    head = pd.DataFrame({**columns, "run": pd.Series(keys, dtype="str")})
    rows = []
    for column, metric in metrics.items():
        results = _results(frame, column, metric, percent=percent, num_classes=num_classes)
        own = head.assign(metric=metric, value=results, **{where: splits})
        rows.append(own[~np.isnan(results)])
    values = pd.concat(rows, ignore_index=True)
    runs = head.drop_duplicates("run").reset_index(drop=True)
    runs = runs.assign(state=np.where(runs["run"].isin(values["run"]), "done", "pending"), reason="")
    if num_classes is not None:
        runs["num_classes"] = pd.array([num_classes] * len(runs), dtype="Int64")
    planned = Plan(
        name=name,
        question=f"What do the results in {name} say?",
        factors={factor: tuple(levels) for factor, (_, levels) in table.items()},
        cells=tuple(Cell(factors=cell, run=key) for key, cell in dict(zip(keys, cells, strict=True)).items()),
        runs={key: PlannedRun(hint=name, run={}) for key in keys},
    )
    history = head.iloc[:0].assign(update=pd.array([], dtype="Int64"))
    return {"values": values, "history": history, "runs": runs, "plan": planned}


def measured(
    frames: Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]],
) -> tuple[Plan, dict[str, list[dict[str, Any]]]]:
    """A plan of the factors `model` and `seed`, and the measured rows of every run. See `Records.from_measured`."""
    if not isinstance(frames, Mapping) or not frames:
        raise InputError(
            f"measured must be frames of measure() by label: {{'mine': rows}}. Got {_shown(frames)} instead."
        )
    by_label = {str(label): [one] if isinstance(one, pd.DataFrame) else list(one) for label, one in frames.items()}
    rows: dict[str, list[dict[str, Any]]] = {}
    cells: list[dict[str, Any]] = []
    for label, seeds in by_label.items():
        for seed, frame in enumerate(seeds):
            if not isinstance(frame, pd.DataFrame) or not {"metric", "value"} <= set(frame):
                allowed = "a frame that measure() gave, with the columns metric and value"
                raise InputError(f"measured of {label!r} must be {allowed}. Got {_shown(frame)} instead.")
            cells.append({"model": label, "seed": seed})
            kept = frame.drop(columns=["probe"], errors="ignore").to_dict("records")
            own = [{str(name): one for name, one in row.items() if not pd.isna(one)} for row in kept]
            rows[_key(cells[-1])] = own
    most = max(len(seeds) for seeds in by_label.values())
    plan = Plan(
        name="measured",
        question="What was measured of these models?",
        factors={"model": tuple(by_label), "seed": tuple(range(most))},
        cells=tuple(Cell(factors=cell, run=_key(cell)) for cell in cells),
        runs={_key(cell): PlannedRun(hint=str(cell["model"]), run={}) for cell in cells},
    )
    return plan, rows


def _no_frame(given: Any) -> str:
    """What was given in the place of a DataFrame, and what makes one of it where that can be told."""
    library, name = type(given).__module__.partition(".")[0], type(given).__name__
    what = f"a {name} instead" if library == "builtins" else f"a {name} of {library} instead"
    ways = {
        "LazyFrame": "frame.collect().to_pandas()",
        "Series": "series.reset_index()",
        "list": "pandas.DataFrame(rows)",
        "dict": "pandas.DataFrame(columns)",
    }
    way = ways.get(name, "frame.to_pandas()" if hasattr(given, "to_pandas") else "")
    return f"{what}: give {way}." if way else f"{what}."


def _key(cell: Mapping[str, Any]) -> str:
    """The digest of a row's factors."""
    return hashlib.sha256(canonical(dict(cell))).hexdigest()


def _shown(given: Any) -> str:
    if isinstance(given, pd.DataFrame):
        return f"a frame of the columns {', '.join(map(str, given)) or 'none'}"
    return reprlib.repr(given)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose columns are named by texts, once each; levels of its index that have a name are columns, too."""
    if own := [one for one in frame.index.names if one is not None and one not in frame]:
        frame = frame.reset_index(own)
    names = [str(one) for one in frame.columns]
    if twice := [one for one, times in Counter(names).items() if times > 1]:
        raise InputError(f"Columns must be named once each. Got {twice[0]!r} {names.count(twice[0])} times.")
    return frame.set_axis(names, axis=1)


def _metrics(value: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The columns with results, and what metric each holds."""
    given = dict.fromkeys([value], value) if isinstance(value, str) else value
    if not isinstance(given, Mapping | Sequence) or not given:
        raise InputError(f"value must name columns with results. Got {value!r} instead.")
    metrics = {str(one): given[one] for one in given} if isinstance(given, Mapping) else {str(v): str(v) for v in given}
    for column, metric in metrics.items():
        if not isinstance(metric, str) or not metric.isprintable() or not metric.strip():
            raise InputError(f"value must give column {column!r} the name of a metric. Got {metric!r} instead.")
        if (other := next(one for one, same in metrics.items() if same == metric)) != column:
            raise InputError(f"value must name one column a metric. Got {other!r} and {column!r} for {metric!r}.")
    return metrics


def _factors(frame: pd.DataFrame, values: list[str], factors: Sequence[str] | None) -> list[str]:
    """The columns that are factors, once it is sure that all columns asked for are there and can be."""
    for field, names in (("value", values), ("factors", factors or ())):
        for one in names:
            if one not in frame:
                raise InputError(
                    f"{field} must be a column of the table ({among(frame.columns, one)}). Got {one!r} instead."
                )
    if frame.empty:
        raise InputError("The table of results has no rows.")
    left = [str(one) for one in frame.columns if one not in (*values, "split")]
    chosen = list(factors) if factors is not None else left
    if twice := [one for one, times in Counter(chosen).items() if times > 1]:
        raise InputError(f"Columns must be named once each. Got {twice[0]!r} {chosen.count(twice[0])} times.")
    if not chosen:
        raise InputError(f"The table needs columns beside {', '.join(values)} that tell its rows apart, such as model.")
    for one in chosen:
        _check_factor(frame[one], one, values, is_named=factors is not None)
    if factors is None and (own := _numbering(frame[chosen])):
        others = " ".join(f"--factor {one}" for one in chosen if one not in own)
        raise InputError(
            f"Column {own[0]!r} has another level in every row, so that no mean over others is left. Leave "
            f"it out by naming the factors: factors=[...], or {others}."
        )
    return chosen


def _check_factor(column: pd.Series, name: str, values: list[str], *, is_named: bool) -> None:
    """Raise `InputError` where a column cannot be a factor, or, unless it `is_named` as one, looks like a result."""
    if name in RESERVED:
        raise InputError(
            f"A column must not be called {name!r}, as tables of results have one of that name. Rename it (to seed, "
            f"where it counts repetitions; to train_size, where training images), or {OTHERS}"
        )
    if name in values:
        raise InputError(f"A column must be a factor or a value. Got {name!r} as both.")
    if len(unusable := column[[isinstance(cell, list | dict | set | np.ndarray) for cell in column]]):
        raise InputError(f"Column {name!r} must hold texts and numbers. Got {_shown(unusable.iloc[0])} instead.")
    _check_filled(column, name, hint="" if is_named else f" Fill the column in, or {OTHERS}")
    different, own = column.nunique(), column
    if column.dtype == object:
        own = pd.Series([cell for cell in column if not isinstance(cell, str)])
    if not is_named and pd.api.types.is_float_dtype(own) and different > max(MANY, len(column) // 2):
        raise InputError(
            f"Column {name!r} has {different} different numbers in {len(column)} rows, as a result has and a factor "
            "has not. Name it among the values, or name the factors."
        )


def _check_filled(column: pd.Series, name: str, *, hint: str = "") -> None:
    """Raise `InputError` where a cell of a column is empty."""
    column = column.where([not isinstance(cell, str) or bool(cell.strip()) for cell in column])
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise InputError(f"Every row needs a level in column {name!r}. Row {row + 1} has none.{hint}")


def _numbering(frame: pd.DataFrame) -> list[str]:
    """Columns that differ in every row, as an index or a date does, where the others tell the rows apart."""
    unique = [str(one) for one in frame if frame[one].nunique() == len(frame)]
    others = [one for one in frame if one not in unique]
    is_enough = bool(others) and not frame.duplicated(others).any()
    return [one for one in unique if one not in USUAL] if is_enough else []


def _levels(frame: pd.DataFrame, factor: str) -> tuple[list[Any], list[Any]]:
    """A column as plain values, and its levels in order."""
    column = frame[factor]
    plain = [_plain(factor, cell) for cell in column]
    levels = list(dict.fromkeys(plain))
    known: dict[str, Any] = {}
    for level in levels:
        if (other := known.setdefault(composed(level).strip().lower(), level)) is not level:
            written = ascii if composed(other) == composed(level) else repr  # else both would look alike
            raise InputError(
                f"Column {factor!r} must write a level in one way. Got {written(other)} and {written(level)}."
            )
    for text in (level for level in levels if isinstance(level, str)):
        if len(text) > LONGEST_LEVEL:
            raise InputError(
                f"Column {factor!r} must have levels of at most {LONGEST_LEVEL} characters. Got {text[:40]!r}... in it."
            )
        if SEPARATED.fullmatch(text):
            raise InputError(
                f"Column {factor!r} must write numbers with a decimal point and without separators of thousands. "
                f"Got {text!r} instead."
            )
    if isinstance(column.dtype, pd.CategoricalDtype):
        ordered = dict.fromkeys(_plain(factor, cell) for cell in column.cat.categories)
        present = set(levels)
        return plain, [level for level in ordered if level in present]
    return plain, sorted(levels) if all(map(_is_number, levels)) else levels


def composed(level: Any) -> str:
    """The text of a level, in which é is one character however it was typed."""
    return unicodedata.normalize("NFC", str(level))


def _plain(factor: str, cell: Any) -> Any:
    """A cell as JSON has it: whole numbers stay whole, also where pandas made them floats; ends of lines are spaces."""
    if isinstance(cell, bool | np.bool_):
        return bool(cell)
    if isinstance(cell, numbers.Integral) and -(2**63) <= int(cell) < 2**63:
        return int(cell)
    if isinstance(cell, numbers.Real | decimal.Decimal):
        try:
            number = float(cell)
        except OverflowError:
            number = math.inf
        if not -(2.0**63) <= number < 2.0**63:
            raise InputError(
                f"Column {factor!r} must have levels between -2**63 and 2**63. Got {str(cell)[:40]} instead."
            )
        return int(number) if number.is_integer() else number
    text = str(cell)
    text = text if text.isprintable() else " ".join(text.split())
    if not text.isprintable():
        raise InputError(
            f"Column {factor!r} must have levels of characters that can be printed. Got {text[:40]!r} instead."
        )
    return text


def _is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _column(plain: list[Any], levels: list[Any]) -> Any:
    return plain if all(map(_is_number, levels)) else pd.Categorical(plain, categories=levels, ordered=True)


def _check_twice(cells: list[dict[str, Any]], splits: list[str]) -> None:
    """No two rows may have the same factors."""
    first: dict[tuple[Any, ...], int] = {}
    for i, (cell, split) in enumerate(zip(cells, splits, strict=True)):
        key = (*cell.values(), split)
        if key in first:
            where = ", ".join(f"{name}={level}" for name, level in cell.items())
            raise InputError(
                f"Rows {first[key] + 1} and {i + 1} have the same factors ({where}). Add a column that tells them "
                "apart, such as seed."
            )
        first[key] = i


def _results(frame: pd.DataFrame, column: str, metric: str, *, percent: bool, num_classes: int | None) -> np.ndarray:
    """A column of results as numbers, shares between 0 and 1.

    Accuracies of at most 1 pass for percent only where guessing is no better; of accuracies that may be worse than
    guessing, as under attack, and of other shares, it is refused where all are so low.
    """
    try:
        values = np.array(frame[column].to_numpy(float, na_value=np.nan))
    except (TypeError, ValueError):
        is_number = pd.to_numeric(frame[column], errors="coerce").notna() | frame[column].isna()
        text = frame[column][~is_number].iloc[0]
        hint = " Leave the sign out, and say percent=True, or --percent." if str(text).endswith("%") else ""
        hint = " Write a decimal point, and no separators of thousands." if SEPARATED.fullmatch(str(text)) else hint
        raise InputError(f"Column {column!r} must hold numbers. Got {text!r} instead.{hint}") from None
    if not is_share(metric):
        if len(wrong := values[np.abs(values) > LARGEST]):
            hint = "" if np.isfinite(wrong[0]) else DIVERGED
            raise InputError(
                f"Column {column!r} must hold finite numbers up to 1e100. Got {_written(wrong[0])} instead.{hint}"
            )
        return values
    wrong = values[(values < 0) | (values > (100 if percent else 1))]
    if len(wrong):
        allowed = "percent between 0 and 100" if percent else "shares between 0 and 1"
        hint = (
            " If they are percent, say so: percent=True, or --percent." if 1 < wrong[0] <= 100 and not percent else ""
        )
        hint = hint if np.isfinite(wrong[0]) else DIVERGED
        raise InputError(f"Column {column!r} must hold {allowed}. Got {_written(wrong[0])} instead.{hint}")
    if percent:
        _check_percent(values, column, metric, num_classes)
    return values / 100 if percent else values


def _check_percent(values: np.ndarray, column: str, metric: str, num_classes: int | None) -> None:
    """Raise `InputError` where a column of percent has numbers that look like shares."""
    low, is_accuracy = values[(values > 0) & (values <= 1)], metric.endswith("accuracy")
    are_all = len(low) > 0 and np.nanmax(values) <= 1
    if is_accuracy and (num_classes or 0) >= FEW_RIGHT:
        return
    if are_all or (len(low) and is_accuracy and not LOWEST.search(metric.lower())):
        which = "none above 1, as if they were shares" if are_all else f"{_written(low[0])}, as if it were a share"
        needed = f" So low a percent needs at least {FEW_RIGHT} classes: num_classes={FEW_RIGHT}, or --classes."
        raise InputError(
            f"Column {column!r} must hold percent. Got {which}: write all alike, and leave percent=True, or "
            f"--percent, out where they are shares.{needed if is_accuracy else ''}"
        )


def _written(number: float) -> str:
    """A number with all the digits that tell it from others: 1.0000001."""
    return repr(float(number)).removesuffix(".0")
