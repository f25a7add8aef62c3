"""Table: what was measured of every case, as rows, with the shares and ratios that follow from it."""

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Sequence
from typing import Any

from vision_attn.bench.cases import Case
from vision_attn.bench.gains import MODELS, SHAPE
from vision_attn.bench.timing import Timing
from vision_attn.models.size import count_flops, count_params

RUN_IMAGES = 48_000
"""Images of the run by which runs an hour are counted."""
COLUMNS = (
    *("model", "params", "flops", "mode", "stack", "batch_size", "precision"),
    *("images_per_second", "speedup", "runs_per_hour_of_48000_images"),
    *("ms_per_update", "start_seconds"),
    *("share_of_peak", "share_of_bandwidth", "memory_gib"),
    *("peak_teraflops", "peak_gigabytes_per_second", "device", "torch", "reason"),
)
SHARES = {"share_of_peak": "peak", "share_of_bandwidth": "bandwidth"}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Machine:
    """The device, and what it does at most: operations and bytes a second."""

    name: str
    flops: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """The times of a case, bytes allocated at the peak where the device tells them, and why there is no graph."""

    timing: Timing
    memory: int | None
    reason: str


class Table:
    """Rows of `COLUMNS`, made one after another; the eager loop of a model comes before what is compared with it.

    `speedup`: images a second over those of the eager loop of the same model. `runs_per_hour_of_48000_images`: of runs
    with `start_seconds` each (compiling too, which a process does once for an architecture), without validation.
    `share_of_peak`: 3 x forward FLOPs x images a second over `peak_teraflops`, those of a large product in the same
    precision. `share_of_bandwidth`: of the bytes that an update moves at least, if no cache holds them between writing
    and reading, over `peak_gigabytes_per_second`, those of a large copy, read and written. `memory_gib`: allocated at
    the peak. `reason`: why there are no numbers, or why an update was not captured as a graph.
    """

    def __init__(self, machine: Machine | str, *, batch_size: int, precision: str, torch: str) -> None:
        """Of a machine, or with the reason why it is not known."""
        self.machine = machine if isinstance(machine, Machine) else None
        self.unknown = machine if isinstance(machine, str) else ""
        self.batch_size = batch_size
        self.same = {"batch_size": batch_size, "precision": precision, "torch": torch}
        self.eager: dict[str, float] = {}

    def row(self, case: Case, found: Measured | str, *, moved: int | None = None) -> Row:
        """The row of a case: what was measured, or the reason for nothing; `moved` by an update of one run, at least.

        `moved` is in bytes.
        """
        params, flops = _size(case.model)
        row: Row = dict.fromkeys(COLUMNS) | dataclasses.asdict(case) | self.same
        row |= {"params": params, "flops": flops, "reason": ""}
        if self.machine is not None:
            peaks = {"peak_teraflops": self.machine.flops / 1e12, "peak_gigabytes_per_second": self.machine.bytes / 1e9}
            row |= {"device": self.machine.name, **{name: _rounded(peak) for name, peak in peaks.items()}}
        if isinstance(found, str):
            return row | {"reason": found}
        unknown = f"the peaks are not known: {self.unknown}" if self.unknown else ""
        timing = found.timing
        seconds = timing.ms_per_update / 1000
        rate = case.stack * self.batch_size / seconds
        if case.mode == "eager" and case.stack == 1:
            self.eager[case.model] = rate
        run_seconds = timing.start_seconds + RUN_IMAGES / self.batch_size * seconds
        numbers: dict[str, float | None] = dataclasses.asdict(timing) | {
            "images_per_second": rate,
            "speedup": rate / self.eager[case.model] if case.model in self.eager else None,
            "runs_per_hour_of_48000_images": 3600 * case.stack / run_seconds,
            "memory_gib": None if found.memory is None else found.memory / 2**30,
        }
        if self.machine is not None:
            numbers["share_of_peak"] = 3 * flops * rate / self.machine.flops
            if moved is not None:
                numbers["share_of_bandwidth"] = case.stack * moved / seconds / self.machine.bytes
        return (
            row
            | {name: _rounded(number) for name, number in numbers.items()}
            | {"reason": "; ".join(filter(None, (found.reason, unknown)))}
        )


@functools.cache
def _size(name: str) -> tuple[int, int]:
    """Parameters, and forward FLOPs of an image."""
    return count_params(MODELS[name], **SHAPE), count_flops(MODELS[name], **SHAPE)


def _rounded(number: float | None) -> float | None:
    """Four digits, which are more than repeat."""
    return None if number is None else float(f"{number:.4g}")


def as_csv(rows: Sequence[Row]) -> bytes:
    """The table as a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_text(row: Row) -> str:
    """A row for people, in columns of constant width."""
    way = Case(row["model"], row["mode"], row["stack"]).label
    head = f"{row['model']:<27} {way:<19}"
    if row["images_per_second"] is None:
        return f"{head} {row['reason']}"
    said = [f"{row['images_per_second']:>11,.0f} images/s", f"{row['speedup'] or math.nan:>6.2f} x eager"]
    said += [f"{row['ms_per_update']:>8.3f} ms", f"{row['runs_per_hour_of_48000_images']:>8,.0f} runs/h"]
    said += [f"{100 * row[share]:>5.1f} % of {what}" for share, what in SHARES.items() if row[share] is not None]
    return "  ".join([head, *said, row["reason"]]).rstrip()
