"""The attention layer against timm's, one process, in turn: `pytest -m benchmark -s tests/benchmarks -k attention`.

Ratios are timm's time over ours, medians over rounds taken in turn; peak memory is what is allocated beyond the input.
The number of threads is OMP_NUM_THREADS.
"""

import statistics
import time

import pytest
import torch
from torch import nn

from vision_attn import Attention
from vision_attn.environment import cpu_name
from vision_attn.layers.paths import attention_path, units

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DIM, HEADS, TOKENS = 192, 3, (64, 196, 400, 576, 1024, 2048, 4096)
BATCHED_TOKENS, ROUNDS = 4096, 25
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
    begun = time.perf_counter()
    once(layer, x, backward=backward)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


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
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        once(layer, x, backward=backward)
    held = highest = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest


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
    for tokens in (65, 197, 441, 785, 1025, 2048):
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
