"""Token cost: time, memory and multiply-adds of a mixer, or of all blocks, against the number of tokens."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.models.size import flops_of
from vision_attn.models.trunk import ViT
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.cost_point import Cost, Part, Passes, Point, measure, part_of
from vision_attn.spec import InputError, spec

QUARTILES = (0.25, 0.5, 0.75)


@spec
class TokenCost(Probe):
    """What a trunk's mixer, or all of its blocks, costs for side x side tokens: `tokens` are the squares of `sides`.

    Every point is measured in a fresh process on one core (or the GPU that the model is on), in float32, with random
    weights; the trained ones play no part. The median is over at least 3 calls and `min_seconds`. One process at a time
    (`-j 1`) on a machine that does nothing else gives numbers to rely on: `quartiles` say how still it was. Memory is
    that of the first call, above what was there, so without weights and input; on a CPU of what the system hands out
    in whole pages. Timed calls keep the memory that they have used, as training does. Coordinates `part`, `passes` and
    `tokens`.

    `latency_seconds`   of a call for `batch_size` images: `quantile` 0.25, 0.5 and 0.75
    `peak_bytes`        where the system tells it and it is more than nothing
    `ran_out`           1 where `memory_limit` (bytes) was not enough, and there are no other numbers; else 0
    `multiply_adds`     of a forward call for one image, counted from the shapes
    `time_slope`        log(T_2 / T_1) / log(n_2 / n_1) from the side before to this one: 2 is quadratic, 1 linear
    `memory_slope`      the same of memory
    """

    sides: tuple[int, ...] = (8, 16, 32, 44, 64)
    part: Part = "mixer"
    passes: tuple[Passes, ...] = ("forward", "forward and backward")
    batch_size: int = 1
    min_seconds: float = 0.2
    memory_limit: int = 4 * 2**30

    def check(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.sides), self.sides, strict=False))
        self.require("sides", bool(self.sides) and rising, "one or more rising numbers, at least 1")
        self.require("passes", bool(self.passes), "one or more")
        self.require("batch_size", self.batch_size >= 1, "at least 1")
        self.require("min_seconds", self.min_seconds >= 0, "at least 0")
        self.require("memory_limit", self.memory_limit > 0, "more than 0")

    def skip(self, model: Model, data: Dataset) -> str | None:
        if not isinstance(model, ViT):
            return f"{type(model).__name__} has no mixer in its blocks"
        return "its prefix tokens lie on no grid" if model.num_prefix_tokens else None

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        trunk = getattr(model, "spec", None)
        if not isinstance(trunk, ViT) or trunk.num_prefix_tokens:
            allowed = "a trunk with a mixer in its blocks, without prefix tokens"
            raise InputError(f"model of TokenCost must be {allowed}. Got {type(model).__name__} instead.")
        device = next(model.parameters()).device
        for side in self.sides:
            with torch.device("meta"):
                module = part_of(trunk, self.part, side)
            value = flops_of(module, (side**2, trunk.dim)) / 2
            yield {"metric": "multiply_adds", "part": self.part, "tokens": side**2, "value": value}
        for passes in self.passes:
            earlier: tuple[int, Cost] | None = None
            for side in self.sides:
                limits = self.min_seconds, self.memory_limit, str(device)
                cost = measure(Point(trunk, self.part, side, passes, self.batch_size, *limits))
                at = {"part": self.part, "passes": passes, "tokens": side**2}
                for row in [*_numbers(cost), *([] if earlier is None else _slopes(*earlier, side, cost))]:
                    yield {**row, **at}
                earlier = side, cost


def _numbers(cost: Cost) -> Iterator[Row]:
    yield {"metric": "ran_out", "value": float(cost.seconds is None)}
    if cost.seconds is not None:
        for quantile, value in zip(QUARTILES, cost.seconds, strict=True):
            yield {"metric": "latency_seconds", "quantile": quantile, "value": value}
    if cost.memory:
        yield {"metric": "peak_bytes", "value": float(cost.memory)}


def _slopes(before: int, less: Cost, side: int, more: Cost) -> Iterator[Row]:
    """How time and memory grow from `before`^2 to `side`^2 tokens."""
    growth = math.log(side**2 / before**2)
    if less.seconds is not None and more.seconds is not None:
        yield {"metric": "time_slope", "value": math.log(more.seconds[1] / less.seconds[1]) / growth}
    if less.memory and more.memory:
        yield {"metric": "memory_slope", "value": math.log(more.memory / less.memory) / growth}
