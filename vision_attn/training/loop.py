"""The training loop: a generator of history rows."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vision_attn.data.augment import crop, flip
from vision_attn.data.base import Split
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.choices import Choices
from vision_attn.training.compiling import objective
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
    augmentation and label smoothing), val_accuracy where there is a val split, and seconds. The caller may stop
    after any update, keep `state.state_dict()` and continue later, bit for bit. Raises `Diverged`: on a CPU at the
    update itself, before its step; on a GPU at the next row, naming the first such update.
    """
    model = choices.arranged(state.model).train()
    compute_loss = objective(model, choices, label_smoothing=recipe.label_smoothing)
    order = Order(state.streams, train_size=len(train), batch_size=recipe.batch_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    begun = time.perf_counter() - state.seconds
    while state.update < state.num_updates:
        update = state.update + 1
        images, labels = _batch(state, order.batch(update), train, flip=flip and recipe.flip, recipe=recipe)
        state.streams.seed_dropout(update)
        loss = compute_loss(model, normalise(images), labels)
        state.optimizer.zero_grad()
        loss.backward()
        norm = _clipped(parameters, recipe.clip_grad)
        is_row = update == state.num_updates or update * ROWS // state.num_updates > state.update * ROWS // state.num_updates
        _watch(state, loss.detach(), norm, update, is_row)
        state.scheduler.step_update(update)
        state.optimizer.step()
        state.update, state.seconds = update, time.perf_counter() - begun
        yield _row(state, train, val, normalise, recipe, choices) if is_row else None
