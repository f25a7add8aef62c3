import dataclasses
import math

import pytest
import torch
from tiny_training import EAGER, TinyAttention, TinyConv, bits, data, rows, start, steps
from torch import nn

from vision_attn.training import Diverged, Recipe, train

MODELS = [TinyConv, TinyAttention]
PRECISIONS = ["fp32", "bf16"]


def trained(make_model, recipe, *, seed=0, images=None, choices=EAGER):
    images = images or data()
    state = start(make_model, recipe, seed=seed, train_size=len(images.train))
    found = rows(steps(state, recipe, images, choices))
    return bits(state.model), found


@pytest.mark.parametrize("make_model", MODELS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_seed_gives_same_bits_and_another_seed_others(make_model, precision):
    recipe = Recipe(updates=6, batch_size=16)
    choices = dataclasses.replace(EAGER, precision=precision)
    first = trained(make_model, recipe, choices=choices)
    torch.rand(3)
    assert trained(make_model, recipe, choices=choices) == first
    other = trained(make_model, recipe, seed=1, choices=choices)
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_what_happens_between_two_updates_changes_nothing():
    recipe, images = Recipe(updates=6, batch_size=16), data()
    state = start(TinyConv, recipe)
    for _ in steps(state, recipe, images):
        torch.manual_seed(99)
        state.model.eval()
        torch.rand(5)
        state.model.train()
    assert bits(state.model) == trained(TinyConv, recipe)[0]


def batches_seen(make_model, recipe, images):
    seen = []

    def normalise(batch):
        seen.append(batch.clone())
        return images.normalise(batch)

    state = start(make_model, recipe, train_size=len(images.train))
    list(
        train(state, train=images.train, val=None, normalise=normalise, flip=images.flip, recipe=recipe, choices=EAGER)
    )
    return seen


def test_two_models_see_the_same_images_in_the_same_order_under_the_same_crops_and_flips():
    recipe, images = Recipe(updates=5, batch_size=16), data()
    conv, attention = (batches_seen(make_model, recipe, images) for make_model in MODELS)
    assert len(conv) == 5
    assert all(torch.equal(a, b) for a, b in zip(conv, attention, strict=True))


def test_without_crop_and_flip_every_image_of_an_epoch_is_seen_once_as_it_is():
    images = data(32)
    seen = torch.cat(batches_seen(TinyConv, Recipe(updates=2, batch_size=16, crop_padding=0, flip=False), images))
    key = seen.flatten(1).double() @ torch.arange(seen[0].numel()).double()
    expected = images.train.images.flatten(1).double() @ torch.arange(seen[0].numel()).double()
    assert torch.equal(key.sort().values, expected.sort().values)


def test_no_image_is_flipped_where_the_data_set_forbids_it():
    images, recipe = data(), Recipe(updates=4, batch_size=16)
    forbidden = batches_seen(TinyConv, recipe, dataclasses.replace(images, flip=False))
    switched_off = batches_seen(TinyConv, recipe.replace(flip=False), images)
    allowed = batches_seen(TinyConv, recipe, images)
    assert torch.equal(torch.cat(forbidden), torch.cat(switched_off))
    assert not torch.equal(torch.cat(forbidden), torch.cat(allowed))


@pytest.mark.parametrize("train_size", [10, 1000])
def test_images_seen_do_not_depend_on_the_training_size(train_size):
    recipe, images = Recipe(updates=7, batch_size=32), data(train_size)
    seen = batches_seen(TinyConv, recipe, images)
    assert [len(batch) for batch in seen] == [32] * 7
    last = trained(TinyConv, recipe, images=images)[1][-1]
    assert last["images_seen"] == 7 * 32
    assert last["epoch"] == 7 * 32 / train_size


@pytest.mark.parametrize("updates", [1, 7, 20, 33, 100])
def test_rows_are_even_and_the_last_update_has_one(updates):
    recipe = Recipe(updates=updates, batch_size=2, crop_padding=0)
    state = start(TinyAttention, recipe)
    yielded = list(steps(state, recipe, data()))
    assert len(yielded) == updates
    places = [row["update"] for row in yielded if row is not None]
    assert len(places) == min(updates, recipe.history_rows)
    assert places[-1] == updates
    gaps = [b - a for a, b in zip([0, *places], places, strict=False)]
    assert max(gaps) - min(gaps) <= 1
    assert [i for i, row in enumerate(yielded, start=1) if row is not None] == places


def test_train_loss_is_the_mean_since_the_row_before():
    def losses(updates: int) -> list[float]:
        recipe = Recipe(updates=updates, batch_size=8, schedule="constant", warmup_fraction=0)
        return [row["train_loss"] for row in trained(TinyConv, recipe)[1]]

    every_update, every_third = losses(20), losses(60)
    for k in range(6):
        assert every_third[k] == pytest.approx(sum(every_update[3 * k : 3 * k + 3]) / 3, rel=1e-12)


def test_rows_carry_the_learning_rate_of_their_update():
    recipe = Recipe(updates=10, batch_size=4, warmup_fraction=0.5, learning_rate=0.01)
    state = start(TinyAttention, recipe)
    found = list(steps(state, recipe, data()))
    assert [row["learning_rate"] for row in found[:5]] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    cosine = [0.005 * (1 + math.cos(math.pi * k / 6)) for k in range(1, 6)]
    assert [row["learning_rate"] for row in found[5:]] == pytest.approx(cosine)


def test_val_accuracy_is_measured_only_where_there_is_a_val_split():
    recipe = Recipe(updates=3, batch_size=8)
    with_val = trained(TinyConv, recipe, images=data(val_size=20))
    without = trained(TinyConv, recipe, images=data())
    assert all(row["val_accuracy"] * 20 == pytest.approx(round(row["val_accuracy"] * 20)) for row in with_val[1])
    assert all("val_accuracy" not in row for row in without[1])
    assert with_val[0] == without[0]


def test_training_learns_two_colours():
    images = data(40)
    labels = torch.arange(40) % 2
    painted = images.train.images // 8 + (labels * 200).to(torch.uint8).view(-1, 1, 1, 1)
    images = dataclasses.replace(images, train=dataclasses.replace(images.train, images=painted, labels=labels))
    recipe = Recipe(updates=60, batch_size=16, learning_rate=1e-2)
    for make_model in MODELS:
        found = trained(make_model, recipe, images=images)[1]
        assert found[-1]["train_loss"] < 0.1 < found[0]["train_loss"]


@pytest.mark.parametrize("field", ["label_smoothing", "clip_grad", "weight_decay", "batch_size", "learning_rate"])
def test_every_switch_has_an_effect(field):
    value = {"label_smoothing": 0.2, "clip_grad": 0.01, "weight_decay": 0.5, "batch_size": 8, "learning_rate": 0.01}
    recipe = Recipe(updates=4, batch_size=16, optimizer="sgd", clip_grad=None)
    assert trained(TinyConv, recipe.replace(**{field: value[field]}))[0] != trained(TinyConv, recipe)[0]


def test_clipping_bounds_the_step():
    recipe = Recipe(
        updates=1, batch_size=16, optimizer="sgd", learning_rate=1.0, weight_decay=0, clip_grad=0.01, warmup_fraction=0
    )
    state = start(TinyAttention, recipe)
    before = nn.utils.parameters_to_vector(state.model.parameters()).detach().clone()
    (row,) = steps(state, recipe, data())
    moved = (nn.utils.parameters_to_vector(state.model.parameters()).detach() - before).norm().item()
    # Nesterov momentum 0.9: the first step is (1 + 0.9) times the gradient.
    assert moved == pytest.approx(1.9 * row["learning_rate"] * 0.01, rel=1e-3)


class Poisoned(TinyConv):
    """Turns infinite, or its gradient not a number, at one forward pass."""

    def __init__(self, at: int, *, gradient: bool) -> None:
        super().__init__()
        self.at, self.gradient, self.passes = at, gradient, 0

    def forward(self, x):
        self.passes += 1
        out = super().forward(x)
        if self.passes != self.at:
            return out
        if self.gradient:
            out.register_hook(lambda grad: grad * math.nan)
            return out
        return out * math.inf


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("at", [1, 3, 25])
def test_a_loss_or_gradient_that_is_not_finite_ends_the_run_at_its_update(gradient, at):
    recipe = Recipe(updates=40, batch_size=4)
    state = start(lambda: Poisoned(at, gradient=gradient), recipe)
    with pytest.raises(Diverged) as caught:
        list(steps(state, recipe, data()))
    assert caught.value.update == at
    assert state.update == at - 1
    assert all(parameter.isfinite().all() for parameter in state.model.parameters())


def test_an_absurd_learning_rate_diverges():
    recipe = Recipe(updates=40, batch_size=16, optimizer="sgd", learning_rate=1e30, warmup_fraction=0, clip_grad=None)
    state = start(TinyAttention, recipe)
    with pytest.raises(Diverged) as caught:
        list(steps(state, recipe, data()))
    assert 2 <= caught.value.update <= 5
    assert str(caught.value) == f"The loss or the gradient was not finite at update {caught.value.update}."


def test_a_bad_update_found_out_late_is_named_at_the_next_row():
    recipe = Recipe(updates=40, batch_size=4)
    state = start(TinyConv, recipe)
    state.first_bad.fill_(3)  # as a GPU leaves it, which is not waited for
    with pytest.raises(Diverged) as caught:
        list(steps(state, recipe, data()))
    assert caught.value.update == 3
