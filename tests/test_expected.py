"""What the runs to do will take is judged by finished runs that are like them."""

import pytest
import torch
from made_up import make_plan, write_store
from torch import nn

from vision_attn import ViT, expected
from vision_attn.models import as_model, count_flops, count_params
from vision_attn.plan import Cell, PlannedRun
from vision_attn.spec import json_sha256
from vision_attn.states import look

DIGITS = {"kind": "Mnist5k", "train_size": 100}


def run(dim, seed, updates=200, batch_size=32):
    model = {"kind": "ViT", "dim": dim, "depth": 1, "patch_size": 7}
    recipe = {"kind": "Recipe", "updates": updates, "batch_size": batch_size, "learning_rate": 0.001}
    return {"kind": "Run", "model": model, "data": {**DIGITS, "subset_seed": seed}, "recipe": recipe, "seed": seed}


def planned(*runs):
    entries = {json_sha256(one): PlannedRun(hint=f"run-{i}", run=one) for i, one in enumerate(runs)}
    cells = tuple(
        Cell(factors={"model": "ViT", "train_size": 1 + i, "seed": 0}, run=key) for i, key in enumerate(entries)
    )
    whole = make_plan(models=("ViT",), sizes=(50,), seeds=(0,))
    return whole.replace(
        factors={"model": ("ViT",), "train_size": tuple(range(1, 1 + len(runs))), "seed": (0,)},
        cells=cells,
        runs=entries,
    )


def finished(pool, plan, seconds, *, beside=0, updates=200):
    """Runs that have trained for so many seconds, and did other things for others."""

    def change(cell, result):
        result["updates"] = updates
        result["choices"]["device"] = "cpu"
        result["measured"] |= {"train_seconds": seconds, "total_seconds": seconds + beside}

    write_store(pool, plan, change=change)


def of(plan, pool):
    return expected.expected(plan, look(plan, pool))


@pytest.fixture(autouse=True)
def _on_a_cpu(monkeypatch):
    monkeypatch.setattr(expected, "pick_device", lambda name: torch.device("cpu"))


def test_a_run_takes_what_finished_ones_of_the_same_model_took_an_update(tmp_path):
    finished(tmp_path, planned(run(16, 0), run(16, 1)), seconds=50)
    found = of(planned(run(16, 2, updates=400), run(16, 3, updates=100)), tmp_path)
    assert (found.seconds, found.alike, found.scaled) == (pytest.approx(500 * 50 / 200), 2, 0)


def test_what_comes_beside_training_is_counted_once_a_run(tmp_path):
    finished(tmp_path, planned(run(16, 0)), seconds=50, beside=7)
    todo = planned(run(16, 2, updates=400), run(32, 3, updates=200))
    found = of(todo, tmp_path)
    alone = of(planned(run(16, 2, updates=400)), tmp_path)
    assert alone.seconds == pytest.approx(107)
    shape = {"image_size": 28, "in_chans": 1, "num_classes": 10}
    flops = [count_flops(ViT(dim=dim, depth=1, patch_size=7), **shape) for dim in (16, 32)]
    assert found.seconds == pytest.approx(107 + 7 + 50 * flops[1] / flops[0])


def test_runs_that_train_under_a_second_tell_only_of_runs_as_short(tmp_path):
    """As those of a smoke test, whose two updates pay for all that is done once."""
    finished(tmp_path, planned(run(16, 0)), seconds=0.4, beside=2, updates=2)
    assert of(planned(run(16, 1, updates=2)), tmp_path).seconds == pytest.approx(2.4)
    for longer in (run(16, 1), run(32, 1)):
        assert of(planned(longer), tmp_path).seconds is None


def test_a_fit_without_updates_says_nothing_of_the_time_of_an_update(tmp_path):
    fit = run(16, 0, updates=0)
    fit["model"] = {"kind": "LogisticRegression"}
    finished(tmp_path, planned(run(16, 0), fit), seconds=50)
    todo = run(16, 0)
    todo["model"] = {"kind": "ResNet", "width": 4, "blocks": 1}
    finished(tmp_path / "trained alone", planned(run(16, 0)), seconds=50)
    assert of(planned(todo), tmp_path) == of(planned(todo), tmp_path / "trained alone")


def test_finished_runs_of_kinds_that_are_not_here_tell_nothing(tmp_path):
    unknown = run(16, 0)
    unknown["model"] = {"kind": "OfAnotherLab"}
    finished(tmp_path, planned(unknown, run(16, 0)), seconds=50)
    found = of(planned(run(16, 2)), tmp_path)
    assert (found.seconds, found.alike) == (pytest.approx(50), 1)


def test_another_model_takes_as_much_more_as_its_flops(tmp_path):
    finished(tmp_path, planned(run(16, 0)), seconds=50)
    shape = {"image_size": 28, "in_chans": 1, "num_classes": 10}
    small, large = (ViT(dim=dim, depth=1, patch_size=7) for dim in (16, 64))
    found = of(planned(run(64, 2, batch_size=64)), tmp_path)
    ratio = count_flops(large, **shape) / count_flops(small, **shape)
    assert (found.seconds, found.alike, found.scaled) == (pytest.approx(50 * 2 * ratio), 0, 1)
    assert found.bytes == 36 * 1024 + 4 * count_params(large, **shape)


def test_the_disk_holds_all_that_is_stored_of_a_model_not_only_what_is_trained(tmp_path):
    @as_model
    def MostlyFrozen(num_classes):
        first = nn.Linear(784, 784).requires_grad_(False)
        return nn.Sequential(nn.Flatten(), first, nn.Linear(784, num_classes))

    todo = run(16, 0)
    todo["model"] = {"kind": "MostlyFrozen"}
    assert of(planned(todo), tmp_path).bytes == 36 * 1024 + 4 * (784 * 785 + 785 * 10)


def test_nothing_is_said_where_no_run_is_finished(tmp_path):
    found = of(planned(run(16, 0)), tmp_path)
    assert (found.seconds, found.alike, found.scaled) == (None, 0, 0)


def test_what_is_done_takes_nothing_more(tmp_path):
    plan = planned(run(16, 0), run(16, 1))
    finished(tmp_path, plan, seconds=50)
    assert of(plan, tmp_path) == expected.Expected(0.0, 0, 0, 0)
