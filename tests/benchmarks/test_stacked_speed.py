"""Updates of a stack of runs against those of one run, in turn, on the device there is: `pytest -m benchmark -s`."""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from loop_under_test import MODELS, random_data

from vision_attn.environment import cpu_name
from vision_attn.models import Model, SelfAttention, ViT
from vision_attn.training import Recipe, train
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compute import ComputeSettings, choose, deterministic
from vision_attn.training.seeding import Streams
from vision_attn.training.stacked import Stack

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = (4, 16) if DEVICE.type == "cuda" else (4,)
WINDOWS, UPDATES = (7, 20) if DEVICE.type == "cuda" else (3, 2)
RECIPE = Recipe(updates=50_000, batch_size=128, compile="off")
CASES: dict[str, Model] = {"ViT dim 64": ViT(dim=64, depth=4, mixer=SelfAttention(num_heads=4)), **MODELS}

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]


def begun(name: str, seed: int, data: Any) -> tuple[TrainState, ComputeSettings]:
    streams = Streams(seed, DEVICE)
    with streams.initialising():
        model = CASES[name].build(image_size=32, in_chans=3, num_classes=10)
    model.to(DEVICE)
    choices = choose(RECIPE, model, data=data, device=DEVICE, threads=torch.get_num_threads())
    return TrainState(model, recipe=RECIPE, streams=streams, num_updates=RECIPE.num_updates(None)), choices


def seconds(updates: Iterator[Any]) -> float:
    """The seconds of one update, taken over a window."""
    wait: Callable[[], None] = torch.cuda.synchronize if DEVICE.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in islice(updates, UPDATES):
        pass
    wait()
    return (time.perf_counter() - start) / UPDATES


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", list(CASES))
def test_a_stack_against_one_run_after_the_other(name, size):
    deterministic(torch.get_num_threads())
    data = random_data().to(DEVICE)
    state, choices = begun(name, 0, data)
    flow = {"normalise": data.normalise, "flip": data.flip, "recipe": RECIPE, "choices": choices}
    alone = train(state, train=data.train, val=None, **flow)
    states = [begun(name, seed, data)[0] for seed in range(size)]
    together = Stack(states, data=[data] * size, recipe=RECIPE, choices=choices).train()
    seconds(alone), seconds(together)
    ratios = [size * seconds(alone) / seconds(together) for _ in range(WINDOWS)]
    ratio = statistics.median(ratios)
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else cpu_name()
    print(
        f"\n{device}, {choices.precision}, batch {RECIPE.batch_size}: {name}, {size} runs together against one by one:"
    )
    print(f"runs per hour {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times as many")
    if DEVICE.type == "cuda":
        assert ratio > 1
