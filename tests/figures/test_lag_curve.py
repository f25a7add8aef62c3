"""Accuracy by lag: one panel a model, every lag with the runs of its distance."""

import numpy as np
import pytest
from frames import make_records
from scipy import stats

from vision_attn.figures import LagCurve, rendering

MODELS = ("attention", "LSTM", "LSTM by columns")


def known(cell, lag):
    """Attention knows every target, an LSTM those at most 8 steps away."""
    return cell["model"] == "attention" or abs(lag) <= 8


def rows(cell):
    yield {"metric": "accuracy", "split": "test", "value": 0.5}
    yield {"metric": "accuracy", "split": "test", "distance": cell["distance"], "direction": "up", "value": 0.5}
    for lag in (sign * step * cell["distance"] for sign in (-1, 1) for step in (1, 8)):
        value = (1.0 if known(cell, lag) else 0.125) - 0.01 * cell["seed"]
        yield {"metric": "accuracy", "split": "test", "lag": lag, "value": value}


def records(**options):
    return make_records({"seed": [0, 1, 2], "model": list(MODELS), "distance": [1, 2, 7]}, rows, **options)


def test_every_lag_has_the_mean_over_the_seeds_of_its_distance():
    table = LagCurve().table(records()).set_index(["model", "lag"])
    assert set(table.loc["LSTM"].index) == {-56, -16, -8, -7, -2, -1, 1, 2, 7, 8, 16, 56}
    assert set(table["n"]) == set(table["planned"]) == {3}
    row = table.loc[("LSTM", 7)]
    assert row["estimate"] == pytest.approx(0.99)
    assert row["high"] - row["estimate"] == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3))
    assert table.loc[("LSTM", 56), "estimate"] == pytest.approx(0.115)
    assert table.loc[("attention", 56), "estimate"] == pytest.approx(0.99)


def test_a_panel_a_model_in_the_order_of_the_plan_on_one_axis_with_what_comes_later_to_the_left():
    own = records()
    figure = LagCurve()
    table = figure.table(own)
    panels = figure.draw(table, own).axes
    assert [axes.get_title() for axes in panels] == list(MODELS)
    ((low, high),) = {axes.get_xlim() for axes in panels}
    assert low == -high < 0
    lines = [line for axes in panels for line in axes.lines if len(line.get_xdata()) == 12]
    for line in lines:
        assert all(np.diff(line.get_xdata()) > 0)
    assert "left of 0 the target comes later" in figure.caption(table, own)
    assert len(figure.printed(table, own)) == 12


def test_a_lag_whose_runs_are_not_in_is_named_and_nothing_measured_is_said():
    late = records(state=lambda cell: "failed" if (cell["distance"], cell["seed"]) == (7, 2) else "done")
    figure = LagCurve()
    table = figure.table(late)
    assert set(table.loc[table["lag"].abs().isin([7, 56]), "n"]) == {2}
    assert "(2 of 3)" in figure.caption(table, late)
    pending = records(state=lambda cell: "pending")
    empty = figure.table(pending)
    assert "measured yet" in figure.caption(empty, pending)
    assert rendering.rendered(figure.draw(empty, pending))["svg"]
