"""Overlay: a saliency map laid over its image.

S side of the image, L of the map.
"""

import base64
import math
import zlib
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from vision_attn.figures import lettering, theme
from vision_attn.spec import InputError

WEIGHT = 0.65
"""How much of the colour is that of the map, the rest being the image in grey."""


def decoded(text: str) -> np.ndarray:
    """The picture (S, S) or (S, S, 3), or the map (L, L), of a text of `SaliencyGallery`; uint8."""
    levels = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    side = math.isqrt(len(levels))
    if side * side == len(levels):
        return levels.reshape(side, side)
    side = math.isqrt(len(levels) // 3)
    if 3 * side * side != len(levels):
        raise InputError(f"a picture must have 1 or 3 square channels. Got {len(levels)} numbers instead.")
    return np.moveaxis(levels.reshape(3, side, side), 0, 2)


def blended(picture: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The picture, uint8 (S, S) or (S, S, 3), in grey under the colours of a map (L, L): (S, S, 3) in [0, 1].

    Dark blue is the lowest value of the map, yellow the largest; L divides S.
    """
    grey = picture.astype(float) / 255
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    values = levels.astype(float)
    values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    side = len(picture) // len(levels)
    colours = mpl.colormaps["viridis"](values)[..., :3].repeat(side, axis=0).repeat(side, axis=1)
    out: np.ndarray = WEIGHT * colours + (1 - WEIGHT) * grey[..., None]
    return out


def show(axes: Axes, pixels: np.ndarray, *, title: str = "") -> None:
    """An image, as its own pixels, without axes."""
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    lettering.titled(axes, title)


def sheet(picture: np.ndarray, maps: Mapping[str, np.ndarray], *, title: str) -> theme.Canvas:
    """The picture and beside it every map over it, under the name of its method."""
    columns = min(4, 1 + len(maps))
    rows = math.ceil((1 + len(maps)) / columns)
    with theme.style():
        figure = theme.sheet((2.2 * columns, 2.45 * rows + 0.4))
        places = list(figure.subplots(rows, columns, squeeze=False).flat)
        show(places[0], picture, title="image")
        for axes, (method, levels) in zip(places[1:], maps.items(), strict=False):
            show(axes, blended(picture, levels), title=method)
        for axes in places[1 + len(maps) :]:
            axes.set_visible(False)
        figure.suptitle(lettering.shown(title))
    return figure
