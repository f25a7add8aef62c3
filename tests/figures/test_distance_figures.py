"""Recall by distance, its step, convergence and choice: tables against hand numbers, drawings against tables."""

import made_up_fields as made_up
import numpy as np
import pytest
from frames import make_records
from scipy import stats

from vision_attn.figures import (
    ConvergenceSteps,
    DistanceCurve,
    Figure,
    PsychometricMidpoint,
    Selection,
    rendering,
    theme,
)
from vision_attn.figures.axes import size_axis
from vision_attn.records import pick
from vision_attn.spec import InputError, from_json, to_json

FIGURES = (DistanceCurve(), PsychometricMidpoint(), ConvergenceSteps())


def name(figure):
    return type(figure).__name__


@pytest.fixture(scope="module")
def records():
    return made_up.recall_records(factors={"variant": ["pop-out", "filled"]})


@pytest.fixture(scope="module")
def rates():
    return made_up.recall_records(models=made_up.MODELS[:3], factors={"learning_rate": [0.001, 0.003, 0.01]})


def test_recall_by_hand(records):
    table = DistanceCurve().table(records).set_index(["variant", "model", "distance"])
    one = {"variant": "filled", "model": "convolution, radius 2", "distance": 2}
    values = [made_up.accuracy({**one, "seed": seed}) for seed in made_up.SEEDS]
    row = table.loc[tuple(one.values())]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert (row["estimate"], row["low"]) == pytest.approx((np.mean(values), np.mean(values) - half))
    assert (row["reach_low"], row["reach_high"]) == (2, 2)
    assert table["n"].sum() == len(pick(records, "accuracy", at={"split": "test"})) == 5 * 2 * 8 * 3
    assert table.loc[("filled", "LSTM", 0), ["reach_low", "reach_high"]].tolist() == [0, 7]


def test_every_model_is_marked_at_its_reach_and_those_that_reach_everything_are_not(records):
    figure = DistanceCurve()
    drawing = figure.draw(figure.table(records), records)
    for axes in drawing.axes:
        marks = sorted(line.get_xdata()[0] for line in axes.lines if line.get_markerfacecolor() == "white")
        assert marks == [0, 2, 4]


def test_the_distance_axis_is_linear(records):
    figure = DistanceCurve()
    near = made_up.recall_records(distances=(1, 2, 4))
    assert figure.draw(figure.table(near), near).axes[0].get_xscale() == "linear"


def test_recall_of_every_direction_has_a_panel_of_its_own():
    def rows(cell):
        for direction, value in (("right", 0.9), ("left", 0.2)):
            at = {"split": "test", "distance": cell["distance"], "direction": direction}
            yield {"metric": "accuracy", **at, "value": value + 0.01 * cell["seed"]}
        yield {"metric": "accuracy", "split": "test", "value": 0.5}

    records = make_records({"model": ["LSTM"], "distance": [1, 2], "seed": [0, 1]}, rows)
    figure = DistanceCurve(direction=True)
    table = figure.table(records)
    assert dict(table.groupby("direction")["estimate"].mean().round(6)) == {"left": 0.205, "right": 0.905}
    assert sorted(axes.get_title() for axes in figure.draw(table, records).axes) == ["left", "right"]
    assert set(DistanceCurve().table(records)["estimate"]) == {0.5}


def recall_rows_only(cell):
    """What the probe AccuracyByDistance says of a run that met every distance."""
    for distance in range(8):
        value = 1.0 if distance <= 2 else 0.125
        yield {"metric": "accuracy", "split": "test", "distance": distance, "value": value}
        yield {"metric": "accuracy", "split": "test", "distance": distance, "direction": "up", "value": 0.5}


@pytest.mark.parametrize("factors", [{}, {"distance": list(range(8))}], ids=["one run meets all", "a run a distance"])
def test_distance_may_be_a_coordinate_of_the_probe(factors):
    def rows(cell):
        return [row for row in recall_rows_only(cell) if row["distance"] == cell.get("distance", row["distance"])]

    records = make_records({"model": ["a", "b"], **factors, "seed": [0, 1]}, rows)
    table = DistanceCurve().table(records)
    assert table[table["model"] == "a"]["estimate"].tolist() == [1.0] * 3 + [0.125] * 5
    assert set(table["n"]) == {2}
    assert len(DistanceCurve().draw(table, records).axes) == 1
    steps = PsychometricMidpoint()
    found = steps.table(records)
    assert found[["low", "high"]].to_numpy().tolist() == [[2, 3]] * 2
    assert steps.draw(found, records).axes
    pending = make_records({"model": ["a"], **factors, "seed": [0]}, rows, state=lambda cell: "pending")
    for figure in (DistanceCurve(), steps, DistanceCurve(direction=True)):
        assert rendering.rendered(figure.draw(figure.table(pending), pending))["svg"]


def test_steps_stand_beside_reach_and_influence(records):
    table = PsychometricMidpoint().table(records).set_index(["variant", "model"])
    assert table.loc[("pop-out", "convolution, radius 2"), "estimate"] == pytest.approx(2.5, abs=0.1)
    assert table.loc[("pop-out", "attention"), "censored"] == "> 7"
    assert table.loc[("filled", "attention, no position"), "censored"] == "< 0"
    radius = 17 - 20 * 0.5
    assert table.loc[("pop-out", "convolution, radius 2"), "d50"] == pytest.approx(radius / 4, abs=0.1)
    assert set(table["d50_n"]) == {3}
    printed = PsychometricMidpoint().printed(PsychometricMidpoint().table(records), records)
    assert "> 7" in set(printed["step"])
    assert "0 to 7" in set(printed["reach"])


def test_a_censored_step_is_an_arrow_at_the_end_of_the_distances(records):
    figure = PsychometricMidpoint()
    axes = figure.draw(figure.table(records), records).axes[1]
    arrows = {line.get_marker(): line.get_xdata()[0] for line in axes.lines if line.get_marker() in "<>"}
    assert arrows == {">": 7, "<": 0}


def test_a_curve_that_is_no_step_has_no_mark_and_is_named_with_the_reason():
    curves = {"hollow": [1, 1, 0.2, 0.2, 0.9, 1.0], "plateau": [1, 0.9, 0.6, 0.6, 0.6, 0.5]}

    def rows(cell):
        value = curves[cell["model"]][cell["distance"]] - 0.001 * cell["seed"]
        yield {"metric": "accuracy", "split": "test", "value": value}

    records = make_records({"model": list(curves), "distance": list(range(6)), "seed": [0, 1, 2]}, rows)
    figure = PsychometricMidpoint()
    table = figure.table(records)
    assert list(table["found"]) == ["not monotone", "no step"]
    (axes,) = figure.draw(table, records).axes
    assert all(np.isnan(np.asarray(line.get_xdata(), float)).all() for line in axes.lines)
    assert "hollow (not monotone, no step) and plateau (no step fits)" in figure.caption(table, records)
    assert list(figure.printed(table, records)["step"]) == ["not monotone, no step", "no step fits"]


@pytest.mark.parametrize("logged", [0, 1])
def test_a_run_that_diverged_has_not_converged_whether_it_was_validated_before_or_not(logged):
    def history(cell):
        rows = [{"update": 10 * i, "val_accuracy": 0.3 * i} for i in range(1, 4)]
        return rows[:logged] if cell["seed"] == 0 else [*rows, {"update": 40, "val_accuracy": 0.96}]

    factors = {"model": ["a"], "distance": [1, 2], "seed": [0, 1, 2]}
    states = ("diverged", "done", "done")
    records = make_records(factors, lambda cell: [], history=history, state=lambda cell: states[cell["seed"]])
    figure = ConvergenceSteps()
    table = figure.table(records)
    assert list(zip(table["n"], table["runs"], table["planned"], strict=True)) == [(2, 3, 3)] * 2
    assert table["share"].tolist() == pytest.approx([2 / 3] * 2)
    assert "6 runs, 4 of them reach it." in figure.caption(table, records)


def test_convergence_by_hand(records):
    table = ConvergenceSteps().table(records).set_index(["variant", "model", "distance"])
    rows = records.history
    own = rows[(rows["variant"] == "pop-out") & (rows["model"] == "attention") & (rows["distance"] == 3)]
    firsts = own[own["val_accuracy"] >= 0.95].groupby("seed")["update"].min()
    row = table.loc[("pop-out", "attention", 3)]
    assert row["estimate"] == pytest.approx(np.exp(np.log(firsts.to_numpy(float)).mean()))
    assert (row["n"], row["runs"], row["share"]) == (3, 3, 1)
    assert table.loc[("pop-out", "LSTM", 7), ["n", "runs", "share"]].tolist() == [0, 3, 0]


def test_the_choice_is_ringed_and_other_figures_show_it_alone(rates):
    figure = Selection()
    table = figure.table(rates)
    assert set(table.loc[table["chosen"], "learning_rate"]) == {0.003}
    (axes,) = figure.draw(table, rates).axes
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert len(rings) == 3
    assert "99.7 (chosen)" in set(figure.printed(table, rates)["learning rate 0.003"])
    for other in FIGURES:
        assert "learning_rate" not in other.table(rates)
    assert DistanceCurve().table(rates)["n"].max() == 3
    assert "learning_rate" in DistanceCurve(choose=None).table(rates)


def test_a_choice_may_be_made_anew_for_every_level_of_a_factor(rates):
    figure = Selection(by=("distance",))
    table = figure.table(rates)
    assert (table.groupby(["distance", "model"])["chosen"].sum() == 1).all()
    history = rates.history.sort_values("update").groupby("run").last()
    finals = rates.runs.assign(value=rates.runs["run"].map(history["val_accuracy"]))
    means = finals.groupby(["distance", "model", "learning_rate"])["value"].mean()
    row = table[(table["distance"] == 3) & (table["model"] == "LSTM")].set_index("learning_rate")
    for level, estimate in row["estimate"].items():
        assert estimate == pytest.approx(means.loc[(3, "LSTM", level)])
    drawn = figure.draw(table, rates)
    assert len([axes for axes in drawn.axes if axes.get_title()]) == table["distance"].nunique()
    assert list(figure.printed(table, rates).columns[:2]) == ["distance", "model"]


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_a_missing_cell_is_a_row_and_is_named(figure):
    def state(cell):
        return "pending" if (cell["model"], cell["distance"]) == ("attention", 3) else "done"

    records = made_up.recall_records(models=made_up.MODELS[:3], state=state)
    table = figure.table(records)
    assert len(table) == (3 if isinstance(figure, PsychometricMidpoint) else 24)
    assert rendering.rendered(figure.draw(table, records))["svg"]
    said = figure.caption(table, records)
    assert (
        isinstance(figure, PsychometricMidpoint)
        or "attention, distance 3 (0 of 3)" in said
        or "3 planned runs are not in" in said
    )


@pytest.mark.parametrize("figure", [*FIGURES, Selection()], ids=name)
def test_drawing_twice_gives_the_same_bytes(rates, figure):
    first, second = (rendering.rendered(figure.draw(figure.table(rates), rates)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("figure", [*FIGURES, Selection()], ids=name)
def test_nothing_measured_yet_gives_an_empty_figure(figure):
    records = made_up.recall_records(factors={"learning_rate": [0.001, 0.01]}, state=lambda cell: "pending")
    table = figure.table(records)
    assert len(table)
    assert rendering.rendered(figure.draw(table, records))["svg"]
    assert "measured yet" in figure.caption(table, records)
    assert len(figure.printed(table, records))


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_one_seed_is_drawn_without_interval(figure):
    records = made_up.recall_records(seeds=(0,), models=made_up.MODELS[:3])
    table = figure.table(records)
    if not isinstance(figure, PsychometricMidpoint):
        assert table["low"].isna().all()
    assert rendering.rendered(figure.draw(table, records))["svg"]


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_another_factor_of_several_levels_is_never_pooled(records, figure):
    table = figure.table(records)
    assert set(table["n"]) <= {0, 3}
    titles = " ".join(axes.get_title() for axes in figure.draw(table, records).axes)
    assert "pop-out" in titles
    assert "filled" in titles


@pytest.mark.parametrize("figure", [*FIGURES, Selection()], ids=name)
def test_figures_refuse_what_the_experiment_does_not_have(figure):
    records = make_records({"model": ["a"], "seed": [0]}, lambda cell: [{"metric": "params", "value": 1.0}])
    field = "choose" if isinstance(figure, Selection) else "x"
    with pytest.raises(InputError, match=f"^{field} of {name(figure)} must be a factor of the experiment"):
        figure.table(records)


@pytest.mark.parametrize(
    ("levels", "given"),
    [(("near", "far", "farther"), "'near'"), ((100, "1000", 200), "'1000'"), ((True, False), "True")],
)
@pytest.mark.parametrize("is_factor", [True, False], ids=["factor", "coordinate"])
@pytest.mark.parametrize("figure", [DistanceCurve(x="way"), PsychometricMidpoint(x="way")], ids=name)
def test_levels_along_x_that_are_no_numbers_are_said(figure, is_factor, levels, given):
    def rows(cell):
        for level in [cell["way"]] if is_factor else levels:
            yield {"metric": "accuracy", "split": "test", "value": 0.5, **({} if is_factor else {"way": level})}

    factors = {"model": ["a", "b"], **({"way": levels} if is_factor else {}), "seed": [0, 1]}
    with pytest.raises(InputError) as error:
        figure.plot(make_records(factors, rows))
    kind = "factor" if is_factor else "coordinate"
    assert str(error.value) == f"x of {name(figure)} must be a {kind} of numbers. Got {given} in 'way' instead."


@pytest.mark.parametrize(
    "figure", [*FIGURES, Selection(), PsychometricMidpoint(cell=2.0), DistanceCurve(direction=True)], ids=name
)
def test_figures_survive_a_round_trip_through_json(figure):
    assert from_json(to_json(figure), Figure) == figure


@pytest.fixture(scope="module")
def crowd():
    """Seven models, each with recall in two directions."""
    factors = {"model": [f"model {number}" for number in range(7)], "distance": [1, 2, 4], "seed": [0, 1, 2]}

    def rows(cell):
        share = 1.0 if int(cell["model"][-1]) >= cell["distance"] else 0.125
        yield {"metric": "accuracy", "split": "test", "value": share - 0.01 * cell["seed"]}
        for direction, less in (("right", 0.0), ("left", 0.1)):
            at = {"split": "test", "distance": cell["distance"], "direction": direction}
            yield {"metric": "accuracy", **at, "value": share - less - 0.01 * cell["seed"]}
        yield {"metric": "reach", "mode": "architectural", "layer": 1, "direction": "any", "value": 2}

    def history(cell):
        reached = int(cell["model"][-1]) >= cell["distance"] and cell["seed"] < 2
        return [{"update": 100, "val_accuracy": 0.2}, {"update": 200, "val_accuracy": 0.97 if reached else 0.3}]

    return make_records(factors, rows, history=history)


@pytest.mark.parametrize("direction", [False, True])
def test_more_than_six_models_have_a_panel_each(crowd, direction):
    figure = DistanceCurve(direction=direction)
    table = figure.table(crowd)
    drawing = figure.draw(table, crowd)
    titles = [axes.get_title() for axes in drawing.axes if axes.get_visible()]
    assert titles == [f"model {number}" for number in range(7)]
    means = table[table["model"] == "model 3"].sort_values("distance")
    drawn = [line.get_ydata() for line in drawing.axes[3].lines if line.get_marker() not in ("", "None", None)]
    expected = [
        (100 * own["estimate"]).to_list() for _, own in (means.groupby("direction") if direction else [(0, means)])
    ]
    np.testing.assert_allclose(sorted(map(list, drawn)), sorted(expected))
    assert any(list(line.get_xdata()) == [2, 2] for line in drawing.axes[3].lines), "the reach is marked"
    assert "Dashed lines: how far each model can see" in figure.caption(table, crowd)
    assert rendering.rendered(drawing) == rendering.rendered(figure.draw(table, crowd))


def test_convergence_of_more_than_six_models_is_a_map_of_updates_and_shares(crowd):
    figure = ConvergenceSteps()
    table = figure.table(crowd)
    axes = figure.draw(table, crowd).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"model {number}" for number in range(7)]
    assert [text.get_text() for text in axes.texts] == [
        "200" if number >= distance else "" for number in range(7) for distance in (1, 2, 4)
    ]
    assert sorted(set(axes.collections[0].get_array().round(3).flatten().tolist())) == [0, 66.667]
    assert figure.caption(table, crowd).startswith("Numbers: updates until validation accuracy")


def test_a_choice_among_one_level_is_no_figure(rates, crowd):
    assert Selection().applies(rates.plan)
    assert not Selection().applies(rates.plan.replace(factors={**rates.plan.factors, "learning_rate": ("chosen",)}))


def test_words_that_would_touch_are_slanted_and_none_is_left_out():
    (axes,) = theme.canvas(1)[1]
    names = [f"a rather long level {i}" for i in range(6)]
    size_axis(axes, names, label="trial")
    assert [text.get_text() for text in axes.get_xticklabels()] == names
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {30}
    (axes,) = theme.canvas(1)[1]
    size_axis(axes, ["a", "b"], label="trial")
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {0}
