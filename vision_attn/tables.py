"""Tables on disk: CSV in a folder of the results, the long ones compressed, all with a checksum.

`SHA256SUMS` names every table of the folder with the sha256 of its file, as `sha256sum -c SHA256SUMS` reads it; its
first line, a comment there, names the experiment. What does not match it is refused. A `.csv.xz` is an ordinary CSV,
compressed: `pandas.read_csv` and `xz` read it. It holds no time, so the same table gives the same bytes. `.csv.gz` and
plain `.csv` of earlier reports are read too.
"""

import csv
import gzip
import hashlib
import io
import lzma
import re
import types
import zlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from vision_attn.spec import InputError
from vision_attn.store import write_atomic

SUMS = "SHA256SUMS"
HEADER = "# tables of "
FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet would run as a formula, with the apostrophes that keep it from that."""

NARROW = ("float16", "float32")
"""Numbers of fewer digits than Python's have."""

DIGITS = 9
"""Digits of a measured number that are kept: as many as tell any two numbers of 32 bits apart."""

ENDS = (".csv.xz", ".csv.gz", ".csv")
"""How the file of a table may end, the newest first."""

UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What a compressed file raises that cannot be read, or is none."""


def _unpacked(payload: bytes) -> bytes:
    """What xz compressed. Raises `lzma.LZMAError` and `EOFError` where it is damaged, cut off or followed by more."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    content = reader.decompress(payload)
    if not reader.eof:
        raise EOFError("the file ends before its table")
    if reader.unused_data:
        raise lzma.LZMAError("the file goes on behind its table")
    return content


UNPACKED: dict[str, Callable[[bytes], bytes]] = {".xz": _unpacked, ".gz": gzip.decompress, ".csv": bytes}
"""What gives the bytes of a CSV, by how its file's name ends."""

POWERS = np.array([float(f"1e{power}") for power in range(23)])
"""The powers of ten that 64 bits hold exactly."""

TEXTS = frozenset(
    {
        *("run", "metric", "state", "reason", "ended", "dataset", "fingerprint", "subset_sha256", "device"),
        *("precision", "probes", "attention", "compile_reason", "python", "torch", "torchvision", "timm", "numpy"),
        "scikit-learn",
        *("vision_attn", "platform", "cpu", "commit", "started", "sources"),
    }
)
"""Columns of `runs` that stay text when the table is read back, also where every cell looks like a number."""

ALWAYS_TEXTS = frozenset({"run", "metric"})
"""The same of other tables, where a probe may have called a coordinate `sources` or `device`."""


def to_csv(frame: pd.DataFrame) -> bytes:
    """The frame as CSV. Text that a spreadsheet would run as a formula gets an apostrophe in front, headers too.

    So does text that looks as if it had one already, so that `read_csv` gives every text back.
    """
    names, columns, texts = [_neutral(name) for name in frame], [], set(frame)
    for _, column in frame.items():
        cells = column
        if not pd.api.types.is_numeric_dtype(column.dtype):
            plain = column.tolist()
            own = {cell for cell in plain if isinstance(cell, str)}
            neutral = {cell: text for cell in own if (text := _neutral(cell)) != cell}
            cells = pd.Series([neutral.get(cell, cell) for cell in plain] if neutral else plain)
            texts |= own
        elif column.dtype in NARROW:
            cells = column.astype(str).astype(float)  # 0.1 and not 0.10000000149011612
        columns.append(cells.astype(object).where(column.notna().array, "").tolist())
    ends_rows = any("\r" in text for text in texts)  # unless it stands in quotes
    out = io.BytesIO()
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if ends_rows else csv.QUOTE_MINIMAL)
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    text.flush()
    return out.getvalue()


def to_digits(column: Iterable[float]) -> npt.NDArray[np.float64]:
    """Numbers to nine digits; whole numbers, which counts are, and those beyond 1e-14 and 1e9, to all."""
    cells = np.asarray(column, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = DIGITS - 1 - np.floor(np.log10(np.abs(cells)))
        shortened = (power >= 0) & (power < len(POWERS)) & (cells != np.rint(cells))
        scale = POWERS[np.where(shortened, power, 0).astype(int)]
        return np.where(shortened, np.rint(cells * scale) / scale, cells)


def with_digits(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its columns of 64-bit floats to nine digits; narrower ones have fewer."""
    floats = [name for name in frame if frame[name].dtype == np.float64]
    return frame.assign(**{name: to_digits(frame[name]) for name in floats})


def read_csv(path: Path) -> pd.DataFrame:
    """A frame that `to_csv` wrote, cell for cell. Raises `FileNotFoundError`, and others where it is no table."""
    return _frame(UNPACKED[path.suffix](path.read_bytes()))


def write_tables(folder: Path, tables: Mapping[str, bytes], *, experiment: str) -> None:
    """Write CSVs under their names in `folder`, those named `.csv.xz` compressed, and then their checksums.

    A compressed file that holds the same CSV already is left as it is: another liblzma would only write other bytes.
    """
    sums = {}
    for name, content in tables.items():
        path = folder / name
        payload = _compressed(path, content) if name.endswith(".xz") else content
        write_atomic(path, payload)
        sums[name] = hashlib.sha256(payload).hexdigest()
    lines = [f"{HEADER}{experiment}", *(f"{sums[name]}  {name}" for name in sorted(sums))]
    write_atomic(folder / SUMS, ("\n".join(lines) + "\n").encode())


def read_tables(
    folder: Path, columns: Mapping[str, Sequence[str]], *, experiment: str | None = None
) -> dict[str, pd.DataFrame]:
    """Tables by their names without `.csv` or `.csv.xz`, after their checksums have been verified.

    `columns` names the tables, each with the columns it must have. A folder of plain CSVs without `SHA256SUMS` was
    written before there were checksums and is read without. Empty where the folder has none of the tables. Raises
    `InputError` where one is missing, altered, no table, or, with `experiment`, of another experiment.
    """
    sums = _read_sums(folder, experiment)
    found = {name: _file(folder, name, sums or ()) for name in columns}
    if sums is None and all(path is None for path in found.values()):
        return {}
    frames = {}
    for name, path in found.items():
        if path is None:
            known = [f"{name}{end}" for end in ENDS if f"{name}{end}" in (sums or ())]
            raise _refused(folder, folder / (known or [f"{name}.csv"])[0], "is missing")
        if sums is None and path.suffix != ".csv":
            raise _refused(folder, folder / SUMS, f"is missing, so that {path.name} cannot be checked")
        payload = _read(folder, path)
        if sums is not None and hashlib.sha256(payload).hexdigest() != sums.get(path.relative_to(folder).as_posix()):
            raise _refused(folder, path, f"and {SUMS} do not agree: one is damaged or of another report")
        try:
            frames[name] = _frame(UNPACKED[path.suffix](payload), columns=columns[name])
        except (*UNREADABLE, csv.Error, ValueError, OverflowError) as error:
            raise _refused(folder, path, f"is not the table that belongs there ({error})") from None
    return frames


def _refused(folder: Path, path: Path, problem: str) -> InputError:
    mend = f"Restore the folder, for instance by `git checkout -- {folder}`"
    return InputError(f"{path} {problem}. {mend}, or delete its tables and {SUMS} to count only runs in the store.")


def _read(folder: Path, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused(folder, path, f"cannot be read ({error.strerror})") from None


def _file(folder: Path, name: str, sums: Container[str]) -> Path | None:
    """The file of a table: that which has a checksum, should an interrupted report have left another beside it."""
    paths = [path for end in ENDS if (path := folder / f"{name}{end}").is_file()]
    return min(paths, key=lambda path: path.relative_to(folder).as_posix() not in sums, default=None)


def _read_sums(folder: Path, experiment: str | None) -> dict[str, str] | None:
    """The checksums by the name of the file, None where the folder has no such file."""
    path = folder / SUMS
    if not path.exists():
        return None
    header, *lines = _read(folder, path).decode(errors="replace").split("\n")
    end = lines.pop() if lines else "no end of line"
    found = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    if end or not header.startswith(HEADER) or not all(found):
        raise _refused(folder, path, "is damaged")
    if experiment is not None and header != f"{HEADER}{experiment}":
        theirs = header.removeprefix(HEADER)
        raise _refused(folder, path, f"is of the experiment {theirs!r}, but the plan is of {experiment!r}")
    return {match[2]: match[1] for match in found if match}


def _frame(payload: bytes, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Raises `ValueError`, or what csv raises, where the bytes are no such table."""
    content = payload.decode()
    header, *rows = csv.reader(io.StringIO(content, newline="")) if content else [[]]
    header = [_restored(name) for name in header]
    if missing := [name for name in columns if name not in header]:
        raise ValueError(f"it has no column {missing[0]!r}")
    if not content.endswith("\n") or any(len(row) != len(header) for row in rows):
        raise ValueError("a row is longer or shorter than the header")
    cells = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    texts = TEXTS if "state" in header else ALWAYS_TEXTS
    frame = pd.DataFrame({name: _parsed(list(cells[name]), is_text=name in texts) for name in header})
    if "value" in columns and len(frame) and not pd.api.types.is_numeric_dtype(frame["value"].dtype):
        raise ValueError("a cell of column 'value' is no number")
    return frame


def _compressed(path: Path, content: bytes) -> bytes:
    try:
        there = path.read_bytes()
        if _unpacked(there) == content:
            return there
    except UNREADABLE:
        pass
    return lzma.compress(content, preset=6 | lzma.PRESET_EXTREME)


def typed(cells: list[Any]) -> Any:
    """A column of plain values: whole numbers stay whole and truth values stay true where some are missing.

    Whole numbers beyond 64 bits make a column of floats. Raises `OverflowError` where one is beyond these, too.
    """
    kinds = set(map(type, cells)) - {types.NoneType}
    if kinds == {bool}:
        return pd.array(cells, dtype="boolean")
    if not kinds or bool in kinds or not all(issubclass(kind, int | float) for kind in kinds):
        return pd.Series(cells, dtype=object)
    if all(issubclass(kind, int) for kind in kinds):
        present = [cell for cell in cells if cell is not None]
        if min(present) >= -(2**63) and max(present) < 2**63:
            return pd.array(cells, dtype="Int64")
    return pd.Series(cells, dtype=float)


def _neutral(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def _restored(text: str) -> str:
    """The text that `_neutral` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def _parsed(cells: list[str], *, is_text: bool) -> Any:
    present = {cell for cell in cells if cell}
    if not is_text and present:
        if all(cell in ("True", "False") for cell in present):
            return typed([cell == "True" if cell else None for cell in cells])
        if all(re.fullmatch(r"-?\d+", cell) for cell in present):
            return typed([int(cell) if cell else None for cell in cells])
        if all(re.fullmatch(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", cell) for cell in present):
            return typed([float(cell) if cell else None for cell in cells])
    return pd.Series([_restored(cell) if cell else None for cell in cells], dtype=object)
