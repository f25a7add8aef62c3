"""Layout of a drawn figure: what is cut, what lies over something else, which panels are empty."""

import itertools
from unittest import mock

import numpy as np
from matplotlib.text import Text

SLACK = 1.5
"""Pixels by which boxes may touch: a box is a little larger than its letters."""


def drawn_texts(sheet):
    """Every text that is drawn, with its box in pixels."""
    found = {}
    draw = Text.draw

    def note(self, renderer):
        if self.get_visible() and self.get_text().strip():
            found[self] = Text.get_window_extent(self, renderer)  # without the arrow of an annotation
        draw(self, renderer)

    sheet.draw_without_rendering()
    with mock.patch.object(Text, "draw", note):
        sheet.draw_without_rendering()
    return found


def is_upright(text):
    return text.get_rotation() % 90 == 0


def overlap(one, other):
    """The sides of what two boxes share, in pixels."""
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0),
        min(one.y1, other.y1) - max(one.y0, other.y0),
    )


def marks(axes):
    """The middle of every mark in the panel in pixels, with half its size, and whether the panel cuts it."""
    points = axes.get_figure(root=True).dpi / 72
    for line in axes.lines:
        if line.get_marker() not in ("None", "", None, "|", "_", "+"):
            data = np.column_stack([line.get_xdata(orig=False), line.get_ydata(orig=False)])
            where = line.get_transform().transform(data)
            for x, y in where[np.isfinite(where).all(axis=1)]:
                yield x, y, 0.5 * line.get_markersize() * points, line.get_clip_on()


def faults(sheet):
    """What is wrong with a figure, in sentences."""
    texts, out = drawn_texts(sheet), []
    name = {text: repr(text.get_text()) for text in texts}
    for text, box in texts.items():
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > sheet.bbox.x1 + SLACK or box.y1 > sheet.bbox.y1 + SLACK:
            out.append(f"{name[text]} is cut at the edge")
    for one, other in itertools.combinations([text for text in texts if is_upright(text)], 2):
        if min(overlap(texts[one], texts[other])) > SLACK:
            out.append(f"{name[one]} lies over {name[other]}")
    for axes in sheet.axes:
        if not axes.get_visible():
            continue
        frame = axes.get_window_extent()
        if not (axes.lines or axes.collections or axes.images or axes.patches or axes.texts):
            out.append("a panel is empty")
        for x, y, half, is_clipped in marks(axes):
            inside = frame.x0 <= x <= frame.x1 and frame.y0 - 1e-6 <= y <= frame.y1 + 1e-6
            if inside and is_clipped and not (frame.y0 + 0.7 * half <= y <= frame.y1 - 0.7 * half):
                out.append(f"a mark at {y:.0f} is cut by the axis from {frame.y0:.0f} to {frame.y1:.0f}")
            for text, box in texts.items():
                if box.x0 < x < box.x1 and box.y0 < y < box.y1 and (inside or not is_clipped):
                    out.append(f"{name[text]} lies on a mark")
    return list(dict.fromkeys(out))
