"""The learning rate every model does best with on validation images."""

import pytest
from frames import make_records

from vision_attn.selection import at_selected, select_records, selections
from vision_attn.spec import InputError

FACTORS = {"model": ["a", "b"], "learning_rate": [0.01, 0.001, 0.1], "distance": [1, 2], "seed": [0, 1]}
FINAL = {("a", 0.001): 0.5, ("a", 0.01): 0.9, ("a", 0.1): 0.2, ("b", 0.001): 0.6, ("b", 0.01): 0.6, ("b", 0.1): 0.1}


def rows(cell):
    return [{"metric": "accuracy", "split": "test", "value": cell["learning_rate"]}]


def history(cell):
    final = FINAL[cell["model"], cell["learning_rate"]]
    wave = 0.05 * (1 if cell["seed"] else -1)
    return [
        {"update": 10, "val_accuracy": 0.99, "learning_rate": 0.5},
        {"update": 20, "val_accuracy": final + wave, "learning_rate": 0.25},
        {"update": 30, "learning_rate": 0.1},
    ]


def made(**options):
    return make_records(FACTORS, rows, **{"history": history, **options})


def test_the_best_final_mean_is_chosen_and_of_equal_ones_the_smaller():
    table = selections(made())
    best = table[table["chosen"]].set_index("model")["learning_rate"]
    assert dict(best) == {"a": 0.01, "b": 0.001}
    found = table.set_index(["model", "learning_rate"])["estimate"]
    assert {key: pytest.approx(value) for key, value in FINAL.items()} == dict(found)
    assert set(table["n"]) == {4}


def test_the_chosen_records_are_as_if_there_had_been_no_choice():
    own = at_selected(made())
    assert list(own.plan.factors) == ["model", "distance", "seed"]
    assert "learning_rate" not in own.values
    assert dict(own.values.groupby("model", observed=True)["value"].unique().map(list)) == {"a": [0.01], "b": [0.001]}
    assert len(own.runs) == len(own.plan.cells) == 2 * 2 * 2
    assert set(own.runs["run"]) == {cell.run for cell in own.plan.cells}
    assert set(own.history["learning_rate"]) == {0.5, 0.25, 0.1}


def test_a_run_that_diverged_counts_as_nothing_learnt():
    def state(cell):
        is_bad = (cell["model"], cell["learning_rate"], cell["seed"]) == ("a", 0.01, 0)
        return "diverged" if is_bad else "done"

    table = selections(made(state=state)).set_index(["model", "learning_rate"])
    assert table.loc[("a", 0.01), "estimate"] == pytest.approx((0.95 + 0) / 2)
    assert table.loc[("a", 0.001), "chosen"]


def test_test_images_have_no_part_in_the_choice():
    flipped = make_records(
        FACTORS, lambda cell: [{**rows(cell)[0], "value": 1 - cell["learning_rate"]}], history=history
    )
    assert selections(flipped).equals(selections(made()))


def test_nothing_measured_yet_takes_the_smallest_level():
    own = at_selected(made(state=lambda cell: "pending"))
    assert len(own.runs) == 8
    assert set(own.runs["state"]) == {"pending"}


def test_runs_that_were_not_validated_cannot_be_chosen_from():
    with pytest.raises(
        InputError, match=r"^metric of a selection must be logged in the history\. Got 'val_accuracy' instead"
    ):
        selections(made(history=lambda cell: [{"update": 10, "train_loss": 0.1}]))


def test_only_a_factor_that_is_not_in_use_is_settled():
    records = made()
    assert select_records(records, choose=None, used=(), by=("model",)) is records
    assert select_records(records, choose="learning_rate", used=("learning_rate",), by=("model",)) is records
    assert select_records(records, choose="width", used=(), by=("model",)) is records
    assert len(select_records(records, choose="learning_rate", used=(), by=("model",)).runs) == 8
    assert len(select_records(records, choose="learning_rate", used=(), by=("unknown",)).runs) == 8
