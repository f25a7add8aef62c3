"""Attempts: how every attempt at a run has ended, a sealed row each, the last one last.

Rows of earlier versions have no seal. A row that is altered is kept as it is and counts as an attempt of which nobody
can say how it ended; half a row at the end, which a crash has left, is no attempt.
"""

import json
from pathlib import Path
from typing import Any

from vision_attn.spec import canonical, json_sha256
from vision_attn.store.files import write_atomic

FAILURES = ("failed", "oom", "killed", "timeout", "disk full")
DAMAGED = "damaged"

Row = dict[str, Any]

_UNSEALED = {"attempt", "started", "outcome", "error"}


def read(path: Path) -> list[Row]:
    """The attempts: `attempt` (from 1 on), `started`, `outcome`, `error`, and `host`, `pid`, `job` of who made it."""
    rows: list[Row] = []
    for number, line in enumerate(_lines(path), start=1):
        row = _row(line)
        if row is None:
            said = f"line {number} of {path.name} is damaged; `vision-attn retry` has the run tried again"
            last = rows[-1]["attempt"] if rows else 0
            row = {"attempt": last + 1, "started": None, "outcome": DAMAGED, "error": said}
        rows.append(row)
    return rows


def append(path: Path, row: Row) -> None:
    """Write a row behind the others, sealed."""
    line = canonical({**row, "sha256": json_sha256(row)})
    write_atomic(path, b"".join(each + b"\n" for each in [*_lines(path), line]))


def next_number(rows: list[Row]) -> int:
    return 1 + max((row["attempt"] for row in rows), default=0)


def _lines(path: Path) -> list[bytes]:
    """The lines, without half a line at the end."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    *lines, rest = content.split(b"\n")
    return [line for line in lines if line.strip()] + ([rest] if _row(rest) is not None else [])


def _row(line: bytes) -> Row | None:
    """The row, or None where it is damaged."""
    try:
        row = json.loads(line)
        seal = row.pop("sha256", None)
        intact = seal == json_sha256(row) if seal is not None else row.keys() == _UNSEALED
        typed = type(row["attempt"]) is int and isinstance(row["outcome"], str)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return row if intact and typed else None
