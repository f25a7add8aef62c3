"""Robustness: what a model's answers survive. Shifts, zoom, shuffled pieces, dropped cells."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import pandas as pd

from vision_attn.figures.altered_images import AlteredImages
from vision_attn.figures.view import View
from vision_attn.spec import spec

BORDERS = {
    "circular": "what leaves the image at one edge comes in at the other",
    "padded": "the image's own mirror image comes in at the edge",
}
CORNERS = ("top left", "top right", "bottom left", "bottom right")
FRAMES = {"edge": "the colours of its edge go on", "mean": "the canvas has the mean colour"}
FILLS = {"mean": "the mean colour", "other": "the same place of another test image"}


@spec
class ShiftSawtooth(AlteredImages):
    """What a shift of the image changes, pixel by pixel, from the records of `ShiftConsistency`.

    A model that is equivariant to shifts by its stride or patch alone, and pools the mean, gives a sawtooth that
    touches 100 % at its multiples.
    """

    title: ClassVar[str] = "Shifts"
    measured_by: ClassVar[str] = "ShiftConsistency"
    coordinate: ClassVar[str] = "shift"
    x_label: ClassVar[str] = "shift (pixels)"

    metric: Literal["consistency", "correct_consistency", "accuracy", "logit_change_max", "logit_change_mean"] = (
        "consistency"
    )
    border: Literal["circular", "padded"] = "circular"

    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        return {"axis": None, "border": (self.border,)}

    def altered(self) -> tuple[str, str]:
        of = f"when the image is shifted ({self.border}: {BORDERS[self.border]}), mean of both axes"
        return of, "What is worse between the multiples of the patch or stride than at them is aliasing."


@spec
class ZoomCurve(AlteredImages):
    """What another scale of the image changes, on the same canvas, from the records of `Zoom`.

    With `place` "corner" the image is smaller and lies in a corner of the canvas, all four averaged.
    """

    title: ClassVar[str] = "Zoom"
    measured_by: ClassVar[str] = "Zoom"
    coordinate: ClassVar[str] = "scale"
    x_label: ClassVar[str] = "zoom factor"

    metric: Literal["consistency", "correct_consistency", "accuracy"] = "accuracy"
    place: Literal["centre", "corner"] = "centre"

    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        return {"place": CORNERS if self.place == "corner" else (self.place,)}

    def altered(self) -> tuple[str, str]:
        where = "in the centre of the canvas, or is cut to its centre"
        if self.place == "corner":
            where = "in a corner of the canvas, mean of the four"
        of = f"when the image is resized and lies {where}"
        return of, "All models were trained at scale 1; the canvas keeps its size."

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        probes = [probe for probe in view.plan.probes if probe["kind"] == "Zoom"]
        fills = {probe.get("fill", "edge" if "version" in probe else "mean") for probe in probes}
        around = [f"Around a smaller image {FRAMES[fill]}." for fill in sorted(fills)]
        return " ".join([super().sentence(table, view), *around])


@spec
class ShuffleCurve(AlteredImages):
    """Accuracy on images whose pieces have changed places, against their number, from `PatchShuffle`."""

    title: ClassVar[str] = "Shuffled pieces"
    measured_by: ClassVar[str] = "PatchShuffle"
    coordinate: ClassVar[str] = "grid"
    x_label: ClassVar[str] = "pieces along a side"

    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        return {"repeat": None}

    def altered(self) -> tuple[str, str]:
        of = (
            "of images cut into pieces that are put together in random order, drawn for each image; mean of the repeats"
        )
        return of, "The flatter the curve, the more the model ignores position."


@spec
class OcclusionCurve(AlteredImages):
    """Accuracy on images of which a share of the cells is dropped, against the share, from `Occlusion`."""

    title: ClassVar[str] = "Occlusion"
    measured_by: ClassVar[str] = "Occlusion"
    coordinate: ClassVar[str] = "share"
    x_label: ClassVar[str] = "share of cells dropped"

    fill: Literal["mean", "other"] = "mean"

    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        return {"fill": (self.fill,), "repeat": None}

    def altered(self) -> tuple[str, str]:
        of = f"when a share of the cells, drawn for each image, is replaced by {FILLS[self.fill]}; mean of the repeats"
        return of, "Share 0 is the image as it is."
