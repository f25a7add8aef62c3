"""Palette: the colour and the marker of every level, the same for one name in all reports."""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#7f3c8d", "#5b5b5b", "#8c510a", "#8f8f00", "#332288", "#b5123e"),
)
"""Okabe and Ito's colours, told apart by the colour-blind, without yellow and black; then others, darker."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*", "h", "d", "8")
HOUSE: tuple[tuple[str, ...], ...] = (
    ("ResNet", "CNN", "CNN, radius 4"),
    ("ViT", "attention, learned", "segments of 16"),
    ("ViT, 3x3 convolution", "CNN, radius 1", "hierarchical"),
    ("ViT, convolutional stem", "attention, relative"),
    ("ViT, to radius 1", "attention to radius 1", "ViT, zero mixer", "windows of 4 x 4"),
    ("ConvNeXt", "CNN, radius 2", "no mixer"),
    ("LSTM", "ViT, LSTM", "ViT, 3x3 convolution, wider, no positions"),
    ("attention, no position", "logistic regression", "ViT, no positions"),
    ("LSTM, both ways", "nearest neighbours"),
    ("attention, rotary", "axial", "ViT, 3x3 convolution, wider"),
    ("attention, sine-cosine", "keys reduced 4 x 4"),
    ("attention, convolutional",),
    ("linear on patches",),
)
"""The models of the suite, in the order of colours and markers; names in one row are never compared."""


@dataclasses.dataclass(frozen=True)
class Style:
    """The colour and the marker of a level."""

    colour: str
    marker: str


def places(levels: Sequence[Any]) -> dict[Any, int]:
    """The place of every level in the palette.

    Models of the suite have one of their own, and so has any other name, unless a level before it took that: then it
    is the next free one. Numbers have the first free ones, in order.
    """
    own = {name: place for place, names in enumerate(HOUSE) for name in names}
    out: dict[Any, int] = {}
    for level in sorted(levels, key=lambda level: level not in own):  # stable: those of the suite first
        first = own.get(level, zlib.crc32(level.encode()) % len(COLOURS) if isinstance(level, str) else 0)
        around = [first, *range(first, len(COLOURS)), *range(len(COLOURS) + len(levels))]
        out[level] = next(place for place in around if place not in out.values())
    return {level: out[level] for level in levels}


def style(place: int) -> Style:
    """The style of a place; those of the first 144 differ, and of the first 12 both colour and marker."""
    return Style(COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)])
