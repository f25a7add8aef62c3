"""What a figure says of itself: names at the ends of lines, small print, and what is told of every mark."""

import dataclasses
import io

import numpy as np
import pytest
from frames import make_records
from layout import drawn_texts
from PIL import Image

from vision_attn.figures import (
    DataEquivalence,
    DotPlot,
    Gap,
    LearningCurve,
    Matching,
    MetricCurve,
    QuadrantAccuracy,
    Variation,
    rendering,
    theme,
)
from vision_attn.figures.lettering import _apart, wrapped

ACCURACY = {("ViT", 50): (0.30, 0.34, 0.38), ("ViT", 200): (0.5, 0.5, 0.56), ("ResNet", 50): (0.4, 0.45, 0.47)}
LAST = {"ViT": 0.6, "ResNet": 0.9, "pooling": 0.62}


def records_of(value, *, models=("ViT", "ResNet"), sizes=(50, 200), seeds=(0, 1, 2), **options):
    def rows(cell):
        yield {"metric": "accuracy", "split": "test", "value": value(cell)}

    factors = {"model": models, "train_size": sizes, "seed": seeds}
    return make_records(factors, rows, **options)


@pytest.fixture(scope="module")
def records():
    return records_of(lambda cell: ACCURACY.get((cell["model"], cell["train_size"]), (0.8, 0.8, 0.8))[cell["seed"]])


def test_every_mark_tells_its_mean_interval_and_n_from_where_it_is_drawn(records):
    sheet = LearningCurve().plot(records).sheet
    sheet.draw_without_rendering()
    told = {text: (x, y) for x, y, text in sheet.tell()}
    assert {"ViT: 34 [24.1, 43.9], n = 3", "ViT: 52 [43.4, 60.6], n = 3"} <= set(told)
    (left, low), (right, high) = told["ViT: 34 [24.1, 43.9], n = 3"], told["ViT: 52 [43.4, 60.6], n = 3"]
    assert 0 < left < right < 100
    assert 100 > low > high > 0


def test_a_row_of_a_dot_plot_tells_the_same(records):
    plot = DotPlot(given=(("train_size", 50),)).plot(records)
    plot.sheet.draw_without_rendering()
    assert [text for *_, text in plot.sheet.tell()] == ["34 [24.1, 43.9], n = 3", "44 [35, 53], n = 3"]


def test_lines_have_their_names_at_their_ends_and_no_legend():
    sheet = LearningCurve().plot(records_of(lambda cell: LAST[cell["model"]], models=tuple(LAST))).sheet
    sheet.draw_without_rendering()
    (axes,) = sheet.axes
    names = {text.get_text(): text for text in axes.texts if text.get_text() in LAST}
    assert sheet.legends == []
    heights = {name: text.get_position()[1] for name, text in names.items()}
    assert sorted(heights, key=heights.get) == ["ViT", "pooling", "ResNet"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(box.x1 <= sheet.bbox.x1 for box in boxes)


def test_lines_that_end_elsewhere_have_a_legend():
    def state(cell):
        return "failed" if (cell["model"], cell["train_size"]) == ("ViT", 200) else "done"

    assert len(LearningCurve().plot(records_of(lambda cell: 0.5, state=state)).sheet.legends) == 1


@pytest.mark.parametrize("heights", [[0.5, 0.5, 0.5], [0.0, 0.01, 0.9], [0.98, 0.99, 1.0], [0.2, 0.4, 0.6]])
def test_names_are_moved_apart_and_stay_in_order(heights):
    places = _apart(np.array(heights), 0.1)
    assert (np.diff(places) > 0.1 - 1e-9).all()
    assert places[0] >= -1e-9
    assert places[-1] <= 1 + 1e-9
    if min(np.diff(heights)) >= 0.1:
        assert places == pytest.approx(heights)


def test_more_names_than_the_panel_is_high_are_refused():
    assert _apart(np.linspace(0, 1, 12), 0.1) is None


def test_the_small_print_has_data_n_and_the_kind_of_interval(records):
    sheet = LearningCurve().plot(records).sheet
    assert sheet._supxlabel.get_text() == "cued-recall · n = 3 · bars: 95 % Student-t intervals over seeds"
    one = records_of(lambda cell: 0.5, seeds=(0,))
    assert LearningCurve().plot(one).sheet._supxlabel.get_text() == "cued-recall · n = 1"


def test_a_coordinate_whose_level_says_it_all_is_not_named_twice():
    figure = MetricCurve(metric="cka", x="layer", at=(("other", "other images"), ("fill", "mean")))
    assert figure.heading() == "CKA against layer: other images, fill mean"


def test_quadrants_are_named_and_those_of_training_are_shaded():
    def rows(cell):
        for quadrant in range(4):
            yield {"metric": "accuracy", "split": "test", "quadrant": quadrant, "value": 0.5}

    records = make_records({"model": ["ViT"], "seed": [0, 1]}, rows)
    data = {"kind": "Quadrants", "train_quadrants": [0, 3]}
    runs = {key: dataclasses.replace(entry, run=entry.run | {"data": data}) for key, entry in records.plan.runs.items()}
    records = dataclasses.replace(records, plan=records.plan.replace(runs=runs))
    (axes,) = QuadrantAccuracy().plot(records).axes
    axes.figure.draw_without_rendering()
    named = [" ".join(text.get_text().split()) for text in axes.get_xticklabels()]
    assert named == ["upper left", "upper right", "lower left", "lower right"]
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["ViT", "with training images"]
    shaded = [patch.get_x() for patch in axes.patches]
    assert shaded == [-0.5, 2.5]
    assert theme.styles(records.plan, "model")["ViT"].colour in {line.get_color() for line in axes.lines}


def test_letters_of_a_png_are_as_wide_as_those_that_the_layout_measured():
    """The layout is that of the SVG; hinting makes letters wider, and long names in the margin are cut."""
    with theme.style(None):
        sheet, (axes,) = theme.canvas(1, columns=1, size=(6.0, 2.0), into=None)
        axes.set_yticks([0.5], ["adamw 0.001, decay 0.05, no crop, batch 128, sincos2d, small branch"])
    image = rendering.rendered(sheet)["png"]
    ink = np.asarray(Image.open(io.BytesIO(image)).convert("L")) < 128
    assert not ink[:, :4].any()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("ViT ($d = 64$ and $h = 3$ heads)", ["ViT ($d = 64$", "and $h = 3$", "heads)"]),
        ("$\\mathrm{a b c d e f g h i j}$ wide", ["$\\mathrm{a b c d e f g h i j}$", "wide"]),
        ("costs of 50 $ in all", ["costs of 50 $", "in all"]),
        ("$x_$ is none, see", ["$x_$ is none,", "see"]),
    ],
)
def test_lines_are_not_broken_within_a_formula(text, lines):
    assert wrapped(text, 13).split("\n") == lines


@pytest.mark.parametrize("name", ["$x_$ y", "$x_1$ y", "5 $"])
@pytest.mark.parametrize("kind", [Gap, DotPlot, DataEquivalence, Matching, Variation], ids=lambda kind: kind.__name__)
def test_a_reference_with_dollars_is_drawn_as_it_stands(kind, name):
    records = records_of(lambda cell: 0.5 + cell["seed"] / 100 + 0.1 * (cell["model"] == "ViT"), models=(name, "ViT"))
    options = {"x": "seed"} if kind is DataEquivalence else {"outer": "train_size"} if kind is Variation else {}
    if kind is DataEquivalence:
        records = records_of(lambda cell: cell["train_size"] / 300, models=(name, "ViT"))
        options = {"resamples": 20}
    sheet = kind(reference=name, **options).plot(records).sheet
    sheet.draw_without_rendering()
    with theme.style():
        assert rendering.rendered(sheet)["png"]


def test_labels_are_found_by_the_names_of_axes_with_dollars():
    records = records_of(lambda cell: 0.5 + cell["seed"] / 100, models=("$x_$", "ViT"))
    label = "difference in test accuracy to $x_$ (percentage points)"
    (axes,) = Gap(reference="$x_$").plot(records, labels={label: "points"}).axes
    assert axes.get_ylabel() == "points"


def test_differences_of_equal_models_stand_in_the_middle_of_an_axis_that_can_be_read():
    records = records_of(lambda cell: 1.0, sizes=(50,))
    (axes,) = DotPlot(reference="ViT").plot(records).axes
    assert axes.get_xlim() == (-1, 1)
    records = records_of(lambda cell: 0.1 + 0.2 if cell["model"] == "ViT" else 0.3)
    (axes,) = Gap(reference="ViT").plot(records).axes
    assert axes.get_ylim() == (-1, 1)


WORD = "Donaudampfschifffahrtsgesellschaftskapitaensmuetzenfabriksverwaltung"


@pytest.mark.parametrize("figure", [LearningCurve(), Gap(reference=WORD)], ids=["curve", "gap"])
def test_a_title_or_a_reference_of_one_long_word_stays_on_a_narrow_page(figure):
    records = records_of(lambda cell: 0.5 + cell["seed"] / 100 + 0.1 * (cell["model"] == "ViT"), models=(WORD, "ViT"))
    sheet = figure.plot(records, width="column", title=WORD).sheet
    with theme.style():
        texts = drawn_texts(sheet)
    wide = sheet.bbox.width
    assert any(text.get_text().replace("\n", "") == WORD for text in texts)
    assert WORD not in {text.get_text() for text in texts}
    assert not [text.get_text() for text, box in texts.items() if box.x0 < -1 or box.x1 > wide + 1]
