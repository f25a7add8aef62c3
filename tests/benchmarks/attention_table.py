"""The attention layer beside others on one device: a table of times, side by side, and of memory.

    PYTHONPATH=. python tests/benchmarks/attention_table.py --to table.csv [--seconds 60] [--device cuda]

Every row compares two ways, timed in turn in one process: `ratio` is the median over rounds of the time of `side` over
that of `baseline`, so below 1 the side is faster. On a GPU times are those of CUDA events, `mode` "eager" with the
launches as they come, "graph" recorded as one CUDA graph, so that only kernels count. On a CPU they are those of the
process. `peak_mb` is what the side holds beyond its input. A way that fails is a row with the reason in `note`.

B batch, N tokens, C channels, H heads.
"""

import argparse
import contextlib
import csv
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.environment import cpu_name
from vision_attn.layers import Attention
from vision_attn.layers.named import PATTERNS, WITHOUT_SIZE


class Shape(NamedTuple):
    """Tokens (batch, side x side, dim)."""

    batch: int
    side: int
    dim: int
    heads: int


SHAPES = (Shape(256, 8, 192, 3), Shape(64, 16, 192, 3), Shape(16, 32, 192, 3), Shape(4, 64, 384, 6))
TINY = (Shape(2, 4, 32, 2),)
TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
PASSES = ("forward", "forward and backward")
ROUNDS, REPLAYS, WARM_UP = 11, 3, 3
PATTERN_SIZE = 7
TABLES = ("others", "patterns", "relative bias")


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison; times in milliseconds a call."""

    table: str
    dtype: str
    batch: int
    tokens: int
    dim: int
    passes: str
    mode: str
    deterministic: bool
    side: str
    baseline: str
    ratio: float | None
    side_ms: float | None
    baseline_ms: float | None
    peak_mb: float | None
    note: str
    device: str


class Bare(nn.Module):
    """`scaled_dot_product_attention`: with linear maps before and behind it, or alone of the tokens as they are."""

    def __init__(self, shape: Shape, *, projected: bool) -> None:
        super().__init__()
        self.heads, self.projected = shape.heads, projected
        self.qkv, self.proj = nn.Linear(shape.dim, 3 * shape.dim), nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        if not self.projected:
            q = x.unflatten(2, (self.heads, -1)).transpose(1, 2)
            return F.scaled_dot_product_attention(q, q, q)
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Torchs(nn.Module):
    """`nn.MultiheadAttention` of one source, without its weights."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(shape.dim, shape.heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Flex(nn.Module):
    """Full attention with a learned relative bias by `flex_attention`, which forms no matrix of all pairs."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.side = shape.heads, shape.side
        self.qkv, self.proj = nn.Linear(shape.dim, 3 * shape.dim), nn.Linear(shape.dim, shape.dim)
        self.table = nn.Parameter(torch.zeros(shape.heads, (2 * shape.side - 1) ** 2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        flex = compiled() if x.is_cuda else flexible
        return self.proj(flex(q, k, v, self.table, self.side).transpose(1, 2).flatten(2))


def flexible(q: Tensor, k: Tensor, v: Tensor, table: Tensor, side: int) -> Tensor:
    """Attention (B, H, N, D) with `table` (H, offsets) added to the scores by the offset of two tokens."""
    from torch.nn.attention.flex_attention import flex_attention

    def biased(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        down, right = i // side - j // side + side - 1, i % side - j % side + side - 1
        return score + table[h, down * (2 * side - 1) + right]

    return flex_attention(q, k, v, score_mod=biased)


@functools.cache
def compiled() -> Callable[..., Tensor]:
    torch._dynamo.config.recompile_limit = 64  # one a shape, type and pass
    return torch.compile(flexible, dynamic=False)


def ours(shape: Shape, **options: Any) -> Attention:
    return Attention(shape.dim, shape.heads, grid=(shape.side, shape.side), **options)


def relative(shape: Shape) -> Attention:
    return ours(shape, position="relative")


def timms(shape: Shape, *, fused: bool) -> nn.Module:
    from timm.layers import Attention as Timm

    layer = Timm(shape.dim, shape.heads, qkv_bias=True)
    layer.fused_attn = fused
    return layer


Ways = dict[str, Callable[[Shape], nn.Module]]
OTHERS: Ways = {
    "timm fused": lambda shape: timms(shape, fused=True),
    "timm unfused": lambda shape: timms(shape, fused=False),
    "nn.MultiheadAttention": Torchs,
    "linear maps and sdpa": lambda shape: Bare(shape, projected=True),
    "sdpa alone": lambda shape: Bare(shape, projected=False),
    "ours, math": lambda shape: ours(shape, path="math"),
    "ours, fused": lambda shape: ours(shape, path="fused"),
}
PATTERNED: Ways = {
    "axial": lambda shape: ours(shape, pattern="axial"),
    **{
        name: lambda shape, name=name: ours(shape, pattern=name, pattern_size=min(PATTERN_SIZE, shape.side - 1))
        for name in PATTERNS
        if name not in WITHOUT_SIZE
    },
}
REPEATABLE: Ways = {"ours without bias": ours}
RELATIVE: Ways = {
    **REPEATABLE,
    "ours, math": lambda shape: ours(shape, position="relative", path="math"),
    "flex_attention": Flex,
}


class Timed:
    """A layer and an input, called and timed in one mode."""

    def __init__(self, layer: nn.Module, x: Tensor, *, passes: str, graphed: bool) -> None:
        self.layer, self.x, self.device = layer, x.detach().requires_grad_(passes != "forward"), x.device
        self.wanted = [self.x, *layer.parameters()]
        self.backward, self.graph = passes != "forward", None
        for _ in range(WARM_UP):
            self._call()
        self.peak_mb = None if graphed else self._peak()
        if graphed:
            self._record()

    def _call(self) -> None:
        if self.backward:
            torch.autograd.grad(self.layer(self.x).sum(), self.wanted, allow_unused=True)
        else:
            with torch.no_grad():
                self.layer(self.x)

    def _record(self) -> None:
        aside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._call()
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph):
            self._call()
        self.graph = graph

    def _peak(self) -> float | None:
        if self.device.type != "cuda":
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self._call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def milliseconds(self) -> float:
        """Of one call, the mean over a few."""
        call = self._call if self.graph is None else self.graph.replay
        if self.device.type != "cuda":
            begun = time.process_time()
            call()
            return 1e3 * (time.process_time() - begun)
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(REPLAYS):
            call()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / REPLAYS


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Inside, kernels give the same bits twice, or need not; afterwards it is as it was."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class Bench:
    """The comparisons on a device, as long as there is time."""

    def __init__(
        self,
        device: torch.device,
        *,
        seconds: float,
        shapes: tuple[Shape, ...] = SHAPES,
        tables: tuple[str, ...] = TABLES,
        rounds: int = ROUNDS,
    ) -> None:
        self.device, self.shapes, self.until = device, shapes, time.monotonic() + seconds
        self.tables, self.number = tables, rounds
        self.modes = ("eager", "graph") if device.type == "cuda" else ("eager",)
        self.name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()

    def rows(self) -> Iterator[Row]:
        """Every row, the most asked for first: what has to be compiled for every shape comes late."""
        parts = {
            "others": lambda dtype: self._others(dtype),
            "patterns": lambda dtype: self._patterns(dtype),
            "relative bias": lambda dtype: self._relative(dtype),
        }
        for dtype in TYPES:
            for name in self.tables:
                with _deterministic(False):
                    yield from parts[name](dtype)

    def _others(self, dtype: str) -> Iterator[Row]:
        for shape in self.shapes:
            for passes in PASSES:
                yield from self._compared("others", shape, dtype, passes, "ours", ours, OTHERS, inverse=True)

    def _patterns(self, dtype: str) -> Iterator[Row]:
        for shape in self.shapes:
            for passes in PASSES:
                yield from self._compared("patterns", shape, dtype, passes, "full", ours, PATTERNED, inverse=False)

    def _relative(self, dtype: str) -> Iterator[Row]:
        yield from self._repeatable(dtype)
        for shape in self.shapes[-2:]:
            for passes in reversed(PASSES):
                given = ("relative bias", shape, dtype, passes, "ours, relative", relative, RELATIVE)
                yield from self._compared(*given, inverse=True)

    def _repeatable(self, dtype: str) -> Iterator[Row]:
        """With kernels that give the same bits twice, as in a run."""
        with _deterministic(True):
            for shape in self.shapes:
                given = ("relative bias", shape, dtype, PASSES[1], "ours, relative", relative, REPEATABLE)
                yield from self._compared(*given, inverse=True)

    def _compared(
        self,
        table: str,
        shape: Shape,
        dtype: str,
        passes: str,
        name: str,
        build: Callable[[Shape], nn.Module],
        others: Ways,
        *,
        inverse: bool,
    ) -> Iterator[Row]:
        """One way beside each of the others, all timed in turn; `inverse`: the others are what it is measured by."""
        for mode in self.modes:
            notes: dict[str, str] = {}
            timed = {}
            for way, make in {name: build, **others}.items():
                if time.monotonic() > self.until:
                    notes[way] = "no time left"
                    continue
                try:
                    timed[way] = self._timed(make, shape, dtype, passes, mode)
                    timed[way].milliseconds()
                except Exception as error:
                    timed.pop(way, None)
                    notes[way] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
            rounds = [{way: one.milliseconds() for way, one in timed.items()} for _ in range(self.number)]
            for other in others:
                side, baseline = (name, other) if inverse else (other, name)
                both = [(row[side], row[baseline]) for row in rounds if side in row and baseline in row]
                yield Row(
                    *(table, dtype, shape.batch, shape.side**2, shape.dim, passes, mode),
                    torch.are_deterministic_algorithms_enabled(),
                    *(side, baseline),
                    *_medians(both),
                    peak_mb=timed[side].peak_mb if side in timed else None,
                    note="; ".join(f"{way}: {notes[way]}" for way in (side, baseline) if way in notes),
                    device=f"{self.name}, torch {torch.__version__}",
                )
            timed.clear()

    def _timed(self, make: Callable[[Shape], nn.Module], shape: Shape, dtype: str, passes: str, mode: str) -> Timed:
        torch.manual_seed(0)
        layer = make(shape).to(self.device, TYPES[dtype]).train(passes != "forward")
        x = torch.randn(shape.batch, shape.side**2, shape.dim, device=self.device, dtype=TYPES[dtype])
        return Timed(layer, x, passes=passes, graphed=mode == "graph")


def _medians(both: list[tuple[float, float]]) -> tuple[float | None, float | None, float | None]:
    """Of the ratios, and of both sides."""
    if not both:
        return None, None, None
    ratios = [side / baseline for side, baseline in both if baseline > 0]
    return (
        round(statistics.median(ratios), 4) if ratios else None,
        *(round(statistics.median(column), 5) for column in zip(*both, strict=True)),
    )


def measure(bench: Bench, path: Path) -> None:
    """Write the rows to a CSV file as they come, and print them."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in bench.rows():
            writer.writerow(dataclasses.asdict(row))
            file.flush()
            size = f"({row.batch}, {row.tokens}, {row.dim})"
            where = f"{row.table:13} {row.dtype} {size:>15} {row.passes:20} {row.mode:5}"
            number = "   -  " if row.ratio is None else f"{row.ratio:6.2f}"
            memory = "" if row.peak_mb is None else f"{row.peak_mb:8.0f} MB"
            print(f"{where} {number} {row.side} over {row.baseline} {memory} {row.note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="the CSV file to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=60.0, help="when nothing more is begun")
    parser.add_argument("--tiny", action="store_true", help="one small shape, few rounds")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    given = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    small = {"shapes": TINY, "rounds": 1} if given.tiny else {}
    bench = Bench(torch.device(given.device), seconds=given.seconds, tables=tuple(given.tables), **small)
    measure(bench, given.to)


if __name__ == "__main__":
    main()
