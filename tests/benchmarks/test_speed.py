"""Throughput of training, measured side by side: `pytest -m benchmark -s tests/benchmarks`.

Ratios are medians over windows taken in turn; only they carry over from one machine to another.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from loop_under_test import BATCH, CPU, MODELS, our_state, our_updates, random_data

from vision_attn.environment import cpu_name
from vision_attn.training.compiling import compiled_cross_entropy, cross_entropy
from vision_attn.training.compute import bf16_units

THREADS = min(2, os.cpu_count() or 1)
WINDOWS, UPDATES = 7, 6
AMX_TARGETS = {"ViT dim 96": 1.8, "ResNet-20": 2.5}
LOOP_TARGET = 0.95

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]


def machine() -> str:
    return f"{cpu_name()}, bf16 units: {bf16_units(CPU)}, {THREADS} threads, batch {BATCH}, 32 x 32 images"


def timed(updates: Iterator[Any]) -> float:
    begun = time.perf_counter()
    for _ in islice(updates, UPDATES):
        pass
    return time.perf_counter() - begun


def bare_steps(name: str, data: Any) -> Iterator[None]:
    """Forward, backward and optimiser step on one batch that is ready, computed as the loop computes."""
    state, choices = our_state(name, data, THREADS)
    model = choices.arranged(state.model).train()
    objective = compiled_cross_entropy(model) if choices.compile else cross_entropy
    images, labels = data.normalise(data.train.images[:BATCH]), data.train.labels[:BATCH]
    while True:
        state.optimizer.zero_grad()
        with choices.autocast():
            loss = objective(model, images, labels, 0.0)
        loss.backward()
        state.optimizer.step()
        yield


@pytest.mark.parametrize("name", ["ViT dim 96", "ResNet-20"])
def test_the_loop_keeps_the_throughput_of_the_bare_step(name):
    data = random_data()
    state, choices = our_state(name, data, THREADS)
    loop, bare = our_updates(state, choices, data), bare_steps(name, data)
    timed(loop), timed(bare)
    pairs = [(timed(bare), timed(loop)) for _ in range(3 * WINDOWS)]
    ratio = statistics.median(b / a for b, a in pairs)
    print(f"\n{machine()}\n{name}: loop / bare step = {ratio:.3f} (target {LOOP_TARGET}), {choices.as_json()}")
    assert ratio >= LOOP_TARGET


@contextlib.contextmanager
def racer(side: str, name: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    here = Path(__file__).resolve().parent
    surroundings = {
        **os.environ,
        "OMP_NUM_THREADS": str(THREADS),
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1]), *sys.path]),
    }
    command = [sys.executable, str(here / "loop_under_test.py"), side, name, str(THREADS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=surroundings, text=True, **pipes) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(60)


def window(process: subprocess.Popen[str]) -> float:
    process.stdin.write(f"{UPDATES}\n")
    process.stdin.flush()
    return BATCH * UPDATES / json.loads(process.stdout.readline())


@pytest.mark.parametrize("name", list(MODELS))
def test_training_against_the_usual_loop(name):
    with racer("usual", name) as (usual, _), racer("ours", name) as (ours, told):
        pairs = [(window(usual), window(ours)) for _ in range(WINDOWS)]
    ratios = [b / a for a, b in pairs]
    ratio, target = statistics.median(ratios), AMX_TARGETS.get(name)
    usual_rate, our_rate = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"\n{machine()}\n{name}: usual {usual_rate:.0f} images/s, ours {our_rate:.0f} images/s")
    print(f"ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), target with AMX {target}, {told}")
    if bf16_units(CPU) == "amx" and target is not None:
        assert ratio >= target
