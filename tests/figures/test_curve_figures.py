"""Figures of learning curves: fits, crossover, equivalence and arms, against the curves they were made of."""

import dataclasses

import numpy as np
import pytest
from made_up_curves import CURVES, MODELS, SIZES, accuracy, curve_records
from matplotlib.collections import LineCollection
from scipy import stats

from vision_attn.figures import (
    ConditionCurve,
    Crossover,
    DataEquivalence,
    DotPlot,
    ExpectedBest,
    Figure,
    FittedCurves,
    Gap,
    Selection,
    rendering,
)
from vision_attn.spec import InputError, from_json, to_json
from vision_attn.statistics import holm
from vision_attn.tables import read_csv, to_csv

FEW = {"resamples": 20}
FITTED = FittedCurves(**FEW)
SIZED = (Crossover(reference="ResNet", **FEW), DataEquivalence(reference="ResNet", **FEW))
ARMS = ConditionCurve(condition="arrangement", baseline="intact")
FIGURES = (FITTED, *SIZED, ARMS)
ARRANGED = {"arrangement": ("intact", "permuted")}


def each(figures):
    return pytest.mark.parametrize("figure", figures, ids=lambda figure: type(figure).__name__)


@pytest.fixture(scope="module")
def records():
    return curve_records(**ARRANGED)


@pytest.fixture(scope="module")
def intact():
    return curve_records()


def test_beside_what_data_are_worth_stands_how_many_the_model_has(intact):
    plot = SIZED[1].plot(intact)
    most = {f"with {row['largest']:,.0f}" for row in plot.table.to_dict("records") if row["n"]}
    assert most <= {text.get_text() for axes in plot.axes for text in axes.texts}
    assert "Under each mark: how many images the model itself has." in plot.caption


def test_the_power_laws_are_found_again_and_chosen(intact):
    table = FITTED.table(intact)
    chosen = table[table["chosen"]].set_index("model")
    assert set(chosen["kind"]) == {"power"}
    for model in MODELS[:3]:
        a, b, c = CURVES[model]
        row = chosen.loc[model]
        assert row["b_low"] <= b <= row["b_high"]
        assert row["low"] <= a * 50000.0**-b + c <= row["high"]
        assert row["data_reliance"] == pytest.approx(2 * a * b * 50000.0**-b, rel=0.15)


def test_the_measured_rows_are_the_means_of_one_minus_accuracy(intact):
    table = FITTED.table(intact)
    row = table[(table["kind"] == "measured") & (table["model"] == "ViT") & (table["train_size"] == 1000)].iloc[0]
    errors = [1 - accuracy({"model": "ViT", "train_size": 1000, "seed": seed}) for seed in range(3)]
    assert row["estimate"] == pytest.approx(np.mean(errors))
    assert row["high"] - row["low"] == pytest.approx(2 * stats.t.ppf(0.975, 2) * stats.sem(errors))


def test_a_fitted_curve_ends_with_the_sizes_measured():
    records = curve_records(state=lambda cell: "failed" if cell["train_size"] > 8000 else "done")
    table = FITTED.table(records)
    assert set(table.loc[table["chosen"], "train_size"]) == {8000}
    (axes,) = FITTED.draw(table, records).axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 100]
    assert len(curves) == 3
    for line in curves:
        assert (line.get_xdata()[0], line.get_xdata()[-1]) == pytest.approx((250, 8000))


def crossing_at(*sizes, models=("ViT", "window")):
    """Models that gain with data what the reference does not, and are as good as that at those sizes."""
    at = dict(zip(models, sizes, strict=False))
    return lambda cell: 0.6 + 0.1 * np.log10(cell["train_size"] / at.get(cell["model"], cell["train_size"]))


def test_a_crossover_between_two_sizes_is_where_the_curves_meet():
    records = curve_records(models=("ResNet", "ViT"), value=crossing_at(2500))
    row = SIZED[0].table(records).iloc[0]
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((2500, 2500, 2500))
    assert (row["said"], row["censored"], row["n"], row["planned"]) == ("2,500", "", 3, 3)


def test_an_interval_of_a_crossover_that_is_open_at_both_ends_reads_as_one():
    records = curve_records(models=("ResNet", "ViT"), value=crossing_at(2500))
    figure = SIZED[0]
    table = figure.table(records).assign(low=np.nan, low_censored="below", high=np.nan, high_censored="above")
    assert figure.printed(table, records).iloc[0]["95 % interval"] == "250 or fewer to more than 50,000"


@pytest.mark.parametrize(
    ("size", "censored", "said"), [(1e6, "above", "none up to 50,000"), (10, "below", "at every size from 250")]
)
def test_a_crossover_outside_the_sizes_is_a_bound_in_a_sentence(size, censored, said):
    records = curve_records(models=("ResNet", "ViT"), value=crossing_at(size))
    figure = SIZED[0]
    table = figure.table(records)
    row = table.iloc[0]
    assert (row["censored"], row["low_censored"], row["high_censored"], row["said"]) == (censored,) * 3 + (said,)
    assert np.isnan([row["estimate"], row["low"], row["high"]]).all()
    sentence = figure.instead(table, records)
    assert sentence.endswith(f"at least as good as ResNet: {said} (ViT).")
    (axes,) = figure.draw(table, records).axes
    assert [" ".join(text.get_text().split()) for text in axes.texts] == [sentence]
    assert said in figure.printed(table, records).to_string()
    assert "Arrows" not in figure.caption(table, records)


def test_of_several_crossovers_those_outside_are_arrows():
    records = curve_records(models=("ResNet", "ViT", "window"), value=crossing_at(1e6, 2000))
    figure = SIZED[0]
    table = figure.table(records)
    assert figure.instead(table, records) == ""
    (axes,) = figure.draw(table, records).axes
    assert ">" in [line.get_marker() for line in axes.lines]
    assert "none up to 50,000" in [text.get_text() for text in axes.texts]
    assert "Arrows: beyond the sizes measured" in figure.caption(table, records)


def test_the_equivalent_size_has_the_accuracy_of_the_model_with_the_most():
    def value(cell):
        start = 0.4 if cell["model"] == "ResNet" else 0.3
        return start + 0.1 * np.log10(cell["train_size"] / 250)

    records = curve_records(models=("ResNet", "ViT"), value=value)
    figure = SIZED[1]
    table = figure.table(records)
    assert table.iloc[0]["estimate"] == pytest.approx(5000)
    printed = figure.printed(table, records).iloc[0]
    assert (printed["as good as with"], printed["times as many"]) == ("50,000", "10")


def test_sizes_that_one_model_lacks_are_left_out_of_the_comparison():
    def state(cell):
        return "failed" if cell["model"] == "ViT" and cell["train_size"] == 50000 else "done"

    records = curve_records(models=("ResNet", "ViT"), value=crossing_at(1e6), state=state)
    row = SIZED[0].table(records).iloc[0]
    assert (row["said"], row["largest"], row["n"]) == ("none up to 32,000", 32000, 3)


def test_arms_are_compared_seed_by_seed(records):
    table = ARMS.table(records).set_index(["model", "train_size", "arrangement"])
    cell = {"model": "ResNet", "arrangement": "permuted", "train_size": 1000}
    both = [
        [accuracy({**cell, "arrangement": arm, "seed": seed}) for seed in range(3)] for arm in ("permuted", "intact")
    ]
    row = table.loc[("ResNet", 1000, "permuted")]
    oracle = stats.ttest_rel(*both).confidence_interval(0.95)
    assert row["difference"] == pytest.approx(np.mean(both[0]) - np.mean(both[1]))
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((oracle.low, oracle.high))
    assert row["pairs"] == 3
    assert table.loc[("ResNet", 1000, "intact"), "pairs"] == 0


def test_all_models_of_an_arm_curve_share_one_axis(records):
    axes = ARMS.draw(ARMS.table(records), records).axes
    assert [panel.get_title() for panel in axes] == list(MODELS[:3])
    assert len({panel.get_ylim() for panel in axes}) == 1
    styles = [line.get_linestyle() for line in axes[0].lines if len(line.get_ydata()) == len(SIZES)]
    assert styles == ["-", "--"]


def test_gap_corrects_for_the_sizes_of_each_line(intact):
    table = Gap(reference="ResNet").table(intact)
    for model, rows in table.groupby("model", observed=True):
        ps = []
        for size in SIZES:
            values = [
                [accuracy({"model": name, "train_size": size, "seed": seed}) for seed in range(3)]
                for name in (model, "ResNet")
            ]
            ps.append(stats.ttest_rel(*values).pvalue)
        np.testing.assert_allclose(rows["p"], ps)
        np.testing.assert_allclose(rows["p_holm"], holm(ps))
    assert set(table["outperformance"]) == {0.0}
    assert (table["outperformance_high"] > 0.5).all()


def test_gap_marks_what_is_left_after_the_correction():
    def value(cell):
        clear = cell["train_size"] >= 2000
        gap = 0.1 if clear else 0.02 * (cell["seed"] - 1)
        return 0.5 + (gap + 1e-4 * cell["seed"] if cell["model"] == "ViT" else 0.0)

    records = curve_records(models=("ResNet", "ViT"), value=value)
    figure = Gap(reference="ResNet")
    table = figure.table(records)
    (axes,) = figure.draw(table, records).axes
    (hollow,) = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow.get_xdata()) == sum(size < 2000 for size in SIZES) == int((table["p_holm"] >= 0.05).sum())
    assert "Filled marks: p < 0.05 (paired t-test), Holm-corrected over the levels" in figure.caption(table, records)


@each(FIGURES)
def test_other_factors_of_several_levels_get_panels(figure):
    records = curve_records(sizes=SIZES[::2], scale=("1/d", "none"), **ARRANGED)
    table = figure.table(records)
    titles = " ".join(axes.get_title() for axes in figure.draw(table, records).axes) or figure.instead(table, records)
    assert "scale" in table
    assert "1/d" in titles
    assert "none" in titles


@each(FIGURES)
def test_nothing_measured_yet_is_said(figure):
    records = curve_records(state=lambda cell: "pending", **ARRANGED)
    table = figure.table(records)
    drawing = figure.draw(table, records)
    texts = [text.get_text() for axes in drawing.axes for text in axes.texts]
    assert any("measured" in text for text in texts)
    assert rendering.rendered(drawing)["svg"]
    assert "measured yet" in figure.caption(table, records)
    assert len(figure.printed(table, records))


@each(FIGURES)
@pytest.mark.parametrize("sizes", [SIZES[:1], SIZES])
def test_one_seed_and_any_number_of_sizes_are_drawn_without_interval(figure, sizes):
    records = curve_records(seeds=(0,), sizes=sizes, **ARRANGED)
    table = figure.table(records)
    assert table[[name for name in table if str(name).endswith(("low", "high"))]].isna().all(axis=None)
    caption = figure.caption(table, records)
    assert "Bars" not in caption
    for axes in figure.draw(table, records).axes:
        assert not [part for part in axes.collections if isinstance(part, LineCollection) and part.get_paths()]
    assert len(figure.printed(table, records))


@each(FIGURES)
def test_failed_runs_and_seven_models_leave_rows_and_are_named(figure):
    def state(cell):
        return "failed" if cell["model"] == "stem" or (cell["seed"], cell["train_size"]) == (1, 500) else "done"

    records = curve_records(models=MODELS, sizes=SIZES[:5], state=state, **ARRANGED)
    table = figure.table(records)
    rows = table[table["model"] == "stem"]
    assert len(rows)
    assert set(rows["n"]) == {0}
    assert "seeds are in: " in figure.caption(table, records)
    assert rendering.rendered(figure.draw(table, records))["png"]
    assert len(figure.printed(table, records))


def test_a_failed_fit_is_a_row_that_says_why():
    records = curve_records(sizes=SIZES[:3])
    table = FITTED.table(records)
    power = table[table["kind"] == "power"]
    assert set(power["failed"]) == {"3 sizes are too few for 3 parameters"}
    assert power["estimate"].isna().all()
    assert "3 sizes are too few" in FITTED.printed(table, records).to_string()
    assert "No fit could be judged for ResNet; ViT and ViT, 7x7 convolution." in FITTED.caption(table, records)


def test_a_model_without_another_arm_has_no_panel_and_panels_stand_in_the_order_of_the_plan():
    records = curve_records(arrangement=("whole", "permuted"))
    runs = records.runs[(records.runs["model"] != "ViT") | (records.runs["arrangement"] == "whole")]
    fewer = dataclasses.replace(records, runs=runs.reset_index(drop=True))
    figure = ConditionCurve(condition="arrangement", baseline="whole")
    table = figure.table(fewer)
    assert list(table["model"].unique()) == ["ResNet", "ViT, 7x7 convolution"]
    assert len(figure.draw(table, fewer).axes) == 2
    for ordered in (Gap(reference="ResNet"), FITTED):
        titles = [axes.get_title() for axes in ordered.draw(ordered.table(records), records).axes]
        assert titles == ["whole", "permuted"]


@each(FIGURES)
def test_figures_survive_json_and_csv_and_are_drawn_to_the_same_bytes(records, figure, tmp_path):
    assert from_json(to_json(figure), Figure) == figure
    table = figure.table(records)
    (tmp_path / "table.csv").write_bytes(to_csv(table))
    back = read_csv(tmp_path / "table.csv")
    assert list(back.columns) == list(table.columns)
    np.testing.assert_allclose(back["estimate"].astype(float), table["estimate"].astype(float))
    first, second = (rendering.rendered(figure.draw(table, records)) for _ in range(2))
    assert first == second


def test_a_learning_rate_is_settled_for_every_model():
    def history(cell):
        return [{"update": 9, "val_accuracy": 0.9 if cell["learning_rate"] == 0.1 else 0.5}]

    records = curve_records(learning_rate=(0.1, 0.2), sizes=SIZES[:5], history=history, **ARRANGED)
    for figure in FIGURES:
        table = figure.table(records)
        assert "learning_rate" not in table
        assert table["planned"].max() == 3
        given = figure.replace(given=(("learning_rate", 0.2),))
        assert "learning_rate" not in given.table(records)
        if figure not in SIZED:
            assert not np.allclose(given.table(records)["estimate"], table["estimate"], equal_nan=True)


@pytest.mark.parametrize(
    ("figure", "sentence"),
    [
        (FittedCurves(x="model"), "x of FittedCurves must be a factor of positive numbers. Got 'ResNet' in 'm"),
        (FittedCurves(x="epochs"), "x of FittedCurves must be a factor of the experiment (model, arrangement, "),
        (Crossover(reference="VGG"), "reference of Crossover must be a level of model ('ResNet', 'ViT', 'ViT, 7x7"),
        (
            ConditionCurve(condition="arrangement", baseline="none"),
            "baseline of ConditionCurve must be a level of arrangement ('intact'",
        ),
    ],
)
def test_figures_refuse_what_the_experiment_does_not_have(records, figure, sentence):
    with pytest.raises(InputError) as error:
        figure.table(records)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(("baseline", "applies"), [("intact", True), ("none", False)])
def test_a_preset_without_the_baseline_has_no_condition_curve(records, baseline, applies):
    assert ConditionCurve(condition="arrangement", baseline=baseline).applies(records.plan) == applies


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FittedCurves(metric="loss"),
        lambda: Crossover(reference="a", metric="loss"),
        lambda: ExpectedBest(metric="train_loss"),
        lambda: Selection(metric="train_loss"),
    ],
)
def test_curves_of_what_is_not_best_at_one_are_refused(wrong):
    with pytest.raises(InputError, match=r"must be a share that is best at 1, such as '(val_)?accuracy'"):
        wrong()


def perfect_at(*cells):
    return lambda cell: 1.0 if (cell["model"], cell["train_size"]) in cells else 1 - 4 * cell["train_size"] ** -0.4 / 10


def test_means_without_an_error_are_arrows_at_the_edge_and_named():
    records = curve_records(models=("ResNet", "ViT"), value=perfect_at(("ViT", 16000), ("ViT", 50000)))
    figure = FittedCurves(resamples=20)
    table = figure.table(records)
    caption = figure.caption(table, records)
    assert "Arrows: error 0, below the axis: ViT, 16k images and ViT, 50k images." in caption
    sheet = figure.draw(table, records)
    (axes,) = sheet.axes
    (arrows,) = [line for line in axes.lines if line.get_marker() == "v" and len(line.get_xdata()) == 2]
    sheet.draw_without_rendering()
    assert 0 < arrows.get_ydata()[0] < 0.1
    assert axes.get_ylim()[0] > 0
    assert {"ViT: 0 [0, 0], n = 3"} <= {text for *_, text in sheet.tell()}


def test_a_line_that_leaves_the_axis_is_named():
    value = perfect_at(("ViT", 1000), ("ViT", 3000))
    records = curve_records(models=("ViT",), sizes=(100, 300, 1000, 3000), value=value, seeds=(0,))
    caption = FittedCurves(resamples=20).plot(records).caption
    assert "Lines that leave the axis at the bottom: ViT." in caption
    assert "weighted by" not in caption
    assert "the least-squares fit of the formula that misses" in caption


def test_errors_of_0_alone_stand_on_a_linear_axis_without_bars():
    records = curve_records(models=("ViT",), value=lambda cell: 1.0)
    figure = FittedCurves(resamples=20)
    plot = figure.plot(records)
    (axes,) = plot.axes
    assert "against the number of training images: every error is 0." in plot.caption
    assert "logarithmic" not in plot.caption
    assert axes.get_yscale() == "linear"
    heights = [
        y for each in axes.collections if isinstance(each, LineCollection) for s in each.get_segments() for y in s[:, 1]
    ]
    assert set(heights) <= {0}


@pytest.mark.parametrize("levels", [("100", "1k"), (0, 100), (-5, 100)])
def test_the_level_that_is_no_size_is_named(levels):
    records = curve_records(models=("ResNet", "ViT"), sizes=levels, value=lambda cell: 0.5)
    wrong = next(level for level in levels if level not in ("100", 100))
    for figure in (FittedCurves(), Crossover(reference="ViT"), DataEquivalence(reference="ViT")):
        said = (
            f"x of {type(figure).__name__} must be a factor of positive numbers. Got {wrong!r} in 'train_size' instead."
        )
        with pytest.raises(InputError) as error:
            figure.table(records)
        assert str(error.value) == said
    assert DotPlot().plot(records).axes


@each(SIZED)
def test_sizes_with_more_seeds_use_them_and_values_without_a_partner_are_said(figure):
    def state(cell):
        lost = cell["train_size"] > 8000 and (cell["seed"] == 2 or (cell["seed"] == 1 and cell["model"] == "ViT"))
        return "failed" if lost else "done"

    records = curve_records(seeds=range(4), state=state)
    table = figure.table(records).set_index("model")
    large = sum(size > 8000 for size in SIZES)
    row = table.loc["ViT"]
    assert (row["n"], row["n_most"], row["dropped"]) == (2, 4, large)
    assert f"seed=1 at {SIZES[-1]:,} (without ViT)" in row["dropped_pairs"]
    caption = figure.caption(figure.table(records), records)
    assert "Sizes with more pairs use them all (up to 4)." in caption
    assert f"{large} values have no partner and are left out" in caption
    assert "2 of 4, up to 4" in set(figure.printed(figure.table(records), records)["paired seeds"])
