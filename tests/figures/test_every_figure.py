"""Every kind of figure, found by itself, with made-up records of every awkward shape."""

import base64
import dataclasses
import itertools

import layout
import made_up_fields
import pandas as pd
import pytest
from frames import make_records, noise

from vision_attn.figures import Figure, LearningCurve
from vision_attn.plan import RESERVED
from vision_attn.spec import InputError, from_json, kinds, to_json
from vision_attn.tables import to_csv

MODELS, NAMES = ("ResNet", "ViT"), ("注意力 α", "$x_2$ <b> & 50 %")
FILLED = {
    "reference": MODELS[0],
    "condition": "arrangement",
    "baseline": "intact",
    "parts": (LearningCurve(),),
    "resamples": 20,
    "size": "images_seen",
}
"""What a figure is given for fields that have no default, and for what takes long."""
PICTURE, MAP = (
    "eNpjYGRiZmFlY+fg5OLm4eXjFxAUEhYRFROXkJSSlpGVk1dQVFJWUVVT19DU0tbR1dM3MDQyNjE1M7ewtLK2sbWzBwCq4Afh",
    "eNpjCF31HwADVgH/",
)


def rows(cell):
    """Something of every metric that a figure of the package draws."""
    start = (
        0.3
        + 0.05 * (cell["model"] == MODELS[0])
        + 0.01 * noise(*cell.values())
        + 0.05 * cell.get("train_size", 0) / 500
    )
    for split, value in (("train", start + 0.1), ("test", start)):
        yield {"metric": "accuracy", "split": split, "value": value}
        for axis in ("vertical", "horizontal"):
            for shift in (0, 1, 2):
                at = {"split": split, "shift": shift, "axis": axis, "border": "circular"}
                yield {"metric": "consistency", **at, "value": 1 - 0.1 * shift}
    yield {"metric": "params", "value": 1000.0}
    yield {"metric": "flops", "value": 5000.0}
    test = {"metric": "accuracy", "split": "test", "value": start}
    yield from ({**test, "measured_scale": 0.5, "place": place} for place in ("centre", "top left"))
    yield from ({**test, "grid": 2, "repeat": repeat} for repeat in range(2))
    yield from ({**test, "share": share, "fill": "mean", "repeat": 0} for share in (0.0, 0.5))
    yield from ({**test, "quadrant": quadrant} for quadrant in range(4))
    for place, method in enumerate(("attention", "random", "centred Gaussian")):
        for metric in ("hit_share", "mass_share", "deletion_gap"):
            at = {"fill": "mean"} if metric == "deletion_gap" else {}
            yield {"metric": metric, "method": method, **at, "value": start / (1 + place)}
        for metric, share in itertools.product(("deletion_probability", "insertion_probability"), (0.0, 0.5, 1.0)):
            yield {"metric": metric, "method": method, "fill": "mean", "share": share, "value": start}
        for image in range(2):
            yield {"metric": "gallery_peak", "image": image, "method": method, "map": MAP, "value": 1.0}
    for layer in (1, 2, 3) if cell["model"] == MODELS[0] else (1, 2):
        signs = base64.b64encode(bytes([170, 7 * layer, cell["seed"], len(cell["model"])])).decode()
        yield {"metric": "hsic", "layer": layer, "estimator": "unbiased", "signs": signs, "value": 1.0}
    for image in range(2):
        names = {"label": "<b>", "given": "<b>" if image else "$x", "picture": PICTURE}
        yield {"metric": "gallery_probability", "image": image, **names, "value": 0.5}
    yield from made_up_fields.image_rows({**cell, "model": made_up_fields.MODELS[0]})
    yield from made_up_fields.reach_rows(made_up_fields.MODELS[0])


def history(cell):
    for update in (100, 200):
        yield {"update": update, "val_accuracy": 0.004 * update + 0.01 * noise(*cell.values()), "train_loss": 1.0}


EXTRA = {"arrangement": ("intact", "permuted"), "subset": (0, 1), "trial": ("a", "b"), "images_seen": (100, 400)}
"""Factors that only some figures ask for."""


def records_of(extra, *, models=MODELS, seeds=(0, 1, 2), own=None, **options):
    asked = {name: EXTRA[name] for name in extra}
    factors = {"model": models, **asked, **(own or {}), "train_size": (50, 500), "seed": seeds}
    return make_records(factors, rows, history=history, **options)


SHAPES = {
    "whole": {},
    "nothing measured": {"state": lambda cell: "pending"},
    "one seed": {"seeds": (0,)},
    "one model": {"models": MODELS[:1]},
    "reference not measured": {"state": lambda cell: "failed" if cell["model"] == MODELS[0] else "done"},
    "reference not planned": {"models": ("other", "ViT")},
    "any letters": {"models": (MODELS[0], *NAMES)},
    "in a column": {},
}


def figure_of(kind):
    """A figure of that kind at its defaults, its x along the sizes where it has one."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    given = {name: value for name, value in FILLED.items() if name in fields}
    if "x" in fields and fields["x"].default not in EXTRA:
        given["x"] = "train_size"
    if kind.__name__ == "Selection":
        given["choose"] = "trial"
    lacking = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in given]
    assert not lacking, f"{kind.__name__} needs {lacking}: add it to FILLED"
    return kind(**given)


KINDS = {name: kind for name, kind in kinds(Figure).items() if kind.__module__.startswith("vision_attn.")}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_figure_is_drawn_or_says_in_one_sentence_why_not(kind, shape):
    figure = figure_of(kind)
    values = [getattr(figure, field.name) for field in dataclasses.fields(kind)]
    records = records_of([name for name in EXTRA if name in values], **SHAPES[shape])
    assert from_json(to_json(figure), Figure) == figure
    if shape == "reference not planned" and getattr(figure, "reference", None):
        assert not figure.applies(records.plan)
        with pytest.raises(InputError, match=r"reference of .* must be a level of model"):
            figure.table(records)
        return
    if shape == "one model" and getattr(figure, "shows_differences_only", False):
        assert not figure.applies(records.plan)
        with pytest.raises(InputError, match=rf"compares with {MODELS[0]}, and there is no other level of model\.$"):
            figure.table(records)
        return
    plot = figure.plot(records, width="column" if shape == "in a column" else None)
    table = plot.table
    plot.rendered(kinds=("svg",))  # what is saved keeps its places
    assert layout.faults(plot.sheet) == []
    assert isinstance(to_csv(table), bytes)
    caption, printed = figure.caption(table, records), figure.printed(table, records)
    assert caption.endswith(".")
    assert printed.astype(object).map(lambda cell: isinstance(cell, str)).all(axis=None)
    if shape == "nothing measured":
        assert "measured yet" in caption
    if shape == "one seed":
        assert "Bars: 95 % Student-t" not in caption


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_factor_called_as_a_column_of_the_table_is_refused_in_a_sentence_or_kept_apart(kind):
    figure = figure_of(kind)
    values = [getattr(figure, field.name) for field in dataclasses.fields(kind)]
    extra = [name for name in EXTRA if name in values]
    for name in set(figure.table(records_of(extra))) - {*RESERVED, *EXTRA, "model", "train_size", "seed"}:
        records = records_of(extra, own={name: ("u", "v")})
        if name in getattr(kind, "own_columns", ("part", "figure")):
            with pytest.raises(InputError, match="must have other names than columns of its own"):
                figure.table(records)
        else:
            assert figure.table(records).columns.is_unique, name


PAIRING = ("ConditionCurve", "Crossover", "DataEquivalence", "DotPlot", "Gap", "Variation")


@pytest.mark.parametrize("kind", PAIRING)
def test_pairs_are_those_of_seeds_and_factors_of_any_name(kind):
    figure = figure_of(KINDS[kind])
    extra = [one for one in EXTRA if one in [getattr(figure, field.name) for field in dataclasses.fields(figure)]]
    plain, panels = records_of(extra), records_of(extra, own={"zzz": ("u", "v")})
    for name in ("difference", "own", "reference"):
        asked = {one: EXTRA[one] for one in extra}
        named = make_records(
            {"model": MODELS, **asked, "train_size": (50, 500), name: (0, 1, 2)},
            lambda cell, name=name: rows({"seed" if key == name else key: level for key, level in cell.items()}),
            history=history,
        )
        by_name = figure.replace(over=name)
        pd.testing.assert_frame_equal(by_name.table(named), figure.table(plain))
        if name not in figure.own_columns:
            split = records_of(extra, own={name: ("u", "v")})
            expected = figure.table(panels).rename(columns={"zzz": name})
            pd.testing.assert_frame_equal(figure.table(split), expected)
        if kind in ("DotPlot", "Gap"):  # they draw the pairs themselves, too
            by_name.plot(named)


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if getattr(kind, "own_values", ())])
def test_seeds_called_as_a_column_of_the_single_values_are_refused_in_a_sentence(kind):
    figure = figure_of(KINDS[kind])
    for name in figure.own_values:
        factors = {"model": MODELS, "train_size": (50, 500), name: (0, 1, 2)}
        records = make_records(factors, lambda cell, name=name: rows({**cell, "seed": cell[name]}))
        with pytest.raises(InputError, match=f"must have other names than columns of its own. Got '{name}'"):
            figure.replace(over=name).table(records)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("ExpectedBest", ("leader", "tie", "ahead_at")),
        ("LagCurve", ("lag", "distance")),
        ("MapGallery", ("label", "right")),
        ("Matching", ("flops", "epochs", "verdict")),
    ],
)
def test_models_called_as_a_column_are_refused_in_a_sentence(kind, names):
    figure = figure_of(KINDS[kind])
    extra = {
        one: EXTRA[one] for one in EXTRA if one in [getattr(figure, each.name) for each in dataclasses.fields(figure)]
    }
    for name in names:
        factors = {name: MODELS, **extra, "train_size": (50, 500), "seed": (0, 1, 2)}
        records = make_records(factors, lambda cell, name=name: rows({**cell, "model": cell[name]}))
        with pytest.raises(InputError, match=f"must have other names than columns of its own. Got '{name}'"):
            figure.replace(hue=name).table(records)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("LearningCurve", ("budget", "gain", "fits")),
        ("Budget", ("budget", "gain", "fits")),
        ("ConvergenceSteps", ("first", "log")),
        ("MetricAgreement", ("text",)),
    ],
)
def test_factors_called_as_a_column_that_is_left_out_of_the_table_change_no_number(kind, names):
    figure = figure_of(KINDS[kind])
    extra = [one for one in EXTRA if one in [getattr(figure, field.name) for field in dataclasses.fields(figure)]]
    expected = figure.table(records_of(extra, own={"zzz": ("u", "v")}))
    for name in names:
        found = figure.table(records_of(extra, own={name: ("u", "v")}))
        pd.testing.assert_frame_equal(found, expected.rename(columns={"zzz": name}))


@pytest.mark.parametrize("name", ["Gap", "LearningCurve"])
def test_names_wider_than_a_column_are_continued_in_further_lines(name):
    long = [f"ViT with a rather long name and a 7×7 convolution, variant {i}" for i in range(2)]
    plot = figure_of(KINDS[name]).plot(records_of((), models=(MODELS[0], *long)), width="column")
    plot.rendered(kinds=("svg",))
    assert layout.faults(plot.sheet) == []


@pytest.mark.parametrize("name", ["DotPlot", "ErfMap", "Matching", "Gap"])
def test_twelve_long_names_leave_a_column_room_for_panels(name):
    long = [f"ViT with a rather long name and a 7×7 convolution, variant {i}" for i in range(12)]
    figure = figure_of(KINDS[name])
    extra = [one for one in EXTRA if one in [getattr(figure, field.name) for field in dataclasses.fields(figure)]]
    plot = figure.plot(records_of(extra, models=(MODELS[0], *long)), width="column")
    plot.rendered(kinds=("svg",))
    assert layout.faults(plot.sheet) == []
    panels = [axes for axes in plot.sheet.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    assert min(axes.get_window_extent().width for axes in panels) > 0.7 * plot.sheet.dpi


def test_a_map_keeps_its_cells_beside_long_names():
    long = [f"ViT with a rather long name and a 7×7 convolution, variant {i}" for i in range(12)]
    plot = figure_of(KINDS["ConvergenceSteps"]).plot(records_of((), models=(*MODELS, *long)))
    plot.rendered(kinds=("svg",))
    assert layout.faults(plot.sheet) == []
