import math

import pytest
import torch
from tiny_training import TinyAttention, TinyConv
from torch import nn

from vision_attn.spec import InputError, from_json, to_json
from vision_attn.training import Recipe


def schedule(recipe: Recipe, num_updates: int) -> list[float]:
    optimizer = recipe.make_optimizer(nn.Linear(2, 2))
    scheduler = recipe.make_scheduler(optimizer, num_updates=num_updates)
    rates = []
    for update in range(1, num_updates + 1):
        scheduler.step_update(update)
        rates.append({group["lr"] for group in optimizer.param_groups})
    assert all(len(rate) == 1 for rate in rates)
    return [rate.pop() for rate in rates]


@pytest.mark.parametrize("num_updates", [1, 2, 10, 137])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1, 0.9])
def test_cosine_schedule_equals_the_closed_formula(num_updates, warmup_fraction):
    rates = schedule(Recipe(updates=num_updates, warmup_fraction=warmup_fraction, learning_rate=0.3), num_updates)
    w = min(round(warmup_fraction * num_updates), num_updates - 1)
    for update, rate in enumerate(rates, start=1):
        after = (update - w) / (num_updates - w + 1)
        expected = 0.3 * update / w if update <= w else 0.3 * math.cos(math.pi / 2 * after) ** 2
        assert rate == pytest.approx(expected, rel=1e-9)
    assert min(rates) > 0


def test_constant_schedule_warms_up_and_stays():
    rates = schedule(Recipe(updates=20, warmup_fraction=0.2, schedule="constant", learning_rate=0.1), 20)
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4:] == [0.1] * 16


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nadamuon"])
@pytest.mark.parametrize("make_model", [TinyConv, TinyAttention])
def test_only_weight_matrices_and_kernels_are_decayed(optimizer, make_model):
    model = make_model()
    groups = Recipe(updates=1, optimizer=optimizer, weight_decay=0.1).make_optimizer(model).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] == 0.1 for p in group["params"]}
    spared = {id(p) for group in groups if group["weight_decay"] == 0.0 for p in group["params"]}
    assert len(decayed) + len(spared) == len(list(model.parameters()))
    kinds = (nn.Linear, nn.Conv2d)
    assert decayed == {id(module.weight) for module in model.modules() if isinstance(module, kinds)}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_fused_kernel_takes_the_same_step_as_the_plain_one(optimizer):
    torch.manual_seed(0)
    models = [TinyConv().to(memory_format=torch.channels_last) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    made = [Recipe(updates=1, optimizer=optimizer).make_optimizer(model) for model in models]
    for group in made[1].param_groups:
        assert group["fused"] is True
        group["fused"] = False
    for _ in range(3):
        for fused, plain in zip(models[0].parameters(), models[1].parameters(), strict=True):
            fused.grad = torch.randn_like(fused)
            plain.grad = fused.grad.clone()
        made[0].step()
        made[1].step()
    for fused, plain in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)


def test_a_budget_of_updates_does_not_depend_on_the_training_size():
    assert {Recipe(updates=70).num_updates(size) for size in (10, 1000, 50_000)} == {70}


@pytest.mark.parametrize(
    ("epochs", "train_size", "updates"), [(10, 1280, 100), (0.5, 1000, 4), (1, 10, 1), (3, 200, 5)]
)
def test_a_budget_of_epochs_is_rounded_to_updates(epochs, train_size, updates):
    assert Recipe(epochs=epochs).num_updates(train_size) == updates


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "updates of Recipe must be given where epochs is not, and at least 0. Got None instead."),
        ({"updates": -1}, "updates of Recipe must be given where epochs is not, and at least 0. Got -1 instead."),
        ({"updates": 5, "epochs": 1}, "updates of Recipe must be None where epochs is given. Got 5 instead."),
        ({"epochs": 0}, "epochs of Recipe must be more than 0. Got 0.0 instead."),
        ({"updates": 5, "batch_size": 0}, "batch_size of Recipe must be at least 1. Got 0 instead."),
        ({"updates": 5, "learning_rate": 0}, "learning_rate of Recipe must be more than 0. Got 0.0 instead."),
        ({"updates": 5, "weight_decay": -1}, "weight_decay of Recipe must be at least 0. Got -1.0 instead."),
        ({"updates": 5, "clip_grad": 0}, "clip_grad of Recipe must be None or more than 0. Got 0.0 instead."),
        (
            {"updates": 5, "label_smoothing": 1},
            "label_smoothing of Recipe must be at least 0 and less than 1. Got 1.0 instead.",
        ),
        (
            {"updates": 5, "optimizer": "adam"},
            "optimizer of Recipe must be one of 'adamw', 'sgd', 'nadamuon'. Got 'adam' instead.",
        ),
    ],
)
def test_fields_out_of_range_are_refused_with_a_sentence(fields, sentence):
    with pytest.raises(InputError) as caught:
        Recipe(**fields)
    assert str(caught.value) == sentence


def test_a_recipe_survives_json():
    recipe = Recipe(epochs=2.5, clip_grad=None, optimizer="sgd")
    assert from_json(to_json(recipe), Recipe) == recipe


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_complex_parameters_are_trained_too(optimizer):
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    made = Recipe(updates=1, optimizer=optimizer).make_optimizer(model)
    (model.scale * torch.arange(3)).abs().sum().backward()
    made.step()
    assert model.scale.is_complex()
    assert not torch.equal(model.scale, torch.ones(3, dtype=torch.complex64))
    assert Recipe(updates=1).make_optimizer(nn.Linear(2, 2)).param_groups[0]["fused"]
