"""Evaluation: the logits of images, in batches."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import UNLABELLED, Split

BATCH_SIZE = 125
"""Measured on a CPU: smaller batches stay in cache, which a ViT gains 13 % from over 500; a ResNet does not mind."""
PIXELS = 2**21
"""No more at once on a CPU, for the memory; elsewhere so many, as small batches leave most of the processor idle:
2,048 images of 32 x 32."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model and all in it are in eval mode, so that no statistics change; each part's mode is restored."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def logits(
    model: nn.Module, images: Tensor, *, normalise: Callable[[Tensor], Tensor], batch_size: int | None = None
) -> Tensor:
    """Logits (N, num_classes), float32, of uint8 images (N, C, H, W), in eval mode and without augmentation.

    `batch_size` None is what suits the device. Logits of a dense task have (rows, columns) behind. The arithmetic is
    that of an autocast around the call, and a model in float64 keeps its own.
    """
    size = images_at_once(images) if batch_size is None else batch_size
    with evaluating(model), torch.inference_mode():
        return torch.cat([at_least_float32(model(normalise(batch))) for batch in images.split(size)])


def images_at_once(images: Tensor) -> int:
    """How many of the images (N, C, H, W) go through a model at once on their device."""
    number = max(1, PIXELS // max(1, images.shape[-2] * images.shape[-1]))
    return min(BATCH_SIZE, number) if images.device.type == "cpu" else max(BATCH_SIZE, number)


def read_out(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The logits (M, num_classes) and labels (M,) of the places that have a label, in order; one an image or dense."""
    labelled = labels != UNLABELLED
    return scores.movedim(1, -1)[labelled], labels[labelled]


def accuracy(model: nn.Module, split: Split, *, normalise: Callable[[Tensor], Tensor]) -> float:
    """The fraction of the split's labels whose logit is the largest, in [0, 1]."""
    scores, labels = read_out(logits(model, split.images, normalise=normalise), split.labels)
    return (scores.argmax(1) == labels).double().mean().item()


def at_least_float32(scores: Tensor) -> Tensor:
    """Numbers of half precision in float32, all others as they are."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
