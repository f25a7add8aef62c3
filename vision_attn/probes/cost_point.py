"""One point of a cost curve: seconds and peak memory of a mixer, or of all blocks, at a number of tokens.

Measured in a fresh process that does nothing else, on one core or one GPU, so that no point warms the caches, fragments
the memory or raises the peak of another.
"""

import dataclasses
import gc
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vision_attn.models.trunk import VisionTransformer, ViT
from vision_attn.spec import from_json, to_json
from vision_attn.training.compute import keep_memory

Part = Literal["mixer", "blocks"]
Passes = Literal["forward", "forward and backward"]
FEWEST, MOST = 3, 200
"""Calls that are timed at least and at most; two more come before."""
SMALL = 8
"""Side of the grid of a call that comes before everything."""
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True)
class Point:
    """What is measured: a part of a trunk with side x side tokens. Memory in bytes."""

    model: ViT
    part: Part
    side: int
    passes: Passes
    batch_size: int
    min_seconds: float
    memory_limit: int
    device: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """Quartiles of the seconds a call takes, and the bytes that the first call takes at its peak.

    `seconds` is None where memory ran out; `memory` is None where the system does not tell it.
    """

    seconds: tuple[float, float, float] | None
    memory: int | None


class Blocks(nn.Module):
    """All blocks of a trunk, with what merges tokens between them."""

    def __init__(self, trunk: VisionTransformer) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        for step in self.trunk.steps():
            x = step(x)
        return x


def part_of(model: ViT, part: Part, side: int) -> nn.Module:
    """The first mixer of the trunk, or all of its blocks, for side x side tokens: (B, side^2, dim) to tokens."""
    if part == "mixer":
        return model.mixer.build(dim=model.dim, grid=(side, side))
    trunk = model.build(image_size=side * model.patch_size, in_chans=1, num_classes=2)
    assert isinstance(trunk, VisionTransformer)
    return Blocks(trunk)


def measure(point: Point) -> Cost:
    """The cost of a point, from a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # a process is there in milliseconds, with PyTorch imported
    receiver, sender = context.Pipe(duplex=False)
    given = {**vars(point), "model": to_json(point.model)}
    process = context.Process(target=_child, args=(sender, given))
    process.start()
    sender.close()
    try:
        seconds, memory = receiver.recv()
    except EOFError:  # the system has ended the process, for want of memory
        seconds, memory = None, None
    process.join()
    if isinstance(seconds, str):
        raise RuntimeError(seconds)
    return Cost(seconds, memory)


def _child(sender: Connection, given: dict[str, Any]) -> None:
    try:
        sender.send(_measured(Point(**{**given, "model": from_json(given["model"], ViT)})))
    except (MemoryError, torch.OutOfMemoryError):
        sender.send((None, None))
    except (RuntimeError, ValueError) as error:
        # This is how PyTorch says on a CPU that it cannot allocate.
        ran_out = "can't allocate" in str(error) or "not enough memory" in str(error)
        sender.send((None, None) if ran_out else (f"{type(error).__name__}: {error}", None))
    finally:
        sender.close()


def _measured(point: Point) -> tuple[tuple[float, float, float], int | None]:
    device = torch.device(point.device)
    _alone(device)
    torch.manual_seed(0)
    module = part_of(point.model, point.part, point.side).to(device).eval()
    x = torch.randn(point.batch_size, point.side**2, point.model.dim, device=device)
    call = _call(module, x, point.passes)
    small = min(point.side, SMALL)
    of_small = part_of(point.model, point.part, small).to(device).eval()
    _timed(
        _call(of_small, x[:1, : small**2].clone(), point.passes), device
    )  # what is loaded once is no memory of this point
    del of_small
    gc.collect()
    before = _held(device)
    if device.type == "cpu":
        used = _status("VmSize") or 0
        resource.setrlimit(resource.RLIMIT_AS, (used + point.memory_limit, resource.RLIM_INFINITY))
    else:
        _limit_gpu(point.memory_limit, device)
    _timed(call, device)
    peak = _peak(device)
    memory = None if peak is None or before is None else max(0, peak - before)
    keep_memory()  # as training does: else page faults, by the state of the heap, double the time of some points
    _timed(call, device)
    seconds: list[float] = []
    while len(seconds) < FEWEST or (sum(seconds) < point.min_seconds and len(seconds) < MOST):
        seconds.append(_timed(call, device))
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (low, middle, high), memory


def _call(module: nn.Module, x: Tensor, passes: Passes) -> Callable[[], None]:
    def forward() -> None:
        with torch.no_grad():
            module(x)

    def both() -> None:
        module.zero_grad(set_to_none=True)
        if (out := module(x)).requires_grad:  # what mixes nothing has nothing to go back through
            out.sum().backward()

    return forward if passes == "forward" else both


def _alone(device: torch.device) -> None:
    """One thread on one core of those that the process may have; on a GPU float32 as it is, not rounded to TF32."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    if device.type == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _limit_gpu(limit: int, device: torch.device) -> None:
    """Let PyTorch take so many bytes more of the GPU, at most all there are."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved(device) + limit) / total), device)


def _timed(call: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _held(device: torch.device) -> int | None:
    """Bytes in use now, from which the peak is counted."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        RESET.write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int | None:
    """A line of /proc/self/status, in bytes."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
