"""The training loop: a generator of history rows."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vision_attn.data import augment
from vision_attn.data.base import Split, Stream
from vision_attn.data.mixing import mixed
from vision_attn.data.rand_augment import rand_augment
from vision_attn.models.fitted import FittedClassifier
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compiling import compiled_cross_entropy, cross_entropy
from vision_attn.training.compute import ComputeSettings, keep_memory
from vision_attn.training.evaluate import accuracy
from vision_attn.training.recipe import Recipe
from vision_attn.training.seeding import Order

Row = dict[str, Any]


class Diverged(ArithmeticError):
    """The loss or the norm of the gradient was not finite at `update`."""

    def __init__(self, update: int) -> None:
        super().__init__(f"The loss or the gradient was not finite at update {update}.")
        self.update = update


def train(
    state: TrainState,
    *,
    train: Split | Stream,
    val: Split | None,
    normalise: Callable[[Tensor], Tensor],
    flip: bool,
    recipe: Recipe,
    choices: ComputeSettings,
    num_classes: int | None = None,
) -> Iterator[Row | None]:
    """Train to the end of the budget, or until the loss stalls; after every update yield a history row or None.

    A row has update, epoch (not of a stream), images_seen, the update's learning_rate, train_loss (mean since the row
    before, under augmentation and label smoothing), and val_accuracy where there is a val split; no clock, so rows are
    repeatable. `num_classes` is needed where images are mixed. The caller may stop after any update, keep
    `state.state_dict()` and continue later, bit for bit.
    Raises `Diverged`: on a CPU at the update itself, before its step; on a GPU at the next row, naming the first such.
    A `FittedClassifier` is fitted at once, without rows.
    """
    keep_memory()
    if isinstance(state.model, FittedClassifier):
        _fit(state.model, state, train=train, normalise=normalise)
        yield None
        return
    model = choices.arranged(state.model).train()
    objective = compiled_cross_entropy(model) if choices.compile else cross_entropy
    batch = inputs(train, state, normalise=normalise, flip=flip, recipe=recipe, num_classes=num_classes)
    begun = time.perf_counter() - state.seconds
    while not state.ended:
        update = state.update + 1
        is_row = closes_row(update, num_updates=state.num_updates, recipe=recipe)
        images, labels = batch(update)
        state.streams.seed_dropout(update)
        with choices.autocast():
            loss = objective(model, images, labels, recipe.label_smoothing)
        state.optimizer.zero_grad()
        loss.backward()
        norm = _clip(model, recipe.clip_grad)
        tally(state, loss.detach(), norm, update=update)
        state.window += 1
        if (is_row or loss.device.type == "cpu") and (first_bad := int(state.first_bad)):
            raise Diverged(first_bad)
        state.scheduler.step_update(update)
        state.optimizer.step()
        state.update, state.seconds = update, time.perf_counter() - begun
        if is_row:
            yield history_row(state, train=train, val=val, normalise=normalise, recipe=recipe, choices=choices)
        else:
            yield None


def _fit(
    model: FittedClassifier, state: TrainState, *, train: Split | Stream, normalise: Callable[[Tensor], Tensor]
) -> None:
    """Fit a model that takes all training images at once, as they are."""
    assert isinstance(train, Split), "checked before training"
    begun = time.perf_counter()
    model.fit(normalise(train.images), train.labels, seed=state.streams.fitting)
    state.seconds = time.perf_counter() - begun


def closes_row(update: int, *, num_updates: int, recipe: Recipe) -> bool:
    """Whether a history row ends with this update."""
    return update * recipe.history_rows // num_updates > (update - 1) * recipe.history_rows // num_updates


def inputs(
    train: Split | Stream,
    state: TrainState,
    *,
    normalise: Callable[[Tensor], Tensor],
    flip: bool,
    recipe: Recipe,
    num_classes: int | None,
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """What the model gets in update 1, 2, ...: augmented and normalised images, and their labels."""
    batch = _batches(train, state, recipe)

    def of(update: int) -> tuple[Tensor, Tensor]:
        images, labels = batch(update)
        generator = state.streams.augmentation(update)
        images = _augmented(images, generator, recipe=recipe, flip=flip)
        if recipe.mixup or recipe.cutmix:
            assert num_classes is not None
            alphas = {"mixup": recipe.mixup, "cutmix": recipe.cutmix}
            images, labels = mixed(images.float(), labels, num_classes=num_classes, generator=generator, **alphas)
        images = normalise(images)
        if recipe.patch_drop:
            share, size = recipe.patch_drop, recipe.patch_drop_size
            images = augment.drop_patches(images, share=share, patch_size=size, generator=generator)
        return images, labels

    return of


def _batches(train: Split | Stream, state: TrainState, recipe: Recipe) -> Callable[[int], tuple[Tensor, Tensor]]:
    """The images and labels of update 1, 2, ..., as they are: from shuffled epochs, or fresh ones."""
    if isinstance(train, Stream):

        def fresh(update: int) -> tuple[Tensor, Tensor]:
            drawn = train.draw(recipe.batch_size, generator=state.streams.samples(update))
            return drawn.images, drawn.labels

        return fresh
    order = Order(state.streams, train_size=len(train), batch_size=recipe.batch_size)

    def picked(update: int) -> tuple[Tensor, Tensor]:
        indices = order.batch(update).to(train.images.device)
        return train.images.index_select(0, indices), train.labels[indices]

    return picked


def _augmented(images: Tensor, generator: torch.Generator, *, recipe: Recipe, flip: bool) -> Tensor:
    if recipe.crop_padding:
        images = augment.crop(images, padding=recipe.crop_padding, generator=generator)
    if recipe.flip and flip:
        images = augment.flip(images, generator=generator)
    if recipe.rand_augment is not None:
        images = rand_augment(images, magnitude=recipe.rand_augment, generator=generator)
    return images


def _clip(model: nn.Module, bound: float | None) -> Tensor:
    """Scale the gradient to a norm of at most `bound`; returns the norm over all parameters before that."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if bound is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), bound, norm)
    return norm


class Totals(Protocol):
    """What is counted on the device since the last history row: of one training scalars, of a stack one a member."""

    loss_sum: Tensor
    first_bad: Tensor


def tally(totals: Totals, loss: Tensor, norm: Tensor, *, update: int | Tensor) -> None:
    """Sum up the loss; remember the first update of which the loss or the gradient is not finite."""
    totals.loss_sum += loss
    bad = ~(loss.isfinite() & norm.isfinite()) & (totals.first_bad == 0)
    totals.first_bad.copy_(torch.where(bad, update, totals.first_bad))


def history_row(
    state: TrainState,
    *,
    train: Split | Stream,
    val: Split | None,
    normalise: Callable[[Tensor], Tensor],
    recipe: Recipe,
    choices: ComputeSettings,
) -> Row:
    """The history row that ends with the update just made; the next one begins."""
    images_seen = state.update * recipe.batch_size
    row: Row = {"update": state.update}
    if not isinstance(train, Stream):
        row["epoch"] = images_seen / len(train)
    row["images_seen"] = images_seen
    row["learning_rate"] = state.optimizer.param_groups[0]["lr"]
    row["train_loss"] = state.close_row()
    if val is not None:
        with choices.autocast():
            row["val_accuracy"] = accuracy(state.model, val, normalise=normalise)
    return row
