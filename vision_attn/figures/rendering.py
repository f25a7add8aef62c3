"""Rendering: a drawn figure as the bytes of its files; the same figure gives the same bytes."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from vision_attn.figures import fonts, svg, theme

Sheet = Figure
"""What can be written as a file: a whole figure, no part of one."""

UNWRITTEN = {"svg": ("Date", "Creator"), "png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer")}
"""What would differ from day to day or machine to machine, and is left out of the files."""


def rendered(figure: theme.Canvas, *, kinds: Sequence[str] = ("svg", "png")) -> dict[str, bytes]:
    """The figure as svg and png, or also pdf; the same figure gives the same bytes."""
    with theme.reproducible(), theme.style():
        images = written(figure, kinds=kinds)
    return {kind: svg.compact(data) if kind == "svg" else data for kind, data in images.items()}


def written(figure: theme.Canvas, *, kinds: Sequence[str]) -> dict[str, bytes]:
    """The figure in some formats, by the settings in force (`theme.style`)."""
    assert isinstance(figure, Sheet)
    out = {}
    fonts.tell(figure)
    if any(axes.get_aspect() != "auto" for axes in figure.axes):
        figure.draw_without_rendering()  # maps of equal sides find their place beside a bar of colours only then
    for kind in kinds:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(UNWRITTEN[kind]))
        figure.set_layout_engine("none")
        out[kind] = buffer.getvalue()
    return out
