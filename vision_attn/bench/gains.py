"""Gains: what a training step costs on this machine, eager and compiled, model by model."""

import csv
import dataclasses
import io
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch._inductor.utils import fresh_cache

from vision_attn.environment import cpu_name
from vision_attn.models import ConvNeXt, DepthwiseConv, Model, ResNet, ViT
from vision_attn.models.size import count_flops
from vision_attn.store import write_atomic
from vision_attn.training import Recipe
from vision_attn.training.compiling import (
    Gain,
    Objective,
    compiled_cross_entropy,
    cross_entropy,
    kind_of,
    read_gains,
)
from vision_attn.training.compute import ComputeSettings, bf16_units, deterministic, is_convnet, keep_memory

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
MODELS: dict[str, Model] = {
    "ViT dim 64": ViT(dim=64, depth=4),
    "ViT dim 96": ViT(dim=96, depth=6),
    "ViT dim 64, 3x3 convolution": ViT(dim=64, depth=4, mixer=DepthwiseConv(kernel_size=3)),
    "ViT dim 64, convolutional stem": ViT(dim=64, depth=4, stem="convolution"),
    "ResNet width 12": ResNet(width=12, blocks=2),
    "ConvNeXt": ConvNeXt(),
}
BATCHES = (32, 128)
WINDOWS, STEPS = 7, 3


def compile_gains(
    device: torch.device, *, threads: int, names: tuple[str, ...] = tuple(MODELS), batches: tuple[int, ...] = BATCHES
) -> Iterator[tuple[str, Gain]]:
    """Measure every model at every batch size: eager and compiled steps in turn, medians over windows."""
    deterministic(threads)
    keep_memory()
    units = bf16_units(device) or "fp32"
    source = f"{torch.cuda.get_device_name(device) if device.type == 'cuda' else cpu_name()}, torch {torch.__version__}"
    for name in names:
        spec = MODELS[name]
        for batch_size in batches:
            eager, compiled, warmup = _race(spec, batch_size, device, "fp32" if units == "fp32" else "bf16")
            model = spec.build(**SHAPE)
            flops = count_flops(spec, **SHAPE)
            yield name, Gain(kind_of(model), units, flops, batch_size, threads, eager, compiled, warmup, source)


def _race(spec: Model, batch_size: int, device: torch.device, precision: str) -> tuple[float, float, float]:
    """Milliseconds of an eager and of a compiled step, and the seconds of compiling."""
    model = spec.build(**SHAPE).to(device).train()
    choices = ComputeSettings(
        device=device.type,
        precision=precision,
        compile=False,
        channels_last=is_convnet(model, in_chans=SHAPE["in_chans"]),
        threads=torch.get_num_threads(),
        compile_reason="",
    )
    model = choices.arranged(model)
    step = _stepper(model, batch_size, device, choices)
    with fresh_cache():  # an earlier process may have compiled it
        begun = time.perf_counter()
        step(compiled := compiled_cross_entropy(model))
        warmup = time.perf_counter() - begun
    step(cross_entropy)
    pairs = [(_window(step, cross_entropy, device), _window(step, compiled, device)) for _ in range(WINDOWS)]
    eager, fast = (statistics.median(side) for side in zip(*pairs, strict=True))
    return round(eager, 2), round(fast, 2), round(warmup, 1)


def _stepper(
    model: nn.Module, batch_size: int, device: torch.device, choices: ComputeSettings
) -> Callable[[Objective], None]:
    optimizer = Recipe(updates=1).make_optimizer(model)
    images = torch.rand(batch_size, SHAPE["in_chans"], SHAPE["image_size"], SHAPE["image_size"], device=device)
    labels = torch.arange(batch_size, device=device) % SHAPE["num_classes"]

    def step(objective: Objective) -> None:
        with choices.autocast():
            loss = objective(model, images, labels, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _window(step: Callable[[Objective], None], objective: Objective, device: torch.device) -> float:
    """Milliseconds a step; on a CPU those of the process itself, whatever else the cores do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    for _ in range(STEPS):
        step(objective)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return 1000 * (clock() - begun) / STEPS / threads


def save(found: list[Gain], path: Path) -> None:
    """Put measured steps into a table in the place of those of the same kind, units, FLOPs, batch and threads."""

    def key(one: Gain) -> tuple[str, str, int, int, int]:
        return one.kind, one.units, one.flops, one.batch_size, one.threads

    merged = {key(one): one for one in (*(read_gains(path) if path.exists() else ()), *found)}
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(Gain)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(one) for one in merged.values())
    write_atomic(path, text.getvalue().encode())
