"""Usable: whether Data that a `load` of one's own gives are such as training and probes take for granted."""

import math
from collections.abc import Iterator
from typing import Any

import torch

from vision_attn.data.base import Data, Split, Stream, fingerprint
from vision_attn.spec import InputError, short


def require_usable(data: Any, *, what: str, place: str) -> None:
    """Raise `InputError` where a part has another type, shape or range than `Data` says. `place` tells who made it."""
    if not isinstance(data, Data):
        raise InputError(f"load of {what} must return Data{place}. Got {short(data)} instead.")
    for part, holds, allowed, given in _parts(data):
        if not holds:
            raise InputError(f"{part} of {what} must be {allowed}{place}. Got {given} instead.")


def contents(data: Data) -> str:
    """sha256, in hex, of all pixels and labels that are held."""
    return fingerprint(data.train_sample, *([] if data.val is None else [data.val]), data.test)


def _parts(data: Data) -> Iterator[tuple[str, bool, str, str]]:
    """Every part by its name, whether it is as it must be, what it must be, and what it is."""
    yield "train", isinstance(data.train, Split | Stream), "a Split or a Stream", short(data.train)
    yield "val", data.val is None or isinstance(data.val, Split), "a Split or None", short(data.val)
    yield "test", isinstance(data.test, Split), "a Split", short(data.test)
    yield "classes", _are_texts(data.classes), "a tuple of texts", short(data.classes)
    splits = {"train": data.train_sample, "test": data.test, **({} if data.val is None else {"val": data.val})}
    for name, split in splits.items():
        yield from _split_parts(name, split, data)
    channels = data.test.images.shape[1]
    for name, numbers in (("mean", data.mean), ("std", data.std)):
        fits = len(numbers) == channels and all(map(math.isfinite, numbers)) and (name == "mean" or min(numbers) > 0)
        allowed = f"a finite number for each of {channels} channels" + (", more than 0" if name == "std" else "")
        yield name, fits, allowed, short(numbers)
    for name, text in (("fingerprint", data.fingerprint), ("subset_sha256", data.subset_sha256)):
        yield name, isinstance(text, str) and bool(text), "a text, such as Arrays.fingerprint() gives", short(text)
    for name, flag in (("flip", data.flip), ("crop", data.crop)):
        yield name, isinstance(flag, bool), "True or False", short(flag)
    if (order := data.order) is not None:
        every = torch.arange(data.image_size**2)
        fits = isinstance(order, torch.Tensor) and order.dtype == torch.int64 and torch.equal(order.sort()[0], every)
        yield "order", fits, f"int64 with each of {len(every)} pixels once", short(order)


def _split_parts(name: str, split: Split, data: Data) -> Iterator[tuple[str, bool, str, str]]:
    images, labels = split.images, split.labels
    fits = images.dtype == torch.uint8 and images.ndim == 4 and images.shape[2] == images.shape[3]
    yield f"{name} images", fits, "uint8 of shape (N, C, H, H)", f"{images.dtype} of shape {tuple(images.shape)}"
    one, other = tuple(images.shape[1:]), tuple(data.test.images.shape[1:])
    yield f"{name} images", one == other, f"of one shape with the test images, {other}", str(one)
    fits = labels.dtype == torch.int64 and 0 < len(labels) == len(images)
    whole = labels.real.long()  # other types than integers have extremes that are none, or no extremes
    first, last = (int(whole.min()), int(whole.max())) if len(labels) else (0, 0)
    fits = fits and last < data.num_classes and (first >= 0 or labels.ndim > 1)
    given = f"{labels.dtype} of shape {tuple(labels.shape)}, from {first} to {last}"
    yield f"{name} labels", fits, f"int64 of shape ({len(images)},) from 0 to {data.num_classes - 1}", given
    for key, said in split.attributes.items():
        fits = isinstance(said, torch.Tensor) and said.dtype == torch.int64 and said.shape == (len(images),)
        given = f"{said.dtype} of shape {tuple(said.shape)}" if isinstance(said, torch.Tensor) else short(said)
        yield f"attribute {key!r} of the {name} split", fits, f"int64 of shape ({len(images)},)", given


def _are_texts(classes: Any) -> bool:
    return isinstance(classes, tuple | list) and all(isinstance(one, str) for one in classes)
