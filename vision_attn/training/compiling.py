"""Compilation of the training objective: shared by the runs of one architecture, and only where it pays."""

import copy
import functools
import types
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data
from vision_attn.models.size import flops_of

COMPILE_SECONDS = 35.0
"""What compiling a training step costs, once an architecture and process: 8 to 35 s were measured."""

GAIN = {"amx": (130e9, 0.2)}
"""By bf16 units: FLOP/s a thread of an uncompiled training step, and the part of its time that compilation saves.

With AMX the products are so fast that the passes over memory between them weigh, and fusing them saves a fifth to a
quarter. With AVX512_BF16, and in fp32, the products take nearly all the time: compiled over uncompiled throughput was
1.01 for a ViT (dim 96, depth 6) and 0.92 for a ResNet-20, so nothing is gained.
"""


class Objective(Protocol):
    """The loss of a model on a batch."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, label_smoothing: float) -> Tensor: ...


def cross_entropy(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy of normalised images (B, C, H, W), in nats; the loss itself is computed in float32.

    Labels are classes (B,), or shares (B, K) of mixed images; of dense labels (B, rows, columns) those that are -100 do
    not count.
    """
    scores = model(images).float()
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

    trial = copy.deepcopy(model).train()
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


def pays(*, flops: int, images: int, units: str | None, threads: int) -> tuple[bool, str]:
    """Whether compiling saves more time than it costs in a run over `images`, and the reason in words.

    seconds saved = images * 3 * (forward FLOPs an image) / (FLOP/s a thread * threads) * (part saved),
    a training step being three times its forward pass.
    """
    if units not in GAIN:
        return False, f"no gain from compiling was measured with {units or 'fp32'} arithmetic"
    rate, part = GAIN[units]
    saved = images * 3 * flops / (rate * threads) * part
    worth = saved > COMPILE_SECONDS
    return worth, f"compiling would save {saved:.0f} s and costs {COMPILE_SECONDS:.0f} s"


def forward_flops(model: nn.Module, *, data: Data) -> int:
    """Forward FLOPs of one image, counted on a copy of the module without storage."""
    shape = (data.in_chans, data.image_size, data.image_size)
    return flops_of(copy.deepcopy(model).to("meta"), shape)
