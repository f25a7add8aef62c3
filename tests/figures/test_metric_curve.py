"""Any metric against a factor or a coordinate, and dots of a metric at coordinates."""

import numpy as np
import pytest
from frames import make_records
from scipy import stats

from vision_attn.figures import DotPlot, MetricCurve

MODELS = ("full", "window")


def rows(cell):
    for tokens in (64, 128, 256):
        slope = 2 if cell["model"] == "full" else 1
        for part in ("mixer", "block"):
            value = tokens**slope * (1 + 0.1 * cell["seed"]) * (1 if part == "mixer" else 10)
            yield {"metric": "latency_seconds", "tokens": tokens, "part": part, "value": value}


def records(**options):
    return make_records({"model": list(MODELS), "width": [16, 32], "seed": [0, 1, 2]}, rows, **options)


def test_a_coordinate_lies_along_x_at_the_others_that_are_named():
    own = records()
    figure = MetricCurve(metric="latency_seconds", x="tokens", at=(("part", "block"),), log_y=True)
    table = figure.table(own)
    row = table[(table["model"] == "full") & (table["tokens"] == 128) & (table["width"] == 16)].iloc[0]
    assert row["estimate"] == pytest.approx(1.1 * 10 * 128**2)
    half = stats.t.ppf(0.975, 2) * 0.1 * 10 * 128**2 / np.sqrt(3)
    assert row["high"] - row["estimate"] == pytest.approx(half)
    assert len(table) == 2 * 2 * 3
    panels = figure.draw(table, own).axes
    assert [axes.get_title() for axes in panels] == ["width 16", "width 32"]
    assert {axes.get_yscale() for axes in panels} == {"log"}
    caption = figure.caption(table, own)
    assert caption.startswith("Time of a pass (part block) on cued-recall against tokens. Mean over 3 seeds.")


def test_times_have_units_and_token_counts_are_whole_on_their_axes():
    def milliseconds(cell):
        for tokens in (64, 1024, 4096):
            yield {"metric": "latency_seconds", "tokens": tokens, "value": tokens * 1e-6 * (1 + 0.1 * cell["seed"])}

    own = make_records({"model": list(MODELS), "seed": [0, 1, 2]}, milliseconds)
    figure = MetricCurve(metric="latency_seconds", x="tokens", at=(), log_y=True)
    (axes,) = figure.draw(figure.table(own), own).axes
    assert [axes.xaxis.get_major_formatter()(x) for x in (64, 1024, 4096)] == ["64", "1,024", "4,096"]
    assert [axes.yaxis.get_major_formatter()(y) for y in (1e-4, 1e-3)] == ["100 µs", "1 ms"]


def test_a_factor_lies_along_x_as_in_a_learning_curve():
    own = records()
    figure = MetricCurve(metric="latency_seconds", x="width", at=(("part", "mixer"), ("tokens", 64)))
    table = figure.table(own).set_index(["model", "width"])
    assert list(table["estimate"]) == pytest.approx([1.1 * 64**2] * 2 + [1.1 * 64] * 2)


def test_a_seed_that_is_missing_is_named():
    own = records(state=lambda cell: "failed" if (cell["model"], cell["seed"]) == ("window", 2) else "done")
    figure = MetricCurve(metric="latency_seconds", x="tokens", at=(("part", "mixer"),))
    table = figure.table(own)
    assert set(table.loc[table["model"] == "window", "n"]) == {2}
    assert "window" in figure.caption(table, own)


def test_dots_are_of_the_coordinates_that_are_named():
    own = records()
    figure = DotPlot(metric="latency_seconds", split=None, at=(("part", "mixer"), ("tokens", 256)))
    table = figure.table(own)
    found = table.set_index(["model", "width"])["estimate"]
    assert found["full", 16] == pytest.approx(1.1 * 256**2)
    assert "(part mixer, tokens 256)" in figure.caption(table, own)


def test_figures_of_one_kind_are_told_apart_by_their_headings():
    curve = MetricCurve(metric="cka", x="layer", at=(("other", "labels"),), given=(("model", "ViT"),))
    assert curve.heading() == "CKA against layer: other labels, ViT"
    assert MetricCurve().heading() == "Accuracy against number of training images"
    assert DotPlot().heading() == "Test accuracy"
    assert DotPlot(metric="latency_seconds", split=None, reference="full").heading() == (
        "Time of a pass: difference to full"
    )


def test_a_level_of_x_that_a_model_lacks_is_no_missing_seed():
    def layers(cell):
        for layer in range(1, 5 if cell["model"] == "full" else 4):
            yield {"metric": "cka", "layer": layer, "value": 0.1 * layer + 0.01 * cell["seed"]}

    own = make_records({"model": list(MODELS), "seed": [0, 1, 2]}, layers)
    figure = MetricCurve(metric="cka", x="layer", at=())
    table = figure.table(own)
    assert list(table.loc[table["n"] == 0, ["model", "layer"]].itertuples(index=False, name=None)) == [("window", 4)]
    assert "Not all planned seeds" not in figure.caption(table, own)
    assert "Mean over 3 seeds." in figure.caption(table, own)


def test_numbers_below_a_dot_plot_have_the_unit_of_the_metric():
    def bytes_of(cell):
        yield {"metric": "peak_bytes", "value": 3e7 + 1e6 * cell["seed"] * (1 + (cell["model"] == "full"))}

    own = make_records({"model": list(MODELS), "seed": [0, 1, 2]}, bytes_of)
    plot = DotPlot(metric="peak_bytes", split=None).plot(own)
    plot.sheet.draw_without_rendering()
    (axes,) = plot.sheet.axes
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown
    assert all(text.endswith(" MB") for text in shown)
    assert axes.xaxis.get_offset_text().get_text() == ""
