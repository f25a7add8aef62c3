"""Any metric against a factor or a coordinate, and dots of a metric at coordinates."""

import dataclasses

import numpy as np
import pytest
from frames import make_records
from scipy import stats

from vision_attn import wording
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
    assert "(mixer alone, tokens 256)" in figure.caption(table, own)


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
    assert list(plot.printed["peak memory"]) == ["32 [27, 37] MB", "31 [28.5, 33.5] MB"]


@pytest.mark.parametrize("levels", [(1, 2, 3), (1, 2, 4), (2, 3, 4)], ids=str)
def test_layers_are_evenly_spaced_and_sizes_are_not_whatever_their_numbers(levels):
    def rows(cell):
        return [
            *({"metric": "cka", "layer": layer, "value": 0.1 * layer} for layer in levels),
            *({"metric": "entropy", "tokens": tokens, "value": 0.1 * tokens} for tokens in levels),
            {"metric": "accuracy", "value": 0.1 * cell["radius"]},
        ]

    own = make_records({"model": list(MODELS), "radius": list(levels), "seed": [0, 1, 2]}, rows)
    scales = {}
    for metric, x in (("cka", "layer"), ("entropy", "tokens"), ("accuracy", "radius")):
        figure = MetricCurve(metric=metric, x=x, at=())
        scales[x] = figure.draw(figure.table(own), own).axes[0].get_xscale()
    assert scales == {"layer": "linear", "tokens": "log", "radius": "log"}


def test_intervals_of_two_seeds_leave_the_axis_to_those_of_more():
    """With two seeds an interval has 12.7 standard errors to each side, with five 2.8."""

    def entropy(cell):
        return [{"metric": "entropy", "value": 0.5 + 0.1 * (cell["seed"] % 2) + 0.2 * (cell["model"] == "full")}]

    def state(cell):
        return "pending" if cell["seed"] > 1 and cell["model"] == "full" else "done"

    factors = {"model": list(MODELS), "width": [16, 32], "seed": [0, 1, 2, 3, 4]}
    figure = MetricCurve(metric="entropy", x="width", at=())
    own = make_records(factors, entropy, state=state)
    table = figure.table(own)
    assert table["high"].max() > 1.3
    low, high = figure.draw(table, own).axes[0].get_ylim()
    assert table.loc[table["n"] > 2, "low"].min() > low > 0.4
    assert own.values["value"].max() < high < 0.9
    assert "two seeds are cut at the axis" in figure.caption(table, own)
    alike = make_records({**factors, "seed": [0, 1]}, entropy)
    assert figure.draw(figure.table(alike), alike).axes[0].get_ylim()[1] > 1.3
    assert "cut" not in figure.caption(figure.table(alike), alike)
    logarithmic = MetricCurve(metric="entropy", x="width", at=(), log_y=True)
    assert logarithmic.draw(logarithmic.table(own), own).axes[0].get_yscale() == "log"
    assert "cut" not in logarithmic.caption(logarithmic.table(own), own)


def test_places_without_a_value_on_a_line_are_named():
    def measured(cell):
        for tokens in (64, 256):
            if (cell["model"], tokens) != ("small", 64):
                yield {"metric": "peak_bytes", "tokens": tokens, "value": 1000.0 * tokens}

    records = make_records({"model": ["small", "large"], "seed": [0, 1]}, measured)
    figure = MetricCurve(metric="peak_bytes", x="tokens", at=())
    assert figure.plot(records).caption.count("Without a value: small, tokens 64.") == 1


def test_a_level_of_which_nothing_is_planned_has_no_row_among_the_dots():
    def measured(cell):
        return [{"metric": "accuracy", "split": "test", "value": 0.5 + 0.01 * cell["seed"]}]

    factors = {"model": ["all", "none", "normed"], "weights": ["fresh", "trained"], "seed": [0, 1, 2]}
    whole = make_records(factors, measured)
    cells = [one for one in whole.plan.cells if (one.factors["model"], one.factors["weights"]) != ("normed", "trained")]
    keys = {cell.run for cell in cells}
    own = dataclasses.replace(
        whole,
        plan=whole.plan.replace(cells=tuple(cells)),
        values=whole.values[whole.values["run"].isin(keys)],
        runs=whole.runs[whole.runs["run"].isin(keys)],
    )
    figure = DotPlot(reference="all", given=(("weights", "trained"),))
    (axes,) = figure.plot(own).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["none"]


def test_coordinates_and_levels_are_told_in_words():
    at = (("part", "mixer"), ("passes", "forward and backward"), ("quantile", 0.5), ("layer", 1))
    assert wording.at_text(at) == "mixer alone, forward and backward, median, layer 1"
    assert wording.at_text((("split", "test"), ("corruption", "noise"))) == "test images, noise"
    assert wording.level_text("init", "unit_variance") == "unit variance"
    assert wording.level_text("cutmix", "off") == "cutmix off"
    assert wording.level_text("model", "my_net v2") == "my_net v2"
