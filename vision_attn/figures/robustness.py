"""Robustness: what a model's answers survive. Shifts, zoom, shuffled pieces, dropped cells."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pandas as pd

from vision_attn.figures.coordinate_lines import CoordinateLines
from vision_attn.figures.view import View
from vision_attn.spec import spec

LABELS = {
    "accuracy": "test accuracy",
    "consistency": "same class",
    "correct_consistency": "same class, if right",
    "logit_change_max": "largest change of a logit",
    "logit_change_mean": "mean change of logits",
}
QUANTITY = {
    "accuracy": "Test accuracy",
    "consistency": "Share of test images whose class stays the same",
    "correct_consistency": "Share of the correctly classified test images whose class stays the same",
    "logit_change_max": "Largest change of any logit of any test image",
    "logit_change_mean": "Mean change of the logits of the test images, without sign",
}
BORDERS = {
    "circular": "what leaves the image at one edge comes in at the other",
    "padded": "the image's own mirror image comes in at the edge",
}
CORNERS = ("top left", "top right", "bottom left", "bottom right")
FRAMES = {"edge": "the colours of its edge go on", "mean": "the canvas has the mean colour"}
FILLS = {"mean": "the mean colour", "other": "the same place of another test image"}


@spec
class AlteredImages(CoordinateLines, abc.ABC):
    """A metric of altered test images against how much they are altered, one line a level of `hue`.

    Records have the coordinates `coordinate` and those of `among`. Within a run they are averaged; mean and Student-t
    interval are over the runs of the factor `over`.
    """

    factor_fields: ClassVar[tuple[str, ...]] = ("hue", "over")
    coordinate: ClassVar[str]
    x_label: ClassVar[str]

    @abc.abstractmethod
    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        """The other coordinates of the records, each with the values that count, or None for all."""

    @abc.abstractmethod
    def altered(self) -> tuple[str, str]:
        """Of what images the metric is, and how that is read."""

    def metric_name(self) -> str:
        return getattr(self, "metric", "accuracy")

    def x_name(self, view: View) -> str:
        return view.column(self.coordinate)

    def x_text(self, view: View) -> str:
        return self.x_label

    def values(self, view: View) -> pd.DataFrame:
        """One value for each cell of the plan and level of x."""
        among = {view.column(name): wanted for name, wanted in self.among().items()}
        values = view.pick(self.metric_name(), split="test", along=(self.coordinate, *self.among()))
        for name, wanted in among.items():
            if wanted is not None and len(values):
                values = values[values[name].isin(wanted)]
        keys = [*view.plan.factors, self.x_name(view)]
        if values.empty:
            return pd.DataFrame(columns=[*keys, "value"])
        means = values.groupby(keys, observed=True, dropna=False)["value"].mean().reset_index()
        return self.whole(means.astype({keys[-1]: float}), keys[-1])

    def cells(self, view: View, values: pd.DataFrame) -> pd.DataFrame:
        """The cells planned, without panels whose runs are all done and have no such x, as their data do not."""
        cells, panels = super().cells(view, values), list(view.panels)
        if values.empty or not panels:
            return cells
        others = view.runs.loc[view.runs["state"] != "done", panels]
        kept = {tuple(row) for frame in (values, others) for row in frame[panels].itertuples(index=False)}
        return cells[[tuple(row) in kept for row in cells[panels].itertuples(index=False)]].reset_index(drop=True)

    def legend(self, table: pd.DataFrame, view: View) -> dict[str, Any]:
        return view.legend([name for name in view.styles if name in set(table[self.hue])])

    def quantity(self, view: View) -> str:
        return LABELS[self.metric_name()]

    def sentence(self, table: pd.DataFrame, view: View) -> str:
        of, reading = self.altered()
        return f"{QUANTITY[self.metric_name()]}{view.data_text}, {of}. {reading}"


@spec
class ShiftSawtooth(AlteredImages):
    """What a shift of the image changes, pixel by pixel, from the records of `ShiftConsistency`.

    A model that is equivariant to shifts by its stride or patch alone, and pools the mean, gives a sawtooth that
    touches 100 % at its multiples.
    """

    title: ClassVar[str] = "Shifts"
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
    coordinate: ClassVar[str] = "share"
    x_label: ClassVar[str] = "share of cells dropped"

    fill: Literal["mean", "other"] = "mean"

    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        return {"fill": (self.fill,), "repeat": None}

    def altered(self) -> tuple[str, str]:
        of = f"when a share of the cells, drawn for each image, is replaced by {FILLS[self.fill]}; mean of the repeats"
        return of, "Share 0 is the image as it is."


@spec
class QuadrantAccuracy(AlteredImages):
    """Accuracy by the quadrant in which the object stands, of models of `Quadrants`, from `SubgroupAccuracy`."""

    title: ClassVar[str] = "Objects in other quadrants"
    coordinate: ClassVar[str] = "quadrant"
    x_label: ClassVar[str] = "quadrant of the test object"

    def among(self) -> Mapping[str, tuple[str, ...] | None]:
        return {}

    def altered(self) -> tuple[str, str]:
        of = "by the quadrant of the canvas in which the object stands: 0 upper left, 1 upper right, 2 and 3 below"
        return of, "What falls off in quadrants without training images was learned for a place, not for all."
