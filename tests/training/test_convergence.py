"""Training until the loss stalls."""

import math

import pytest
import torch
from tiny_training import TinyConv, bits, data, rows, start, steps

from vision_attn import Recipe, Run, ViT
from vision_attn.data import CuedRecall
from vision_attn.execution import execute
from vision_attn.spec import InputError, digest, from_json, to_json
from vision_attn.store import WEIGHTS, Store
from vision_attn.training.checkpoint import from_bytes, to_bytes

IMAGES = data(val_size=20)
RECIPE = Recipe(
    updates=400, batch_size=8, schedule="constant", learning_rate=1e-5, crop_padding=0, history_rows=80, patience=3
)


def rule(losses: list[float], patience: int) -> int | None:
    """After which row, counted from 1, none of the last `patience` lies 0.01 below the best that counted before.

    Or after the first below 0.01, from where no loss can lie so far below.
    """
    best, counted = math.inf, 0
    for number, loss in enumerate(losses, start=1):
        if loss <= best - 0.01:
            best, counted = loss, number
        if number - counted == patience or best < 0.01:
            return number
    return None


def run_through(recipe: Recipe, stops: tuple[int, ...] = ()):
    found, state = [], start(TinyConv, recipe)
    for stop in (*stops, recipe.updates):
        for row in steps(state, recipe, IMAGES):
            found.append(row)
            if state.update == stop:
                break
        saved = to_bytes(state.state_dict())
        torch.manual_seed(stop)
        state = start(TinyConv, recipe)
        state.load_state_dict(from_bytes(saved))
    return bits(state.model), rows(found), state.update, state.stalled


@pytest.mark.parametrize("patience", [1, 3, 6])
@pytest.mark.parametrize("learning_rate", [1e-6, 3e-4, 3e-3])
def test_training_ends_where_the_rule_read_off_an_unstopped_history_says(patience, learning_rate):
    recipe = RECIPE.replace(patience=patience, learning_rate=learning_rate)
    history = run_through(recipe.replace(patience=None))[1]
    assert len(history) == 80
    last = rule([row["train_loss"] for row in history], patience)
    found = run_through(recipe)
    assert found[1] == history[:last]
    assert found[2] == (5 * last if last else 400)
    assert found[3] is (last is not None)


@pytest.mark.parametrize("stops", [(1,), (4, 5, 6), (11, 14)])
def test_a_training_that_is_stopped_anywhere_ends_at_the_same_update_in_the_same_bits(stops):
    whole = run_through(RECIPE)
    assert whole[2] < 400
    assert run_through(RECIPE, tuple(stop for stop in stops if stop < whole[2])) == whole


def test_a_stalled_training_yields_nothing_more():
    state = start(TinyConv, RECIPE)
    list(steps(state, RECIPE, IMAGES))
    assert state.stalled
    again = start(TinyConv, RECIPE)
    again.load_state_dict(state.state_dict())
    assert list(steps(again, RECIPE, IMAGES)) == []


def test_a_loss_that_falls_slower_than_the_threshold_a_row_but_steadily_does_not_stall():
    state = start(TinyConv, RECIPE)
    for number in range(50):  # 0.004 a row: every third row counts
        state.loss_sum.fill_(2 - 0.004 * number)
        state.window = 1
        state.close_row()
        assert not state.stalled
    state.window = 1
    for _ in range(3):
        state.loss_sum.fill_(1.9)
        state.window = 1
        state.close_row()
    assert state.stalled


def test_a_loss_that_cannot_fall_by_the_threshold_ends_the_training_at_once():
    state = start(TinyConv, RECIPE)
    for loss in (0.5, 0.02, 0.009):
        assert not state.stalled
        state.loss_sum.fill_(loss)
        state.window = 1
        state.close_row()
    assert state.stalled


@pytest.mark.parametrize("history_rows", [1, 7, 50])
def test_a_history_has_the_rows_that_were_asked_for(history_rows):
    recipe = Recipe(updates=50, batch_size=4, history_rows=history_rows)
    found = rows(steps(start(TinyConv, recipe), recipe, IMAGES))
    assert len(found) == history_rows
    assert found[-1]["update"] == 50


@pytest.mark.parametrize(("patience", "ended"), [(2, "stalled"), (50, "budget")])
def test_the_result_says_how_training_ended_and_after_how_many_updates(tmp_path, patience, ended):
    run = Run(
        model=ViT(dim=16, depth=1, pool="none"),
        data=CuedRecall(distance=2, val_size=8, test_size=8),
        recipe=RECIPE.replace(updates=40, history_rows=20, patience=patience, learning_rate=1e-9, compile="off"),
        seed=0,
    )
    folder = Store(tmp_path).open(digest(run), hint=run.hint, run=to_json(run), index={})
    counter = iter(range(10**6))
    if ended == "stalled":
        stopped = execute(folder, run, (), device=torch.device("cpu"), threads=1, stopping=lambda: next(counter) >= 3)
        assert stopped.name == "interrupted"
    assert execute(folder, run, (), device=torch.device("cpu"), threads=1).name == "done"
    result = folder.result()
    history = (folder.path / "history.jsonl").read_text().splitlines()
    assert result["ended"] == ended
    assert result["updates"] == 2 * len(history)
    assert (result["updates"] < 40) is (ended == "stalled")
    assert result["images_seen"] == 8 * result["updates"]
    assert (folder.path / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"updates": 9, "patience": 2}, "schedule of Recipe must be 'constant' with patience. Got 'cosine' instead."),
        (
            {"updates": 9, "patience": 0, "schedule": "constant"},
            "patience of Recipe must be None or at least 1. Got 0 instead.",
        ),
        (
            {"updates": 0, "patience": 1, "schedule": "constant"},
            "updates of Recipe must be at least 1 with patience. Got 0 instead.",
        ),
        ({"updates": 9, "history_rows": 0}, "history_rows of Recipe must be at least 1. Got 0 instead."),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_sentence(fields, sentence):
    with pytest.raises(InputError) as caught:
        Recipe(**fields)
    assert str(caught.value) == sentence


def test_a_recipe_without_patience_is_stored_as_before_and_one_with_it_survives():
    assert to_json(Recipe(updates=5)) == {"kind": "Recipe", "updates": 5}
    assert from_json(to_json(RECIPE), Recipe) == RECIPE
