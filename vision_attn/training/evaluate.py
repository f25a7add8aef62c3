"""Evaluation: the logits of images, in batches."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vision_attn.data.base import Split

BATCH_SIZE = 125
"""Measured on a CPU: smaller batches stay in cache, which a ViT gains 13 % from over 500; a ResNet does not mind."""


def logits(
    model: nn.Module, images: Tensor, *, normalise: Callable[[Tensor], Tensor], batch_size: int = BATCH_SIZE
) -> Tensor:
    """Logits (N, num_classes), float32, of uint8 images (N, C, H, W), in eval mode and without augmentation.

    The arithmetic is that of an autocast around the call, and a model in float64 keeps its own; the model's mode is
    restored.
    """
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = [_at_least_float32(model(normalise(batch))) for batch in images.split(batch_size)]
    finally:
        model.train(training)
    return torch.cat(parts)


def accuracy(model: nn.Module, split: Split, *, normalise: Callable[[Tensor], Tensor]) -> float:
    """The fraction of the split's images whose largest logit is the label's, in [0, 1]."""
    hits = logits(model, split.images, normalise=normalise).argmax(1) == split.labels
    return hits.double().mean().item()


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
