"""Compilation of the training objective: shared by the runs of one architecture, and only where it pays."""

import contextlib
import csv
import dataclasses
import functools
import math
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data
from vision_attn.models.copies import copied
from vision_attn.spec import Spec, to_json

GAINS = Path(__file__).with_name("compile_gains.csv")
"""Measured training steps, eager and compiled; `vision-attn bench --save` adds those of another machine."""


@dataclasses.dataclass(frozen=True)
class Gain:
    """One measured training step: of a kind of model, with some arithmetic, of so many forward FLOPs an image."""

    kind: str
    units: str
    flops: int
    batch_size: int
    threads: int
    eager_ms: float
    compiled_ms: float
    warmup_s: float
    source: str

    @property
    def work(self) -> float:
        """Forward FLOPs of a step a thread."""
        return self.flops * self.batch_size / self.threads


class Objective(Protocol):
    """The loss of a model on a batch."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, label_smoothing: float) -> Tensor: ...


def cross_entropy(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy of normalised images (B, C, H, W), in nats; the loss itself is computed in float32.

    Labels are classes (B,), or shares (B, K) of mixed images; of dense labels (B, rows, columns) those that are -100 do
    not count.
    """
    return loss_of(model(images).float(), labels, label_smoothing)


def loss_of(scores: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy of logits (B, K), or of a dense task (B, K, rows, columns), in float32."""
    if labels.ndim > 2:  # the kernel for maps of labels is not deterministic on a GPU; that for rows is
        scores, labels = scores.movedim(1, -1).flatten(0, -2), labels.flatten()
    return F.cross_entropy(scores, labels, label_smoothing=label_smoothing)


def compiled_cross_entropy(model: nn.Module) -> Objective:
    """`cross_entropy` compiled for the architecture of `model`, once a process: models built alike share the code."""
    return _compiled(repr(model))


@functools.cache
def _compiled(architecture: str) -> Objective:
    # dynamo keeps what it compiled with the code object and gives up after a few shapes and modules:
    # a code object of its own lets each architecture compile, however many there were before.
    own = types.FunctionType(cross_entropy.__code__.replace(), globals(), name="cross_entropy")
    return torch.compile(own, dynamic=False)


def failure(
    model: nn.Module, autocast: Callable[[], Any], *, data: Data, batch_size: int, label_smoothing: float, mixing: bool
) -> str | None:
    """Why the training step of the model cannot be compiled here, or None: one step is tried on a copy."""
    from torch._dynamo.exc import TorchDynamoException

    trial = copied(model).train()
    device = next(model.parameters()).device
    images = torch.zeros(batch_size, data.in_chans, data.image_size, data.image_size, device=device)
    labels = torch.zeros(batch_size, *data.label_shape, dtype=torch.int64, device=device)
    if mixing:
        labels = F.one_hot(labels, data.num_classes).float()
    try:
        with torch.random.fork_rng(), autocast():
            compiled_cross_entropy(trial)(trial, images, labels, label_smoothing).backward()
    except (TorchDynamoException, RuntimeError) as error:
        return "compilation failed: " + str(error).strip().partition("\n")[0]
    return None


@functools.cache
def gains() -> tuple[Gain, ...]:
    """The measured steps of the package's table."""
    return read_gains(GAINS)


def read_gains(path: Path) -> tuple[Gain, ...]:
    """The measured steps of a table."""
    with path.open(newline="") as lines:
        return tuple(
            Gain(**{field.name: _number(row[field.name]) for field in dataclasses.fields(Gain)})
            for row in csv.DictReader(lines)
        )


def _number(cell: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell


AS_FAST = ("mixer", "init", "position")
"""Fields of a model that say what it begins with, and its mixer, which is named by itself."""


def kind_of(model: nn.Module) -> str:
    """What is measured together: the kinds of the model's spec and of its mixer, and what they compute otherwise.

    That is every field not at its default that is no number, but how weights begin. Without a spec it is the class.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, Spec):
        return type(model).__name__
    parts = [spec, *(part for part in [getattr(spec, "mixer", None)] if isinstance(part, Spec))]
    switches = [*_switches(spec, without=AS_FAST), *(one for part in parts[1:] for one in _switches(part))]
    return ", ".join([*(type(part).__name__ for part in parts), *switches])


def _switches(part: Spec, *, without: tuple[str, ...] = ()) -> list[str]:
    """The fields not at their default that are no numbers, as in pattern=window."""
    words = {name: value["kind"] if isinstance(value, dict) else value for name, value in to_json(part).items()}
    return [f"{k}={v}" for k, v in words.items() if isinstance(v, str | bool) and k not in ("kind", *without)]


def pays(
    *,
    kind: str,
    flops: int,
    updates: int,
    batch_size: int,
    units: str,
    threads: int,
    measured: Sequence[Gain] | None = None,
) -> tuple[bool, str]:
    """Whether compiling saves more time than it costs in a run of so many updates, and the reason in words.

    `flops` are those of one image forward, `units` the arithmetic: amx, avx512_bf16 or cuda for bf16, or fp32. Of the
    steps measured for this kind of model with these units, the one nearest in work a thread says

    seconds saved = updates * (eager - compiled) * (work of a step / work of the measured step),

    to be compared with the seconds that compiling takes, once an architecture and process.
    """
    alike = [one for one in (gains() if measured is None else measured) if one.kind == kind and one.units == units]
    if not alike:
        return False, f"no gain from compiling was measured for {kind} with {units} arithmetic"
    work = flops * batch_size / threads
    nearest = min(alike, key=lambda one: abs(math.log(one.work / work)))
    saved = updates * (nearest.eager_ms - nearest.compiled_ms) / 1000 * work / nearest.work
    if saved <= 0:
        return False, f"compiling saves nothing for {kind} with {units} arithmetic"
    return saved > nearest.warmup_s, f"compiling would save {saved:.0f} s and costs {nearest.warmup_s:.0f} s"
