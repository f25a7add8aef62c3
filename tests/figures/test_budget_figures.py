"""Figures of budgets, of searches and of baselines without a network."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from frames import make_records, noise

from vision_attn.figures import (
    Budget,
    Crossover,
    DataEquivalence,
    DotPlot,
    ExpectedBest,
    Figure,
    FittedCurves,
    Gap,
    Generalisation,
    LearningCurve,
    Summary,
    theme,
)
from vision_attn.models import PoolingMixer, ZeroMixer
from vision_attn.report.controls import notices
from vision_attn.spec import from_json, to_json

SIZES = (Crossover, DataEquivalence)
LADDER = {
    "model": ("ResNet", "ViT", "linear"),
    "train_size": (250, 4000),
    "images_seen": (100, 400, 1600),
    "seed": range(3),
}


def ladder_rows(cell):
    """The ResNet ends in its data at 250 images, the ViT gains 20 points with every step."""
    step = (100, 400, 1600).index(cell["images_seen"])
    is_full = cell["model"] == "ResNet" and cell["train_size"] == 250
    test = (0.5 if cell["model"] == "ResNet" else 0.2 if cell["model"] == "ViT" else 0.3) + 0.002 * cell["seed"]
    yield {
        "metric": "accuracy",
        "split": "test",
        "value": test + (0 if is_full else 0.2 * step * (cell["model"] != "linear")),
    }
    yield {"metric": "accuracy", "split": "train", "value": 0.99 if is_full and step else 0.6}


def kinds_of(records, **kinds):
    """The records with the kinds of some models in their plan."""
    runs = {
        cell.run: dataclasses.replace(
            records.plan.runs[cell.run],
            run={"model": {"kind": kinds.get(cell.factors["model"], "ViT")}},
        )
        for cell in records.plan.cells
    }
    return dataclasses.replace(records, plan=records.plan.replace(runs=runs))


@pytest.fixture(scope="module")
def ladder():
    return kinds_of(make_records(LADDER, ladder_rows, classes=10), linear="LogisticRegression")


def test_a_learning_curve_shows_the_largest_budget_and_what_limits_it(ladder):
    figure = LearningCurve()
    table = figure.table(ladder).set_index(["model", "train_size"])
    assert "images_seen" not in table
    assert table.loc[("ViT", 4000), "estimate"] == pytest.approx(0.602)
    assert table["limited_by"].to_dict() == {
        ("ResNet", 250): "data",
        ("ResNet", 4000): "budget",
        ("ViT", 250): "budget",
        ("ViT", 4000): "budget",
        ("linear", 250): "",
        ("linear", 4000): "",
    }
    plot = figure.plot(ladder)
    white = [line for line in plot.axes[0].lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert sorted(len(line.get_xdata()) for line in white) == [1, 2]
    assert "at the largest budget of training against" in plot.caption
    assert "Hollow: limited by the budget of training; the others at the largest budget by their data: " in plot.caption


def test_a_cell_without_its_largest_budget_has_no_limit_of_a_smaller_one():
    def state(cell):
        return "pending" if cell["model"] == "ViT" and cell["images_seen"] == 1600 else "done"

    table = LearningCurve().table(make_records(LADDER, ladder_rows, state=state)).set_index("model")
    assert list(table.loc["ViT", "n"]) == [0, 0]
    assert table.loc["ViT", "train_accuracy"].isna().all()
    assert list(table.loc["ViT", "limited_by"]) == ["", ""]
    assert list(table.loc["ResNet", "limited_by"]) == ["data", "budget"]


def test_of_a_single_budget_the_training_images_say_whether_the_data_limit():
    alone = make_records({**LADDER, "images_seen": (1600,)}, ladder_rows, classes=10)
    table = LearningCurve().table(alone).set_index(["model", "train_size"])
    data = table.index[table["limited_by"] == "data"]
    assert list(data) == [("ResNet", 250)]
    assert set(table["limited_by"].drop(data)) == {"budget"}
    said = (
        "Hollow: limited by the budget of training; the others by their data: at least 95 % on their training images. "
    )
    assert said in LearningCurve().plot(alone).caption


@pytest.mark.parametrize(("budgets", "said"), [
    ((1600,), "Hollow, as all here: limited by the budget of training, not by their data, which would take at least "
              "95 % on their training images. Dotted"),
    ((100, 400, 1600), "Hollow, as all at their largest budget: limited by the budget of training, not by their data, "
                       "which would take at least 95 % on their training images, or no more than 1.5 points gained "
                       "from the last fourfold budget (upper bound). Dotted"),
])  # fmt: skip
def test_where_all_networks_are_limited_by_the_budget_the_caption_speaks_of_no_others(budgets, said):
    factors = {**LADDER, "model": ("ViT", "linear"), "images_seen": budgets}
    records = kinds_of(make_records(factors, ladder_rows, classes=10), linear="LogisticRegression")
    assert said in LearningCurve().plot(records).caption
    assert (said in Budget().plot(records).caption) == (len(budgets) > 1)


def test_where_largest_budgets_differ_the_caption_names_them(ladder):
    def is_planned(at):
        return at["images_seen"] < 1600 or (at["model"], at["train_size"]) == ("ViT", 4000)

    cells = tuple(cell for cell in ladder.plan.cells if is_planned(cell.factors))
    frames = {name: getattr(ladder, name) for name in ("values", "runs")}
    kept = {name: frame[frame.apply(is_planned, axis=1)] for name, frame in frames.items()}
    differing = dataclasses.replace(ladder, **kept, plan=ladder.plan.replace(cells=cells))
    seen = "at the largest budget of training of each (images seen 400 and 1.6k) against"
    assert seen in LearningCurve().plot(differing).caption


def test_a_given_budget_is_shown_as_it_is(ladder):
    table = LearningCurve(given=(("images_seen", 100),)).table(ladder)
    assert "limited_by" not in table
    assert set(table["estimate"].round(3)) == {0.502, 0.202, 0.302}
    assert "images_seen" in LearningCurve(budget=None).table(ladder)


@pytest.mark.parametrize(
    "figure",
    [
        Gap(reference="ResNet"),
        Generalisation(),
        FittedCurves(resamples=20),
        *(kind(reference="ResNet", resamples=20) for kind in SIZES),
    ],
    ids=lambda figure: type(figure).__name__,
)
def test_figures_over_sizes_show_every_cell_at_its_largest_budget(ladder, figure):
    plot = figure.plot(ladder)
    assert "images_seen" not in plot.table
    assert " at the largest budget of training" in plot.caption
    alone = figure.replace(given=(("images_seen", 1600),)).plot(ladder)
    pd.testing.assert_frame_equal(plot.table, alone.table)
    assert "largest budget" not in alone.caption
    assert "images_seen" in figure.replace(budget=None).table(ladder)


def test_a_page_of_figures_has_the_baselines_in_grey_too(ladder):
    sheet = Summary(parts=(LearningCurve(), Budget())).plot(ladder).sheet
    (legend,) = sheet.legends
    colours = {
        text.get_text(): line.get_color() for text, line in zip(legend.texts, legend.legend_handles, strict=True)
    }
    assert colours.pop("linear") == theme.FAINT
    assert theme.FAINT not in colours.values()


def test_budgets_lie_along_x_with_a_panel_for_every_size(ladder):
    figure = Budget()
    plot = figure.plot(ladder)
    assert [axes.get_title() for axes in plot.axes] == ["250 images", "4k images"]
    assert plot.axes[0].get_xscale() == "log"
    limited = plot.table[plot.table["limited_by"] != ""]
    assert set(limited["images_seen"]) == {1600}
    assert len(limited) == 4
    assert "linear" not in set(limited["model"])
    assert not figure.applies(make_records({"model": ["a"], "images_seen": [1], "seed": [0]}, lambda cell: []).plan)


@pytest.mark.parametrize("figure", [Budget(), LearningCurve()], ids=["budget", "learning curve"])
def test_a_caption_says_where_the_size_of_a_network_may_be_the_limit(ladder, figure):
    """The ViT gains nothing from the last step and knows 80 % of its training images; a baseline is no network."""

    def rows(cell):
        is_flat = cell["model"] != "ResNet" or cell["train_size"] == 250
        step = 0 if is_flat else 0.2 * LADDER["images_seen"].index(cell["images_seen"])
        yield {"metric": "accuracy", "split": "test", "value": 0.3 + step + 0.002 * cell["seed"]}
        yield {"metric": "accuracy", "split": "train", "value": 0.99 if cell["model"] == "ResNet" else 0.8}

    records = kinds_of(make_records(LADDER, rows, classes=10), linear="LogisticRegression")
    caption = figure.plot(records).caption
    assert "may be the limit rather than the data: ViT, 250 images (80.0 %) and ViT, 4k images (80.0 %)." in caption
    assert "may be the limit" not in figure.plot(ladder).caption


def test_a_network_whose_mean_only_rounding_keeps_from_fitting_fits():
    """The mean of 0.94, 0.95 and 0.96 is 0.9499999999999998."""

    def rows(cell):
        yield {"metric": "accuracy", "split": "test", "value": 0.5}
        yield {"metric": "accuracy", "split": "train", "value": (0.94, 0.95, 0.96)[cell["seed"]]}

    records = make_records(
        {"model": ["ViT"], "train_size": [250, 4000], "images_seen": [1600], "seed": [0, 1, 2]}, rows
    )
    plot = Budget().plot(records)
    assert set(plot.table["limited_by"]) == {"data"}
    assert "may be the limit" not in plot.caption


def test_a_size_of_which_nothing_is_measured_has_no_panel_and_is_named():
    records = make_records(LADDER, ladder_rows, state=lambda cell: "done" if cell["train_size"] == 250 else "pending")
    plot = Budget().plot(records)
    assert [axes.get_title() for axes in plot.axes] == ["250 images"]
    assert set(plot.table["train_size"]) == {250, 4000}
    assert "4k images, ViT, images seen 100 (0 of 3)" in plot.caption


def test_baselines_without_a_network_are_grey_lines_without_marks(ladder):
    (axes,) = LearningCurve().plot(ladder).axes
    grey = [line for line in axes.lines if line.get_color() == theme.FAINT and len(line.get_xdata()) == 2 and
            np.nanmax(line.get_ydata()) == pytest.approx(30.2)]  # fmt: skip
    assert [line.get_marker() for line in grey] == [""]
    names = {text.get_text(): text.get_color() for text in axes.texts}
    assert {"ResNet", "ViT", "linear"} <= set(names)
    assert names["linear"] == theme.darker(theme.FAINT)


def test_curves_fitted_to_baselines_are_broken_as_their_learning_curves():
    factors = {"model": ("ViT", "linear", "nearest"), "train_size": (250, 1000, 4000, 8000), "seed": (0, 1, 2)}

    def rows(cell):
        scale = {"ViT": 3, "linear": 4, "nearest": 5}[cell["model"]]
        value = 1 - scale * cell["train_size"] ** -0.3 + 0.001 * cell["seed"]
        yield {"metric": "accuracy", "split": "test", "value": value}

    records = kinds_of(make_records(factors, rows), linear="LogisticRegression", nearest="NearestNeighbours")
    plot = FittedCurves(resamples=20).plot(records)
    drawn = [line for line in plot.axes[0].lines if len(line.get_xdata()) == 100]
    assert [line.get_linestyle() for line in drawn] == ["-", "-", "--"]


def test_a_network_below_logistic_regression_is_a_loud_notice():
    def rows(cell):
        value = {"linear": 0.5, "ViT": 0.4 if cell["train_size"] == 250 else 0.6}.get(cell["model"], 0.7)
        yield {"metric": "accuracy", "split": "test", "value": value}

    factors = {"model": ("ResNet", "ViT", "linear"), "train_size": (250, 4000), "seed": (0, 1)}
    records = kinds_of(make_records(factors, rows), linear="LogisticRegression")
    loud = [notice.text for notice in notices(records) if notice.loud]
    assert loud == ["Worse than logistic regression on test images: ViT (with 250 images)."]
    without = kinds_of(make_records(factors, rows))
    assert [notice for notice in notices(without) if notice.loud] == []


def test_a_network_is_below_logistic_regression_where_it_is_so_at_its_largest_budget():
    """The ResNet is below it at the first budget only, the pooling network is not measured at the second."""
    accuracy = {("ResNet", 100): 0.3, ("ResNet", 400): 0.6, ("ViT", 100): 0.3, ("ViT", 400): 0.4, ("pooling", 100): 0.2}

    def rows(cell):
        value = accuracy.get((cell["model"], cell["images_seen"]), 0.5)
        yield {"metric": "accuracy", "split": "test", "value": value}

    factors = {"model": ("ResNet", "ViT", "pooling", "linear"), "train_size": (250, 4000), "images_seen": (100, 400),
               "seed": (0, 1)}  # fmt: skip
    records = make_records(
        factors, rows, state=lambda cell: "pending" if {"pooling", 400} <= set(cell.values()) else "done"
    )
    loud = [notice.text for notice in notices(kinds_of(records, linear="LogisticRegression")) if notice.loud]
    assert loud == [
        "Worse than logistic regression on test images at the largest budget that each is measured with: "
        "ViT (with 250, 4,000 images, after 400 images seen); pooling (with 250, 4,000 images, after 100 images seen)."
    ]


def beside_control(accuracy, *, mixer=ZeroMixer(), budgets=(100, 400), state=lambda cell: "done", **more):  # noqa: B008
    """Records of a ViT and of the same network with another mixer, `more` of which may differ."""
    models = {
        "ViT": {"kind": "ViT", "dim": 64, "init": "mimetic"},
        "none": {"kind": "ViT", "dim": 64, "mixer": to_json(mixer), **more},
    }
    records = make_records(
        {"model": tuple(models), "train_size": (250, 4000), "images_seen": budgets, "seed": (0, 1)},
        lambda cell: [{"metric": "accuracy", "split": "test", "value": accuracy(cell)}],
        state=state,
    )
    runs = {
        cell.run: dataclasses.replace(records.plan.runs[cell.run], run={"model": models[cell.factors["model"]]})
        for cell in records.plan.cells
    }
    return dataclasses.replace(records, plan=records.plan.replace(runs=runs))


@pytest.mark.parametrize(("mixer", "more", "count"), [
    (ZeroMixer(), {}, 1), (ZeroMixer(), {"position": "sincos2d"}, 0), (PoolingMixer(), {}, 0),
])  # fmt: skip
def test_attention_that_adds_little_to_the_same_network_without_it_is_a_loud_notice(mixer, more, count):
    def accuracy(cell):
        return 0.5 + ({250: -0.04, 4000: 0.06}[cell["train_size"]] if cell["model"] == "ViT" else 0.0)

    found = notices(beside_control(accuracy, mixer=mixer, budgets=(100,), **more))
    assert [one.loud for one in found] == [True] * count
    for one in found:
        assert one.text.startswith("ViT does not use attention: it is less than 5 points ahead of none, ")
        assert one.text.endswith("both with the training that suits them best (−4.0 with 250 images).")


def test_attention_is_compared_with_nothing_in_its_place_at_equal_budgets():
    """With 4,000 images only the ViT is measured at the last budget, where it is far ahead of what none had before."""

    def accuracy(cell):
        return {100: 0.5, 400: 0.6, 1600: 0.9}[cell["images_seen"]] + 0.04 * (cell["model"] == "ViT")

    def state(cell):
        return "pending" if {"none", 1600, 4000} <= set(cell.values()) else "done"

    (one,) = notices(beside_control(accuracy, budgets=(400, 1600, 100), state=state))
    assert one.text.endswith(
        "with the training that suits them best at the largest budget that both are measured with "
        "(after 1,600 images seen: +4.0 with 250 images; after 400 images seen: +4.0 with 4,000 images)."
    )


def search_records(**options):
    factors = {"model": ("ResNet", "ViT"), "train_size": (500, 4000), "trial": tuple("abcdef"), "seed": (0, 1)}

    def history(cell):
        value = 0.6 + 0.03 * noise(cell["model"], cell["train_size"], cell["trial"]) + 0.001 * cell["seed"]
        return [{"update": 10, "val_accuracy": 0.1}, {"update": 20, "val_accuracy": value}]

    return make_records(
        factors, lambda cell: [{"metric": "accuracy", "split": "test", "value": 0.5}], history=history, **options
    )


def test_a_lead_over_one_trial_is_said_to_be_of_unknown_sureness():
    records = search_records()
    runs = records.runs
    kept = runs[(runs["model"] == "ResNet") | (runs["trial"] == "a")]
    few = dataclasses.replace(records, runs=kept, history=records.history[records.history["run"].isin(kept["run"])])
    assert "one trial, so that how sure is not known: ResNet before ViT" in ExpectedBest(resamples=50).plot(few).caption


def test_the_expected_best_is_that_of_the_means_of_the_trials():
    records = search_records()
    figure = ExpectedBest(resamples=50)
    table = figure.table(records)
    own = table[(table["model"] == "ViT") & (table["train_size"] == 500)].set_index("trials")
    means = [0.6 + 0.03 * noise("ViT", 500, trial) + 0.0005 for trial in "abcdef"]
    assert own.loc[1, "estimate"] == pytest.approx(np.mean(means))
    assert own.loc[6, "estimate"] == pytest.approx(
        sum(v * ((i + 1) ** 6 - i**6) / 6**6 for i, v in enumerate(sorted(means)))
    )
    assert set(own["n"]) == set(own["planned"]) == {6}
    plot = figure.plot(records)
    assert [axes.get_title() for axes in plot.axes] == ["500 images", "4k images"]
    assert (
        "4k images: with all trials the order is ResNet and ViT; near ties (the interval of the lead reaches 0): "
        in (plot.caption)
    )
    assert plot.axes[0].get_ylabel() == "expected best validation accuracy (%)"
    assert set(plot.printed["best trial"]) <= set("abcdef")


def test_a_search_that_has_not_begun_is_an_empty_figure():
    records = search_records(state=lambda cell: "pending")
    plot = ExpectedBest(resamples=50).plot(records)
    assert plot.caption.endswith("Nothing is measured yet.")
    assert len(plot.printed) == 4


IN_TURN = "chosen one after another or round by round, knowing what the earlier ones had found"


@pytest.mark.parametrize(("preset", "is_said"), [("crops", True), ("full", False), (None, False)])
def test_trials_that_were_chosen_one_after_another_are_said_to_be_no_random_draw(preset, is_said):
    caption = ExpectedBest(resamples=50, in_turn=("crops",)).plot(search_records(preset=preset)).caption
    assert (IN_TURN in caption) == is_said
    assert "trials a line" not in caption


def test_families_with_unequal_numbers_of_trials_are_said_to_have_had_unequal_chances():
    records = search_records()
    is_left_out = (records.runs["model"] == "ViT") & records.runs["trial"].isin(["e", "f"])
    runs = records.runs[~is_left_out]
    fewer = dataclasses.replace(records, runs=runs, history=records.history[records.history["run"].isin(runs["run"])])
    caption = ExpectedBest(resamples=50).plot(fewer).caption
    assert "There are 4 to 6 trials a line, so that some had more chances than others." in caption
    assert IN_TURN not in caption


def test_a_dot_plot_of_differences_is_that_of_pairs(ladder):
    figure = DotPlot(reference="ResNet", given=(("images_seen", 1600), ("train_size", 4000)))
    plot = figure.plot(ladder)
    assert dict(zip(plot.table["model"], plot.table["estimate"].round(9), strict=True)) == {"ViT": -0.3, "linear": -0.6}
    assert [text.get_text() for text in plot.axes[0].get_yticklabels()] == ["ViT", "linear"]
    assert "paired by seed" in plot.caption


@pytest.mark.parametrize("figure", [Budget(), ExpectedBest(), DotPlot(reference="ResNet"), LearningCurve(budget=None)])
def test_they_survive_json(figure):
    assert from_json(to_json(figure), Figure) == figure
