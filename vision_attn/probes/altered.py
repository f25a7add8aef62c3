"""Altered test images: which ones are looked at, and how their classes compare before and after."""

from collections.abc import Callable, Iterator
from typing import TypeGuard

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Split
from vision_attn.models.base import Model
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError
from vision_attn.training.evaluate import logits

PIXELS = 2**20
"""Of so many pixels images are altered at once: as floating numbers they take many times what they take as they are."""


def evenly_spaced(split: Split, images: int | None) -> Split:
    """At most `images` images of the split (None: all), evenly spaced."""
    if images is None or images >= len(split):
        return split
    chosen = torch.arange(images, device=split.labels.device) * len(split) // images
    return Split(split.images[chosen], split.labels[chosen])


def without_class(model: Model) -> str | None:
    """Why a model that answers at every token has no class to compare; None for all others."""
    if getattr(model, "pool", None) == "none":
        return "its head reads every token by itself, so an image has no single class"
    return None


def classes(
    model: nn.Module, images: Tensor, *, data: Data, alter: Callable[[Tensor], Tensor] = lambda batch: batch
) -> Tensor:
    """The class (N,) of uint8 images (N, C, H, W), each batch of them altered first.

    Raises `InputError` where they are no logits of the labels, as may be at another size, or one of them is NaN: the
    largest of such is no answer.
    """
    scores = logits(model, images, normalise=lambda batch: data.normalise(alter(batch)))
    if not are_logits(scores, len(images), data=data):
        given = f"shape {tuple(scores.shape)} of {len(images)} images of {alter(images[:1]).shape[-1]} pixels"
        raise not_logits(model, given, data=data)
    require_numbers(model, scores)
    return scores.argmax(1)


def are_logits(found: object, number: int, *, data: Data) -> TypeGuard[Tensor]:
    """Whether that is a logit for each class, or more, of so many images, at each place where labels are."""
    if not isinstance(found, Tensor) or found.ndim < 2:
        return False
    return len(found) == number and found.shape[1] >= data.num_classes and tuple(found.shape[2:]) == data.label_shape


def not_logits(model: nn.Module, given: str, *, data: Data) -> InputError:
    """The sentence about an output that is none of logits."""
    shape = ", ".join(map(str, ("B", data.num_classes, *data.label_shape)))
    allowed = f"logits ({shape}) or more, one a class" + (" at every place of the labels" if data.label_shape else "")
    return InputError(f"output of {type(model).__name__} must be {allowed}. Got {given} instead.")


def require_numbers(model: nn.Module, scores: Tensor) -> None:
    """Raise `InputError` where one of the logits of a model (N, classes) is NaN."""
    if number := int(scores.isnan().any(dim=1).sum()):
        given = f"NaN for {number} of {len(scores)} images"
        raise InputError(f"logits of {type(model).__name__} must be numbers. Got {given} instead.")


def require_images(probe: Probe, data: Data, least: int, *, why: str = "") -> None:
    """Raise `InputError` where the test split has fewer images than the probe takes."""
    if len(data.test) < least:
        allowed = f"{least} images or more for {type(probe).__name__}{why}"
        raise InputError(f"test split of {data.name} must have {allowed}. Got {len(data.test)} instead.")


def require_two(probe: Probe, data: Data) -> None:
    """Raise `InputError` where the test split has no second image, which another one is changed by."""
    require_images(probe, data, 2, why=", which takes parts of one from another")


def piecewise(images: Tensor, alter: Callable[[Tensor], Tensor]) -> Tensor:
    """alter(images) of images (N, C, H, W) that are altered each by itself, some at a time.

    Except for the last, parts hold a multiple of 16 images: then `torch.randn` draws for all parts what it draws for
    the whole.
    """
    few = 16 * max(1, PIXELS // (16 * images.shape[-2] * images.shape[-1]))
    return torch.cat([alter(part) for part in images.split(few)])


def accuracy_row(found: Tensor, labels: Tensor, **coordinates: str | int | float) -> Row:
    """The share of images whose class is the label."""
    return {"metric": "accuracy", "split": "test", "value": _share(found == labels), **coordinates}


def consistency_rows(
    before: Tensor, after: Tensor, labels: Tensor, *, name: str = "consistency", **coordinates: str | int | float
) -> Iterator[Row]:
    """The share of images whose class is the same before and after, of all images and of some.

    `correct_...` is that of the images whose class `before` is right; there is no such row where no class is.
    """
    same, right = before == after, before == labels
    yield {"metric": name, "split": "test", "value": _share(same), **coordinates}
    if right.any():
        yield {"metric": f"correct_{name}", "split": "test", "value": _share(same[right]), **coordinates}


def mean_colour(data: Data, images: Tensor) -> Tensor:
    """The channel means of the training subset as uint8 (C, 1, 1): 0 after normalising, but for rounding."""
    return (torch.tensor(data.mean, device=images.device) * 255).round().to(torch.uint8).view(-1, 1, 1)


def dropped(ranks: Tensor, *, number: int, size: int) -> Tensor:
    """Which pixels are gone, (N, 1, size, size): those of the cells whose rank (N, K * K) is among the first."""
    cells = round(ranks.shape[1] ** 0.5)
    gone = (ranks < number).unflatten(1, (cells, cells))
    cell = torch.arange(size, device=ranks.device) * cells // size
    return gone[:, None, cell][..., cell]


def another(count: int, *, generator: torch.Generator) -> Tensor:
    """For each of `count` images the index of another one, none twice: a random cycle through all of them."""
    cycle = torch.randperm(count, generator=generator)
    out = torch.empty_like(cycle)
    out[cycle] = cycle.roll(-1)
    return out


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()
