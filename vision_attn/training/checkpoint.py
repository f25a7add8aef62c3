"""Checkpoint: the exact state of a training in progress, and its bytes."""

import copy
import hashlib
import io
import math
import pickle
from typing import Any

import safetensors.torch
import torch
from torch import nn

from vision_attn.layers import grid_known
from vision_attn.training.recipe import STALL, Recipe
from vision_attn.training.seeding import Streams

MAGIC = b"vision-attn checkpoint 2\n"
HEADER = len(MAGIC) + hashlib.sha256().digest_size


class DamagedCheckpoint(ValueError):
    """The bytes are not those of a checkpoint, or not all of them, or not unchanged."""


class TrainState:
    """A model in training: the model, its optimiser and schedule, and the number of updates made.

    The place in the order of images and all random numbers follow from `update` and the seed of `streams`. `seconds`
    is the time that training took so far.
    `loss_sum` is the sum of the losses since the last history row, `first_bad` the first update with a non-finite
    loss or gradient (0: none); both are on the model's device, so that a GPU is not waited for at every update.
    `best_loss` is the last training loss of a row that lay `STALL` below all before it, `rows_since` the number of
    rows after that one.
    """

    def __init__(self, model: nn.Module, *, recipe: Recipe, streams: Streams, num_updates: int) -> None:
        device = next(model.parameters()).device
        self.model, self.streams, self.num_updates = model, streams, num_updates
        self.patience = recipe.patience
        self.optimizer = recipe.make_optimizer(model)
        self.scheduler = recipe.make_scheduler(self.optimizer, num_updates=num_updates)
        self.update = 0
        self.window = 0
        self.seconds = 0.0
        self.best_loss, self.rows_since = math.inf, 0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.first_bad = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def stalled(self) -> bool:
        """Whether the training loss has not fallen for as many rows as the recipe's patience, or can fall no more."""
        return self.patience is not None and (self.rows_since >= self.patience or self.best_loss < STALL)

    @property
    def ended(self) -> bool:
        """Whether no update is left to make."""
        return self.stalled or self.update >= self.num_updates

    def close_row(self) -> float:
        """The mean loss since the row before; a new row begins."""
        loss = self.loss_sum.item() / self.window
        self.loss_sum.zero_()
        self.window = 0
        if loss <= self.best_loss - STALL:
            self.best_loss, self.rows_since = loss, 0
        else:
            self.rows_since += 1
        return loss

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that training changes: tensors, numbers and texts in dicts and lists."""
        return copy.deepcopy(
            {
                "model": dict(self.model.state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "num_updates": self.num_updates,
                "seed": self.streams.seed,
                "update": self.update,
                "window": self.window,
                "seconds": self.seconds,
                "best_loss": self.best_loss,
                "rows_since": self.rows_since,
                "loss_sum": self.loss_sum,
                "first_bad": self.first_bad,
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which this run's own `state_dict` gave."""
        assert state["num_updates"] == self.num_updates, "a changed budget is another run"
        assert state["seed"] == self.streams.seed, "a changed seed is another run"
        load(self.model, state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.update, self.window, self.seconds = state["update"], state["window"], state["seconds"]
        self.best_loss, self.rows_since = state["best_loss"], state["rows_since"]
        self.loss_sum.copy_(state["loss_sum"])
        self.first_bad.copy_(state["first_bad"])


def load(model: nn.Module, state: dict[str, Any]) -> None:
    """Load the weights of a run into its model: they are of the model's own token grid."""
    with grid_known(model):
        model.load_state_dict(state)


def weights_to_bytes(model: nn.Module) -> bytes:
    """The weights of a model as a file of safetensors; those that have several names in it stand under each."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    apart = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    return safetensors.torch.save(apart)


def load_weights(model: nn.Module, payload: bytes) -> None:
    """Load the weights that `weights_to_bytes` wrote."""
    load(model, safetensors.torch.load(payload))


def to_bytes(state: dict[str, Any]) -> bytes:
    """The state as bytes that know whether they are whole: magic line, sha256 of the payload, payload of torch.save."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return MAGIC + hashlib.sha256(payload).digest() + payload


def from_bytes(data: bytes) -> dict[str, Any]:
    """The state that `to_bytes` wrote. Executes no code from it. Raises `DamagedCheckpoint` on anything else."""
    payload = data[HEADER:]
    if data[:HEADER] != MAGIC + hashlib.sha256(payload).digest():
        raise DamagedCheckpoint("The checkpoint is not complete and unchanged: its sha256 does not match.")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DamagedCheckpoint("The checkpoint holds something else than tensors, numbers and texts.") from error
