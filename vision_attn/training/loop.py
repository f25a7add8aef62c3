"""The training loop: a generator of history rows."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vision_attn.data import augment
from vision_attn.data.base import Split
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.choices import Choices, keep_memory
from vision_attn.training.compiling import compiled_cross_entropy, cross_entropy
from vision_attn.training.evaluate import accuracy
from vision_attn.training.recipe import Recipe
from vision_attn.training.seeding import Order

ROWS = 20
"""History rows of a run, evenly spread over its updates."""

Row = dict[str, Any]


class Diverged(ArithmeticError):
    """The loss or the norm of the gradient was not finite at `update`."""

    def __init__(self, update: int) -> None:
        super().__init__(f"The loss or the gradient was not finite at update {update}.")
        self.update = update


def train(
    state: TrainState,
    *,
    train: Split,
    val: Split | None,
    normalise: Callable[[Tensor], Tensor],
    flip: bool,
    recipe: Recipe,
    choices: Choices,
) -> Iterator[Row | None]:
    """Train to the end of the budget; after every update yield a history row or, between the rows, None.

    A row has update, epoch, images_seen, the update's learning_rate, train_loss (mean since the row before, under
    augmentation and label smoothing), and val_accuracy where there is a val split; no clock, so rows are repeatable.
    The caller may stop after any update, keep `state.state_dict()` and continue later, bit for bit. Raises `Diverged`:
    on a CPU at the update itself, before its step; on a GPU at the next row, naming the first such update.
    """
    keep_memory()
    model = choices.arranged(state.model).train()
    objective = compiled_cross_entropy(model) if choices.compile else cross_entropy
    order = Order(state.streams, train_size=len(train), batch_size=recipe.batch_size)
    begun = time.perf_counter() - state.seconds
    while state.update < state.num_updates:
        update = state.update + 1
        is_row = update * ROWS // state.num_updates > state.update * ROWS // state.num_updates
        indices = order.batch(update).to(train.images.device)
        generator = state.streams.augmentation(update)
        images = _augmented(train.images.index_select(0, indices), generator, recipe=recipe, flip=flip)
        state.streams.seed_dropout(update)
        with choices.autocast():
            loss = objective(model, normalise(images), train.labels[indices], recipe.label_smoothing)
        state.optimizer.zero_grad()
        loss.backward()
        norm = _clip(model, recipe.clip_grad)
        _watch(state, loss.detach(), norm, update, is_row)
        state.scheduler.step_update(update)
        state.optimizer.step()
        state.update, state.seconds = update, time.perf_counter() - begun
        yield _row(state, train, val, normalise, recipe, choices) if is_row else None


def _augmented(images: Tensor, generator: torch.Generator, *, recipe: Recipe, flip: bool) -> Tensor:
    if recipe.crop_padding:
        images = augment.crop(images, padding=recipe.crop_padding, generator=generator)
    if recipe.flip and flip:
        images = augment.flip(images, generator=generator)
    return images


def _clip(model: nn.Module, bound: float | None) -> Tensor:
    """Scale the gradient to a norm of at most `bound`; returns the norm over all parameters before that."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if bound is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), bound, norm)
    return norm


def _watch(state: TrainState, loss: Tensor, norm: Tensor, update: int, is_row: bool) -> None:
    """Sum up the loss; remember the first update that is not finite, and raise `Diverged` where waiting is free."""
    state.loss_sum += loss
    state.window += 1
    bad = ~(loss.isfinite() & norm.isfinite()) & (state.first_bad == 0)
    state.first_bad.masked_fill_(bad, update)
    if (is_row or loss.device.type == "cpu") and (first_bad := int(state.first_bad)):
        raise Diverged(first_bad)


def _row(
    state: TrainState,
    train: Split,
    val: Split | None,
    normalise: Callable[[Tensor], Tensor],
    recipe: Recipe,
    choices: Choices,
) -> Row:
    images_seen = state.update * recipe.batch_size
    row = {
        "update": state.update,
        "epoch": images_seen / len(train),
        "images_seen": images_seen,
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "train_loss": state.loss_sum.item() / state.window,
    }
    state.loss_sum.zero_()
    state.window = 0
    if val is not None:
        with choices.autocast():
            row["val_accuracy"] = accuracy(state.model, val, normalise=normalise)
    return row
