"""Map gallery: the same images with the saliency maps of every model side by side, and what each model answers."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import lettering, overlay, theme
from vision_attn.figures.base import OverSeeds
from vision_attn.figures.view import View
from vision_attn.records import Records
from vision_attn.spec import spec

LEAST, SMALL = 0.85, 6.5
"""The inches of a map below which the models stand below one another, and the size of titles then, in points."""


@spec
class MapGallery(OverSeeds):
    """Images in rows; for every model its maps over them, and the class it gives with its probability.

    Of the first run of each model. Of the images of the records, at most `images` are shown: first those that a model
    gets wrong, up to half of them, then others. The records are those of the probe `SaliencyGallery`.
    """

    title: ClassVar[str] = "What maps look like"
    measured_by: ClassVar[str] = "SaliencyGallery"
    own_hues: ClassVar[tuple[str, ...]] = (
        *("image", "label", "given", "picture", "method", "map"),
        *("probability", "right"),
    )

    images: int = 6

    def check(self) -> None:
        super().check()
        self.require("images", self.images >= 1, "at least 1")

    def coordinates(self) -> tuple[str, ...]:
        return ("method", "image")

    def _first(self, view: View, metric: str, along: tuple[str, ...]) -> pd.DataFrame:
        """The rows of a metric of the first run of each model, in the plan's order."""
        names = {view.column(name): name for name in along}
        found = view.pick(metric, along=along).reindex(columns=[self.hue, "run", *names, "value"]).rename(columns=names)
        firsts = found.drop_duplicates(self.hue)[[self.hue, "run"]]
        return found.merge(firsts, on=[self.hue, "run"])

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        found = self._first(view, "gallery_probability", ("image", "label", "given", "picture"))
        found = found.assign(right=found["label"].astype(str) == found["given"].astype(str))
        wrong = found.groupby("image")["right"].all()
        missed, others = (list(wrong.index[wrong == one]) for one in (False, True))
        kept = missed[: max(self.images // 2, self.images - len(others))]
        kept = sorted([*kept, *others[: self.images - len(kept)]])
        out = found[found["image"].isin(kept)].rename(columns={"value": "probability"})
        return out[[self.hue, "image", "label", "given", "probability", "right"]].reset_index(drop=True)

    def draw(self, table: pd.DataFrame, records: Records, *, into: theme.Canvas | None = None) -> theme.Canvas:
        view = self.view(records)
        pictures = self._first(view, "gallery_probability", ("image", "label", "given", "picture"))
        maps = self._first(view, "gallery_peak", ("image", "method", "map"))
        images = list(dict.fromkeys(table["image"]))
        own = {
            model: list(dict.fromkeys(maps.loc[maps[self.hue] == model, "method"])) for model in view.levels(self.hue)
        }
        own = {model: methods for model, methods in own.items() if methods}
        with theme.style(into):
            if not images or not own:
                figure, (axes,) = theme.canvas(1, into=into)
                lettering.blank(axes)
                return figure
            wide = into.given_width if isinstance(into, theme.Page) else None
            is_split = wide is not None and wide < LEAST * (1 + sum(map(len, own.values())))
            blocks = [[model] for model in own] if is_split else [list(own)]
            across = 1 + max(sum(len(own[model]) for model in block) for block in blocks)
            figure = theme.sheet((1.15 * across, (1.3 * len(images) + 0.75) * len(blocks)), into=into, is_scaled=True)
            grid = figure.subplots(len(images) * len(blocks), across, squeeze=False)
            for block, lines in zip(blocks, np.split(grid, len(blocks)), strict=True):
                columns = [(model, method) for model in block for method in own[model]]
                for line, image in zip(lines, images, strict=True):
                    self._line(line, columns, [frame[frame["image"] == image] for frame in (pictures, maps, table)])
                for axes, (model, method) in zip(lines[0][1:], columns, strict=False):
                    text = method if is_split else f"{wording.level_text(self.hue, model)}: {method}"
                    lettering.titled(axes, text, size=SMALL if is_split else None)
                if is_split:
                    lettering.titled(lines[0][0], wording.level_text(self.hue, block[0]), size=SMALL)
        return figure

    def _line(self, line: Sequence[Axes], columns: list[tuple[Any, Any]], frames: list[pd.DataFrame]) -> None:
        """An image, its maps, and under the first of each model its answer."""
        pictures, maps, table = frames
        picture = overlay.decoded(pictures.iloc[0]["picture"])
        overlay.show(line[0], picture)
        line[0].set_ylabel(lettering.shown(str(pictures.iloc[0]["label"])), rotation=0, ha="right", va="center")
        for axes in line[1 + len(columns) :]:
            axes.set_visible(False)
        for axes, (model, method) in zip(line[1:], columns, strict=False):
            found = maps[(maps[self.hue] == model) & (maps["method"] == method)]
            overlay.show(axes, overlay.blended(picture, overlay.decoded(found.iloc[0]["map"])))
            if method == next(other for one, other in columns if one == model):
                answer = table[table[self.hue] == model].iloc[0]
                axes.set_xlabel(_answer(answer), color=theme.INK if answer["right"] else theme.COLOURS[1])

    def is_empty(self, table: pd.DataFrame) -> bool:
        return table.empty

    def caption(self, table: pd.DataFrame, records: Records) -> str:
        view = self.view(records)
        if table.empty:
            return "Nothing is measured yet."
        wrong = ", ".join(
            f"{wording.level_text(self.hue, model)} {int((~own['right']).sum())}"
            for model, own in table.groupby(self.hue, observed=True)
        )
        return (
            f"Maps over images{view.data_text}, yellow where the class that the model gives is said to rest most, each "
            f"scaled by itself; on the left the true class, under the first map of a model its answer with its "
            f"probability, in red where it is wrong. One run a model. Half of the images were chosen as hard ones, so "
            f"that errors are seen more often than they are made. Wrong among the {table['image'].nunique()}: {wrong}."
        )

    def printed(self, table: pd.DataFrame, records: Records) -> pd.DataFrame:
        rows = [
            {
                "image": str(row["image"]),
                "model": wording.level_text(self.hue, row[self.hue]),
                "class": str(row["label"]),
                "answer": str(row["given"]),
                "probability": wording.number(row["probability"]),
            }
            for row in table.to_dict("records")
        ]
        return pd.DataFrame(rows, columns=["image", "model", "class", "answer", "probability"])


def _answer(row: Any) -> str:
    return lettering.shown(f"{row['given']}, {100 * row['probability']:.0f} %")
