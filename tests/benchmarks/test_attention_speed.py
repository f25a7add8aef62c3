"""The attention layer against others, one process, in turn: `pytest -m benchmark -s tests/benchmarks -k attention`.

Ratios are medians over rounds taken in turn; peak memory is what is allocated beyond the input. The number of threads
is OMP_NUM_THREADS. On a CPU the time is that of the process itself, whatever else the cores do.
"""

import random
import statistics
import time
from collections.abc import Callable

import memory
import pytest
import torch
from torch import nn

from vision_attn.environment import cpu_name
from vision_attn.layers import Attention, RelativeBias, Window
from vision_attn.layers.paths import attention_path, units

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DIM, HEADS, TOKENS = 192, 3, (64, 196, 400, 576, 1024, 2048, 4096)
LENGTHS = (65, 197, 441, 785, 1025, 2048)
BATCHED_TOKENS, ROUNDS = 4096, 25
AT_MOST = 1.03
SLOWER, FASTER_AT_64 = 0.97, 1.3

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


def pair(dtype):
    """Ours and timm's with the same weights."""
    from timm.layers import Attention as Timm

    torch.manual_seed(0)
    ours = Attention(DIM, HEADS).to(DEVICE, dtype)
    theirs = Timm(DIM, HEADS, qkv_bias=True).to(DEVICE, dtype)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def once(layer: nn.Module, x: torch.Tensor, *, backward: bool) -> None:
    if backward:
        layer.zero_grad()
        x.grad = None
        layer(x).sum().backward()
    else:
        with torch.no_grad():
            layer(x)


def seconds(layer: nn.Module, x: torch.Tensor, *, backward: bool) -> float:
    clock = time.perf_counter if DEVICE.type == "cuda" else time.process_time
    begun = clock()
    once(layer, x, backward=backward)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


def peak_bytes(layer: nn.Module, x: torch.Tensor, *, backward: bool) -> int:
    """The most memory that is held at once beyond the input and the weights."""
    once(layer, x, backward=backward)
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once(layer, x, backward=backward)
        return torch.cuda.max_memory_allocated() - before
    layer.zero_grad()
    x.grad = None
    return memory.peak_bytes(lambda: once(layer, x, backward=backward))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_it_is_not_slower_nor_larger_than_timms_and_faster_where_sequences_are_short(dtype):
    ours, theirs = pair(dtype)
    name, misses = str(dtype).removeprefix("torch."), []
    machine = cpu_name() if DEVICE.type == "cpu" else torch.cuda.get_device_name()
    print(f"\n{machine}, {torch.get_num_threads()} threads, dim {DIM}, {HEADS} heads")
    print("type      tokens batch | timm ms  ours ms  ratio  memory | forward and backward, the same")
    for tokens in TOKENS:
        x = torch.randn(max(1, BATCHED_TOKENS // tokens), tokens, DIM, device=DEVICE, dtype=dtype).requires_grad_()
        cells = []
        for backward in (False, True):
            sides = [(peak_bytes(side, x, backward=backward)) for side in (theirs, ours)]
            rounds = [[seconds(side, x, backward=backward) for side in (theirs, ours)] for _ in range(ROUNDS)]
            a, b = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio, memory = statistics.median(t / o for t, o in rounds), sides[1] / sides[0]
            cells.append(f"{a * 1e3:8.2f} {b * 1e3:8.2f} {ratio:6.2f} {memory:7.2f}")
            target = FASTER_AT_64 if tokens == 64 and name == "bfloat16" and DEVICE.type == "cpu" else SLOWER
            if ratio < target or round(memory, 2) > 1.0:
                misses.append(
                    (tokens, "forward+backward" if backward else "forward", round(ratio, 3), round(memory, 3))
                )
        print(f"{name:9} {tokens:6} {x.shape[0]:5} | {' | '.join(cells)}", flush=True)
    assert misses == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_faster_path_is_taken(dtype):
    sides, misses = {path: Attention(DIM, HEADS, path=path).to(DEVICE, dtype) for path in ("fused", "math")}, []
    print(f"\n{units(DEVICE)}, {dtype}: time of the fused kernel over that of products\ntokens  forward  both")
    for tokens in LENGTHS:
        x = torch.randn(max(1, BATCHED_TOKENS // tokens), tokens, DIM, device=DEVICE, dtype=dtype).requires_grad_()
        ratios = []
        for backward in (False, True):
            for side in sides.values():
                once(side, x, backward=backward)
            rounds = [[seconds(side, x, backward=backward) for side in sides.values()] for _ in range(ROUNDS)]
            ratios.append(statistics.median(fused / math for fused, math in rounds))
        print(f"{tokens:6} {ratios[0]:8.2f} {ratios[1]:5.2f}", flush=True)
        better = "math" if ratios[1] > 1 else "fused"
        if abs(ratios[1] - 1) > 0.03 and attention_path(DEVICE, tokens, dtype) != better:
            misses.append((tokens, better, round(ratios[1], 3)))
    assert misses == []


class Raw(nn.Module):
    """Linear maps and `scaled_dot_product_attention`, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def times(sides: dict[str, nn.Module], x: torch.Tensor, *, backward: bool, rounds: int = ROUNDS) -> dict[str, float]:
    """How long each takes over how long the first does, medians over rounds.

    The order is another in every round: what one leaves of the heap is what the next has to fetch.
    """
    first, order = next(iter(sides)), list(sides)
    for side in sides.values():
        once(side, x, backward=backward)
    found = []
    for _ in range(rounds):
        random.shuffle(order)
        found.append({name: seconds(sides[name], x, backward=backward) for name in order})
    return {name: statistics.median(row[name] / row[first] for row in found) for name in sides}


def report(title: str, rows: Callable[[], list[tuple]], limit: float) -> None:
    """Print ratios; fail where one is above the limit."""
    print(f"\n{title}; {units(DEVICE)}, {cpu_name()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    misses = []
    for *what, ratio in rows():
        print(*(f"{part!s:>18}" for part in what), f"{ratio:6.2f}", flush=True)
        if ratio > limit:
            misses.append((*what, round(ratio, 3)))
    assert misses == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_no_other_way_to_compute_full_attention_is_faster(dtype):
    from timm.layers import Attention as Timm

    ours, fused = pair(dtype)
    unfused = Timm(DIM, HEADS, qkv_bias=True).to(DEVICE, dtype)
    unfused.fused_attn = False
    sides = {"ours": ours, "timm fused": fused, "timm unfused": unfused, "raw": Raw().to(DEVICE, dtype)}

    def rows():
        for tokens in LENGTHS:
            x = torch.randn(max(1, BATCHED_TOKENS // tokens), tokens, DIM, device=DEVICE, dtype=dtype).requires_grad_()
            for backward in (False, True):
                ratios = times(sides, x, backward=backward)
                best = min((name for name in sides if name != "ours"), key=ratios.get)
                yield tokens, "forward+backward" if backward else "forward", best, 1 / ratios[best]

    report(f"{dtype}: ours over the best of the others", rows, AT_MOST)


def images_of(side: int, dtype: torch.dtype) -> torch.Tensor:
    """Tokens of square grids, about as many a batch whatever the side."""
    batch = max(1, BATCHED_TOKENS // side**2)
    return torch.randn(batch, side * side, DIM, device=DEVICE, dtype=dtype).requires_grad_()


PATTERNS = ("window", "shifted_window", "neighbourhood", "dilated", "axial", "segmented", "reduced", "top_k")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_no_pattern_is_slower_than_full_attention(dtype):
    """Top-k attention forms all scores and sorts them out: it is printed, and held to nothing."""

    def rows():
        for side in (8, 14, 24, 32, 64):
            x = images_of(side, dtype)
            options = {"grid": (side, side), "pattern_size": 7}
            layers = {"full": Attention(DIM, HEADS)}
            layers |= {name: Attention(DIM, HEADS, pattern=name, **options) for name in PATTERNS}
            for backward in (False, True):
                sides = {name: one.to(DEVICE, dtype) for name, one in layers.items()}
                ratios = times(sides, x, backward=backward, rounds=9)
                for name in PATTERNS[:-1]:
                    yield side * side, "forward+backward" if backward else "forward", name, ratios[name]
                print(f"{side * side:>18} top_k {ratios['top_k']:.2f}")

    report(f"{dtype}: time of a pattern over that of full attention", rows, AT_MOST)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_windows_with_relative_bias_are_not_slower_than_timms_swin(dtype):
    from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse

    class Swin(nn.Module):
        """timm's window attention with the partition that its block makes."""

        def __init__(self) -> None:
            super().__init__()
            self.attn = WindowAttention(DIM, HEADS, window_size=(7, 7))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            side = int(x.shape[1] ** 0.5)
            windows = window_partition(x.unflatten(1, (side, side)), (7, 7)).flatten(1, 2)
            mixed = self.attn(windows).unflatten(1, (7, 7))
            return window_reverse(mixed, (7, 7), side, side).flatten(1, 2)

    def rows():
        for side in (14, 28, 56):
            x = images_of(side, dtype)
            parts = {"pattern": Window(7), "position": RelativeBias((7, 7), HEADS), "grid": (side, side)}
            sides = {"swin": Swin(), "ours": Attention(DIM, HEADS, **parts)}
            sides = {name: one.to(DEVICE, dtype) for name, one in sides.items()}
            for backward in (False, True):
                ratio = times(sides, x, backward=backward)["ours"]
                yield side * side, "forward+backward" if backward else "forward", "window 7", ratio

    report(f"{dtype}: time of ours over that of timm's Swin", rows, AT_MOST)
