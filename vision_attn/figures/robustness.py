"""Robustness: what a model's answers survive. Shifts, zoom, shuffled pieces, dropped cells."""

import abc
from typing import Any, ClassVar, Literal

import pandas as pd

from vision_attn.figures import theme
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.coordinate_curve import CoordinateCurve
from vision_attn.records import Records
from vision_attn.spec import spec

AFTER = {"accuracy": "test accuracy", "consistency": "same class", "correct_consistency": "same class, if right"}
QUANTITY = {
    "accuracy": "Test accuracy",
    "consistency": "Share of test images whose class stays the same",
    "correct_consistency": "Share of the rightly classified test images whose class stays the same",
    "logit_change_max": "Largest change of any logit of any test image",
    "logit_change_mean": "Mean change of the logits of the test images, without sign",
}
BORDERS = {
    "circular": "what leaves the image at one edge comes in at the other",
    "padded": "the image's own mirror image comes in at the edge",
}
CORNERS = ("top left", "top right", "bottom left", "bottom right")
FILLS = {"mean": "the mean colour", "other": "the same place of another test image"}


@spec
class AlteredImages(OverSeeds, abc.ABC):
    """A metric of altered test images against how much they are altered, one line a level of `hue`."""

    @abc.abstractmethod
    def _curve(self) -> CoordinateCurve:
        """The curve, with the coordinate and the records that belong to it."""

    def _with(self, *, x: str, x_label: str, y_label: str, among: dict[str, Any]) -> CoordinateCurve:
        return CoordinateCurve(
            owner=type(self).__name__,
            metric=getattr(self, "metric", "accuracy"),
            x=x,
            x_label=x_label,
            y_label=y_label,
            among=among,
            hue=self.hue,
            over=self.over,
            level=self.level,
        )

    def table(self, records: Records) -> pd.DataFrame:
        return self._curve().table(self._settled(records))

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Sheet | None = None) -> theme.Sheet:
        return self._curve().draw(table, self._settled(records), into=into)

    def _said(self, table: pd.DataFrame, records: Records, *, of: str, reading: str) -> str:
        quantity = QUANTITY[getattr(self, "metric", "accuracy")]
        return self._curve().caption(table, self._settled(records), quantity=quantity, of=of, reading=reading)

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        return self._curve().printed(table, self._settled(records))


@spec
class ShiftSawtooth(AlteredImages):
    """What a shift of the image changes, pixel by pixel, from the records of `ShiftConsistency`.

    A model that is equivariant to shifts by its stride or patch alone, and pools the mean, gives a sawtooth that
    touches 100 % at its multiples.
    """

    title: ClassVar[str] = "Shifts"

    metric: Literal["consistency", "correct_consistency", "accuracy", "logit_change_max", "logit_change_mean"] = (
        "consistency"
    )
    border: Literal["circular", "padded"] = "circular"

    def _curve(self) -> CoordinateCurve:
        labels = {
            **AFTER,
            "logit_change_max": "largest change of a logit",
            "logit_change_mean": "mean change of logits",
        }
        return self._with(
            x="shift",
            x_label="shift (pixels)",
            y_label=labels[self.metric],
            among={"axis": None, "border": (self.border,)},
        )

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        of = f"when the image is shifted ({self.border}: {BORDERS[self.border]}), mean of both axes"
        reading = "What is worse between the multiples of the patch or stride than at them is aliasing."
        return self._said(table, records, of=of, reading=reading)


@spec
class ZoomCurve(AlteredImages):
    """What another scale of the image changes, on the same canvas, from the records of `Zoom`.

    With `place` "corner" the image is smaller and lies in a corner of the canvas, all four averaged.
    """

    title: ClassVar[str] = "Zoom"

    metric: Literal["consistency", "correct_consistency", "accuracy"] = "accuracy"
    place: Literal["centre", "corner"] = "centre"

    def _curve(self) -> CoordinateCurve:
        places = CORNERS if self.place == "corner" else (self.place,)
        return self._with(x="scale", x_label="scale", y_label=AFTER[self.metric], among={"place": places})

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        small = "in each corner of a canvas of the mean colour, mean of the four"
        where = (
            small if self.place == "corner" else "in the centre of a canvas of the mean colour, or cut to its centre"
        )
        of = f"when the image is resized and lies {where}"
        reading = "All models were trained at scale 1; the canvas keeps its size."
        return self._said(table, records, of=of, reading=reading)


@spec
class ShuffleCurve(AlteredImages):
    """Accuracy on images whose pieces have changed places, against their number, from `PatchShuffle`."""

    title: ClassVar[str] = "Shuffled pieces"

    def _curve(self) -> CoordinateCurve:
        return self._with(x="grid", x_label="pieces along a side", y_label="test accuracy", among={"repeat": None})

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        of = (
            "of images cut into pieces that are put together in random order, drawn for each image; mean of the repeats"
        )
        reading = "The flatter the curve, the less the model makes of where the pieces are."
        return self._said(table, records, of=of, reading=reading)


@spec
class OcclusionCurve(AlteredImages):
    """Accuracy on images of which a share of the cells is dropped, against the share, from `Occlusion`."""

    title: ClassVar[str] = "Occlusion"

    fill: Literal["mean", "other"] = "mean"

    def _curve(self) -> CoordinateCurve:
        among = {"fill": (self.fill,), "repeat": None}
        return self._with(x="share", x_label="share of cells dropped", y_label="test accuracy", among=among)

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        of = f"when a share of the cells, drawn for each image, is replaced by {FILLS[self.fill]}; mean of the repeats"
        reading = "Share 0 is the image as it is."
        return self._said(table, records, of=of, reading=reading)


@spec
class QuadrantAccuracy(AlteredImages):
    """Accuracy by the quadrant in which the object stands, of models trained on `Quadrants`, from `AccuracyBy`."""

    title: ClassVar[str] = "Objects in other quadrants"

    def _curve(self) -> CoordinateCurve:
        return self._with(x="quadrant", x_label="quadrant of the test object", y_label="test accuracy", among={})

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        of = "by the quadrant of the canvas in which the object stands: 0 upper left, 1 upper right, 2 and 3 below"
        reading = "What falls off in quadrants without training images was learned for a place, not for all."
        return self._said(table, records, of=of, reading=reading)
