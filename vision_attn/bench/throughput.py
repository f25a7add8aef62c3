"""Throughput: images a second of whole updates, model by model and way by way of training, side by side."""

import gc
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch

from vision_attn.bench import usual
from vision_attn.bench.apart import Apart, Failed, TookLong
from vision_attn.bench.cases import Case, cases
from vision_attn.bench.ours import Ours, least_bytes, random_data, settle
from vision_attn.bench.table import Machine, Measured, Row, Table
from vision_attn.bench.timing import Effort, peaks, timed
from vision_attn.environment import cpu_name
from vision_attn.training.compute import bf16_units

LONGEST, LONGEST_COMPILED = 60.0, 180.0
"""Seconds after which a case is given up."""
NO_TIME = "not enough time was left"


def throughput(
    device: torch.device,
    *,
    threads: int,
    seconds: float,
    chosen: Sequence[Case] | None = None,
    effort: Effort | None = None,
) -> Generator[Row, None, None]:
    """The rows of the table (`Table`), as they are measured, in at most about so many seconds.

    A case that fails is a row with the reason; so is one for which no time was left.
    """
    until = time.monotonic() + seconds
    effort = effort or Effort.on(device.type)
    precision = "bf16" if bf16_units(device) else "fp32"
    moved: dict[str, int | None] = {}
    took: dict[tuple[str, int], float] = {}
    with Apart() as apart:

        def call(function: Callable[..., Any], *given: Any, longest: float = LONGEST) -> Any:
            """What it gives, or the reason why it gives nothing.

            What fails in a process in which others were measured is tried again in a process of its own.
            """
            if (left := until - time.monotonic()) <= 0:
                return NO_TIME
            is_last = apart.is_fresh
            try:
                return apart.call(function, *given, device, threads, effort, seconds=min(left, longest))
            except Failed as error:
                is_last = is_last or isinstance(error, TookLong) or until - time.monotonic() <= 0
                return str(error) if is_last else call(function, *given, longest=longest)

        known = call(machine, precision)
        table = Table(known, batch_size=effort.batch_size, precision=precision, torch=torch.__version__)
        for case in cases(device.type) if chosen is None else chosen:
            if case.mode in ("eager", "graph") and case.model not in moved:
                least = call(least_bytes, case.model)
                moved[case.model] = least if isinstance(least, int) else None
            begun, kind = time.monotonic(), (case.mode, case.stack)
            if until - begun < took.get(kind, 0):
                yield table.row(case, NO_TIME)
                continue
            longest = LONGEST_COMPILED if case.mode == "compiled" else LONGEST
            found = call(measure, case, precision, longest=longest)
            took[kind] = max(took.get(kind, 0), time.monotonic() - begun)
            yield table.row(case, found, moved=_moved(case, moved))


def _moved(case: Case, moved: dict[str, int | None]) -> int | None:
    """What is known to be moved: compiled code may compute anew what eager code keeps, and the usual step differs."""
    return moved[case.model] if case.mode in ("eager", "graph") else None


def machine(precision: str, device: torch.device, threads: int, effort: Effort) -> Machine:
    """The device and what it does at most."""
    settle(device, threads)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return Machine(name, *peaks(device, precision=precision, effort=effort))


def measure(case: Case, precision: str, device: torch.device, threads: int, effort: Effort) -> Measured:
    """Train for a while in the way of the case, and time it."""
    settle(device, threads)
    data = random_data(effort.train_size, device)
    training: usual.Usual | Ours
    if case.mode in ("usual step", "usual loop"):
        _as_usual()
        training = usual.Usual(case, data, batch_size=effort.batch_size, precision=precision)
    else:
        training = Ours(case, data, device=device, threads=threads, effort=effort)
    if case.mode != "compiled":
        next(training.start())  # what a process loads once is no part of the start
        training.stop()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    window = effort.window if case.is_alone else effort.long_window
    timing = timed(training.start, device=device, effort=effort, window=window)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Measured(timing, memory, training.reason)


def _as_usual() -> None:
    """What training scripts set, such as timm's: the fastest kernels rather than the same bits."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
