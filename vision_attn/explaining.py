"""Explaining: what a finished run's model sees on an image file, and where on it its answer is said to rest."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vision_attn.data import Data
from vision_attn.data.decode import decode, fitted
from vision_attn.loading import LoadedRun
from vision_attn.probes import saliency
from vision_attn.probes.altered import without_class
from vision_attn.probes.capture import without_layers
from vision_attn.probes.explained import log_probabilities
from vision_attn.probes.saliency_maps import fitting
from vision_attn.spec import InputError, among

MOST_BYTES = 2**28
"""Of the pixels of an image file."""
SHOWN = ("attention", "rollout", "gradient x attention", "relevance propagation", "Grad-CAM", "integrated gradients")
"""The methods that are asked unless others are named, where they fit the model."""


@dataclasses.dataclass(frozen=True)
class Explained:
    """An image as the model takes it, uint8 (S, S) or (S, S, 3), what the model answers, and why.

    `shares` has the probability of every class, the likeliest first; `asked` is the class that is explained; `maps`
    (L, L) by method say where.
    """

    picture: np.ndarray
    shares: dict[str, float]
    asked: str
    maps: dict[str, np.ndarray]


def explained(
    loaded: LoadedRun, image: Path, *, methods: Sequence[str] | None, of_class: str | None, patch_size: int
) -> Explained:
    """Maps of an image file for the class that the model of a run gives it, or for `of_class`.

    Raises `InputError` where the file is no image, there is no such class, or a method does not fit the model.
    """
    if reason := without_class(loaded.run.model) or without_layers(loaded.run.model):
        raise InputError(f"run must have a model of which maps can be made. That one's does not: {reason}.")
    if of_class is not None and of_class not in loaded.classes:
        raise InputError(f"class must be one of {among(loaded.classes, of_class)}. Got {of_class!r} instead.")
    pixels = _read(image, loaded.data)
    images = loaded.data.normalise(torch.from_numpy(pixels)[None])
    share = log_probabilities(loaded.model, images).exp()[0]
    shares = {loaded.classes[i]: share[i].item() for i in share.argsort(descending=True).tolist()}
    asked = next(iter(shares)) if of_class is None else of_class
    number = torch.tensor([loaded.classes.index(asked)])
    names = methods or fitting(loaded.model, images, SHOWN)
    maps = {
        name: saliency(loaded.model, images, number, method=name, patch_size=patch_size)[0].numpy() for name in names
    }
    picture = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2)
    return Explained(picture, shares, asked, maps)


def _read(path: Path, data: Data) -> np.ndarray:
    """The image as the model takes it, uint8 (C, S, S)."""
    if not path.is_file():
        raise InputError(f"image must be a file that is there. Got '{path}' instead.")
    pixels = decode(path.read_bytes(), name=f"'{path}'", size=None, most_bytes=MOST_BYTES, any_shape=True)
    return fitted(pixels, size=data.image_size, in_chans=data.in_chans)
