"""Timing: milliseconds of an update, and what the device does at most in products and copies."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch

from vision_attn.training.feed import CHUNK


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured: windows of so many updates until `seconds` are over, after a number to warm up.

    Two windows at least where they are short of `patience` seconds. Those of stacks and graphs are `long_window`s, in
    which they draw the random numbers of as many updates once. `products` is the side of the square matrices, `copied`
    the bytes of the copy, by which the device is measured.
    """

    batch_size: int = 128
    train_size: int = 8000
    warm_up: int = 20
    window: int = 50
    long_window: int = CHUNK
    seconds: float = 0.7
    patience: float = 4.0
    products: int = 8192
    copied: int = 2**30

    @classmethod
    def on(cls, device: str) -> "Effort":
        """What suits a device of that type."""
        if device == "cuda":
            return cls()
        small = {"batch_size": 32, "train_size": 2000, "products": 1024, "copied": 2**26}
        return cls(**small, warm_up=2, window=3, long_window=3)


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of an update, the median of windows, and the seconds that training takes before it is at that pace.

    That is: building, capturing, compiling, starting workers, drawing ahead.
    """

    ms_per_update: float
    start_seconds: float


def timed(start: Callable[[], Iterator[Any]], *, device: torch.device, effort: Effort, window: int) -> Timing:
    """Time the updates that `start` begins, in windows of so many."""
    _wait(device)
    begun = time.perf_counter()
    updates = start()
    _window(updates, effort.warm_up, device)
    opened = time.perf_counter() - begun
    pace: list[float] = []
    while (total := sum(pace)) < effort.seconds or (len(pace) < 2 and total < effort.patience):
        pace.append(_window(updates, window, device))
    update = statistics.median(pace) / window
    return Timing(1000 * update, max(0.0, opened - effort.warm_up * update))


def peaks(device: torch.device, *, precision: str, effort: Effort) -> tuple[float, float]:
    """FLOP/s of a large square matrix product in that precision, bytes/s read and written by a large copy."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = effort.products
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty(side, side, device=device, dtype=dtype)
    source = torch.ones(effort.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products = _repeated(lambda: torch.mm(left, right, out=product), device)
    return 2 * side**3 / products, 2 * effort.copied / _repeated(lambda: target.copy_(source), device)


def _repeated(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call: the fastest of several windows, as a peak is asked for."""

    def calls() -> Iterator[None]:
        while True:
            call()
            yield

    repeated = calls()
    return min(_window(repeated, 10, device) for _ in range(5)) / 10


def _window(updates: Iterator[Any], number: int, device: torch.device) -> float:
    """Seconds of so many updates, until the device is done with them."""
    _wait(device)
    begun = time.perf_counter()
    made = sum(1 for _ in islice(updates, number))
    _wait(device)
    assert made == number, "training must not end while it is timed"
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
