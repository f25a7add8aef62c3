"""Gram matrices of what the layers of a model make of images, and of anything else that images have."""

import itertools

import torch
from torch import Tensor, nn

from vision_attn.probes.capture import NUMBERS, grids
from vision_attn.spec import InputError

ESTIMATORS = ("unbiased", "biased")
IMAGES = 64
"""So many go through the model at once."""
ROUNDING = 1e-6
"""Parts of a layer whose images differ by no more than this share of its largest number are taken not to vary."""


def grams(model: nn.Module, images: Tensor, names: list[str], *, what: str = "LayerCKA") -> list[Tensor]:
    """The Gram matrix of every layer; of so many layers at a time that what they give is no more than `NUMBERS`.

    Raises `InputError` of the probe `what` where a layer gives NaN.
    """
    found: list[Tensor] = []
    with torch.no_grad():
        numbers = {name: len(images) * z.numel() for name, z in grids(model, images[:1], names).items()}
        while some := _first(names[len(found) :], numbers):
            parts = [grids(model, batch, some) for batch in images.split(IMAGES)]
            for name in some:
                found.append(gram_of(torch.cat([part.pop(name) for part in parts])))
                if found[-1].isnan().any():
                    raise InputError(f"features of {name} must be numbers for {what}. Got NaN instead.")
    return found


def _first(names: list[str], numbers: dict[str, int]) -> list[str]:
    """The first of the layers that together give no more than `NUMBERS`; at least one where there is one."""
    held = itertools.accumulate(numbers[name] for name in names)
    return [name for place, (name, total) in enumerate(zip(names, held, strict=True)) if not place or total <= NUMBERS]


def gram_of(features: Tensor) -> Tensor:
    """The products of the rows less the first, in float64, of so many columns at a time that they fit in `NUMBERS`."""
    parts = features.flatten(1).split(max(1, NUMBERS // len(features)), dim=1)
    return torch.stack([moved @ moved.T for moved in map(_moved, parts)]).sum(dim=0)


def _moved(part: Tensor) -> Tensor:
    """Columns less their first row, in float64, a shift that no estimate sees: what does not vary becomes exactly 0."""
    moved = part.double() - part[:1].double()
    return torch.zeros_like(moved) if moved.abs().max() <= ROUNDING * part.abs().max() else moved
