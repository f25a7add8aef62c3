"""Throughput: images a second of every way of training, drawn from the table of `vision-attn bench`."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vision_attn.figures import lettering, theme
from vision_attn.figures.axes import rows_axis
from vision_attn.spec import InputError
from vision_attn.wording import short

ROW_HEIGHT = 0.27
"""In inches."""
ORDER = ("usual loop", "usual step", "eager", "compiled", "graph")
"""Of the ways of training, from the usual to the fastest; stacks follow by size."""


def throughput(table: pd.DataFrame) -> theme.Canvas:
    """A panel a model, a row a way of training: images a second, with the multiple of the eager loop's beside them.

    What was not measured has a row without a mark. Raises `InputError` where nothing was.
    """
    ways = table["mode"] + table["stack"].map(lambda stack: f", stack of {stack}" if stack > 1 else "")
    shown = table.assign(way=ways)
    if not shown["images_per_second"].notna().any():
        raise InputError("table of throughput must have a row that was measured.")
    ranked = shown.assign(rank=shown["mode"].map(ORDER.index)).sort_values(["rank", "stack"], kind="stable")
    rows, parts = list(ranked["way"].unique()), list(shown.groupby("model", sort=False))
    palette = dict(zip(ORDER, theme.colours(), strict=False))
    with theme.style():
        wide = lettering.text_width(rows) + 3.6 * min(2, len(parts))
        high = (0.8 + ROW_HEIGHT * len(rows)) * -(-len(parts) // 2) + 0.4
        sheet, panels = theme.canvas(len(parts), columns=2, size=(wide, high))
        for axes, (model, own) in zip(panels, parts, strict=True):
            places = own["way"].map(rows.index)
            sns.scatterplot(
                x=own["images_per_second"], y=places, hue=own["mode"], palette=palette, s=42, ax=axes, legend=False
            )
            _label(axes, own, places)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: short(rate)))
            axes.set(xlabel="images a second", ylabel="")
            rows_axis(axes, rows)
            lettering.titled(axes, f"{model}: {own['params'].iloc[0] / 1e6:.2f} M parameters")
        first = shown.iloc[0]
        lettering.headed(sheet, f"{first['device'] or 'unknown'}, {first['precision']}, batch {first['batch_size']}")
    return sheet


def _label(axes: Axes, own: pd.DataFrame, places: pd.Series) -> None:
    """How many times the eager loop, beside every mark."""
    for place, rate, speedup in zip(places, own["images_per_second"], own["speedup"], strict=True):
        if pd.notna(speedup):
            axes.annotate(
                f"{speedup:.2g}×" if speedup < 10 else f"{speedup:.0f}×",
                (rate, place),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
