"""Runs per hour of whole sweeps through the command line: `pytest -m benchmark -s tests/benchmarks`.

Two workers against one, one thread each; the share of the time that is not training; runs trained together against
runs trained one by one. RUN_SECONDS (30) is how long a run trains alone, RUNS (8) how many there are.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from vision_attn.environment import cpu_name
from vision_attn.store import Store

RUN_SECONDS, RUNS = float(os.environ.get("RUN_SECONDS", "30")), int(os.environ.get("RUNS", "8"))
WORKERS_TARGET, OVERHEAD_TARGET, IDLE_CORES = 1.7, 0.10, 1.8
TRIAL_UPDATES = 40
ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = '''"""How fast is a sweep of equal runs?"""
from vision_attn import Accuracy, Experiment, LearningCurve, Mnist5k, Recipe, Run, SelfAttention, ViT

def run(train_size, updates, seed):
    recipe = Recipe(updates=updates, batch_size=64, compile="off")
    model = ViT(dim=64, depth=4, patch_size=4, mixer=SelfAttention(num_heads=4))
    return Run(model=model, data=Mnist5k(train_size=train_size, subset_seed=seed), recipe=recipe, seed=seed)

experiment = Experiment(
    question=__doc__,
    factors={"train_size": (1000,), "updates": (40,), "seed": range(1)},
    run=run,
    probes=(Accuracy(),),
    figures=(LearningCurve(),),
)
'''

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep as it was: how many runs, the seconds from start to end, those of them spent in training."""

    runs: int
    seconds: float
    train_seconds: float

    @property
    def per_hour(self) -> float:
        return 3600 * self.runs / self.seconds


def sweep(place: Path, name: str, *options: str, updates: int, runs: int) -> Sweep:
    levels = ["--levels", f"updates={updates}", "--levels", f"seed=0-{runs - 1}"]
    command = [sys.executable, "-m", "vision_attn.cli", "run", str(place / "speed.py"), "--results", str(place / name)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true"}
    begun = time.perf_counter()
    subprocess.run([*command, *levels, "--threads", "1", *options], check=True, env=surroundings, capture_output=True)
    seconds = time.perf_counter() - begun
    results: list[Any] = [folder.result() for folder in Store(place / name / "runs").index().values()]
    assert len(results) == runs
    return Sweep(runs, seconds, sum(result["measured"]["train_seconds"] for result in results))


@pytest.fixture
def place(tmp_path):
    (tmp_path / "speed.py").write_text(EXPERIMENT)
    return tmp_path


def updates_of(place: Path, *options: str) -> int:
    """The number of updates that a run makes in RUN_SECONDS, from the difference of two trials: without their start."""
    few, many = (
        sweep(place, f"trial{factor}", "-j", "1", *options, updates=factor * TRIAL_UPDATES, runs=1).train_seconds
        for factor in (1, 4)
    )
    return max(TRIAL_UPDATES, round(RUN_SECONDS * 3 * TRIAL_UPDATES / max(many - few, 1e-3)))


def idle_cores(seconds: float = 3.0) -> float:
    """The cores that nothing used in the last seconds, of those of the machine."""
    cores = os.cpu_count() or 1
    stat = Path("/proc/stat")
    if not stat.exists():
        return cores - os.getloadavg()[0]

    def times() -> list[int]:
        return [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]

    before = times()
    time.sleep(seconds)
    spent = [after - earlier for earlier, after in zip(before, times(), strict=True)]
    return cores * (spent[3] + spent[4]) / max(1, sum(spent))


def test_two_workers_against_one_and_the_time_outside_training(place):
    idle, load = idle_cores(), os.getloadavg()[0]
    updates = updates_of(place, "--device", "cpu")
    one = sweep(place, "one", "-j", "1", "--device", "cpu", updates=updates, runs=RUNS)
    two = sweep(place, "two", "-j", "2", "--device", "cpu", updates=updates, runs=RUNS)
    ratio, outside = two.per_hour / one.per_hour, 1 - one.train_seconds / one.seconds
    print(f"\n{cpu_name()}, {os.cpu_count()} cores, {idle:.1f} idle at the start, load {load:.2f}")
    print(f"{RUNS} runs of {updates} updates, {one.train_seconds / RUNS:.1f} s of training each with one worker")
    print(f"{'workers':>8} {'seconds':>8} {'training':>9} {'runs/hour':>10}")
    for workers, found in ((1, one), (2, two)):
        print(f"{workers:>8} {found.seconds:>8.1f} {found.train_seconds:>9.1f} {found.per_hour:>10.0f}")
    print(f"ratio {ratio:.2f} (target {WORKERS_TARGET} on two idle cores)")
    print(f"outside training with one worker {outside:.1%} (target {OVERHEAD_TARGET:.0%} of runs of 30 s)")
    if idle >= IDLE_CORES:
        assert ratio >= WORKERS_TARGET
    if one.train_seconds / RUNS >= 30:
        assert outside <= OVERHEAD_TARGET


def test_runs_trained_together_against_one_by_one(place):
    device, idle = "cuda" if torch.cuda.is_available() else "cpu", idle_cores()
    updates = updates_of(place, "--device", device, "--stack", "off")
    common: dict[str, Any] = {"updates": updates, "runs": RUNS}
    alone = sweep(place, "alone", "-j", "1", "--device", device, "--stack", "off", **common)
    together = sweep(place, "together", "-j", "1", "--device", device, "--stack", str(RUNS), **common)
    ratio = together.per_hour / alone.per_hour
    name = torch.cuda.get_device_name() if device == "cuda" else f"{cpu_name()}, {idle:.1f} cores idle at the start"
    found = {"alone": alone.per_hour, "together": together.per_hour, "ratio": ratio}
    print(f"\n{name}: {RUNS} runs of {updates} updates, runs per hour " + json.dumps(found))
    if device == "cuda":
        assert ratio > 1
