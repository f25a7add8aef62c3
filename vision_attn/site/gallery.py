"""The gallery: every kind of figure with the lines that make it, drawn from made-up records."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vision_attn import figures
from vision_attn.figures import Figure, rendering, theme
from vision_attn.records import Records
from vision_attn.site import sketches
from vision_attn.spec import Spec
from vision_attn.store import write_atomic

FOLDER = "gallery"
REFERENCE, SIZES = sketches.MODELS[0], sketches.SIZES
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "ConditionCurve": {"condition": "arrangement", "baseline": "intact"},
    "DotPlot": {"given": (("train_size", 1000),), "reference": REFERENCE},
    "ExpectedBest": {"resamples": 200},
    "ImagesNeeded": {"threshold": 0.6, "resamples": 200},
    "MetricCurve": {"metric": "influence_relative", "x": "distance", "at": (("own", "without"), ("layer", 2))},
    "Selection": {"by": ("train_size",)},
    "Summary": {"parts": (figures.LearningCurve(), figures.Gap(reference=REFERENCE))},
}
"""What a figure is given, where its defaults are not enough; a `reference` it is given anyway."""
FACTORS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Budget": {"images_seen": (12_000, 48_000, 192_000), "train_size": (250, 1000, 4000)},
    "ConditionCurve": {"arrangement": ("intact", "permuted"), "train_size": SIZES},
    "ConvergenceSteps": {"distance": tuple(range(1, 8))},
    "DistanceCurve": {"distance": tuple(range(1, 8))},
    "ExpectedBest": {"trial": tuple("abcdefgh")},
    "ImagesNeeded": {"patches": (16, 32, 64), "train_size": SIZES},
    "PsychometricMidpoint": {"distance": tuple(range(1, 8))},
    "Selection": {"learning_rate": (3e-4, 1e-3, 3e-3), "train_size": (1000, 4000)},
    "Variation": {"subset": (0, 1, 2), "train_size": (250, 1000, 4000)},
}
"""The factors of the experiment, where they are not the model, the size of the training set and the seed."""
OF_ONE_SIZE = frozenset(
    {"AttentionDistanceByHead", "ErfMap", "ErrorConsistency", "InfluenceProfile", "LagCurve", "MapGallery", "Matching"}
    | {
        "CrossCKA",
        "DeletionCurves",
        "MethodPlot",
        "MetricAgreement",
        "MetricCurve",
        "OcclusionCurve",
        "QuadrantAccuracy",
        "ReceptiveFieldByLayer",
        "ShiftSawtooth",
        "ShuffleCurve",
        "ZoomCurve",
    }
)
"""Figures with a panel, or a line, for every size of the training set: one is enough to see what they look like."""
BEGINNING = """# Gallery

Every figure of the package, with the lines that make it. The numbers are **made up**, to show the drawing alone. A
figure goes into the `figures=(...)` of an experiment, or is drawn by itself from `records`: those of
[a table of your own](reports.md), of [a model that was measured](own.md), or of the runs of an experiment
(`vision_attn.records.load`).
"""


def examples() -> dict[str, Figure]:
    """A figure of every kind of the package, by name."""
    return {name: _example(name, getattr(figures, name)) for name in sorted(figures.__all__) if name != "Figure"}


def records_for(name: str) -> Records:
    """Made-up records that a kind of figure can draw."""
    sizes = {"train_size": (4000,) if name in OF_ONE_SIZE else SIZES}
    return _sketch(tuple(FACTORS.get(name, sizes).items()))


def lines(figure: Any) -> str:
    """What one types to make a figure: its kind, and the fields that are not at their default."""
    changed = []
    for field in dataclasses.fields(figure):
        value = getattr(figure, field.name)
        if value != field.default:
            changed.append(f"{field.name}={_typed(value)}")
    return f"{type(figure).__name__}({', '.join(changed)})"


def page(folder: Path) -> str:
    """The gallery as a page in Markdown; the drawings go into its folder `gallery`."""
    (folder / FOLDER).mkdir()
    parts = [BEGINNING]
    for name, figure in examples().items():
        records = records_for(name)
        with theme.reproducible():
            plot = figure.plot(records)
            drawn = rendering.rendered(plot.sheet, kinds=("svg",))["svg"]
        write_atomic(folder / FOLDER / f"{name}.svg", drawn)
        says = (inspect.getdoc(type(figure)) or "").split("\n\n")[0]
        used = dict.fromkeys([name, *(type(part).__name__ for part in getattr(figure, "parts", ()))])
        code = f"from vision_attn.figures import {', '.join(used)}\n\nplot = {lines(figure)}.plot(records)\n"
        code += f'plot.save("{name}.pdf")'
        parts.append(
            f"## {name}\n\n{says}\n\n```python\n{code}\n```\n\n![{name}]({FOLDER}/{name}.svg)\n\n{plot.caption}\n"
        )
    return "\n".join(parts)


def _example(name: str, kind: type[Any]) -> Figure:
    given = dict(GIVEN.get(name, {}))
    if any(field.name == "reference" and field.default is dataclasses.MISSING for field in dataclasses.fields(kind)):
        given.setdefault("reference", REFERENCE)
    made: Figure = kind(**given)
    return made


def _typed(value: Any) -> str:
    if isinstance(value, Spec):
        return lines(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_typed, value))}{',' * (len(value) == 1)})"
    return repr(value).replace("'", '"')


@functools.cache
def _sketch(factors: tuple[tuple[str, tuple[Any, ...]], ...]) -> Records:
    return sketches.sketch(**dict(factors))
