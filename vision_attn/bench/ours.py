"""Ours: updates of the suite's own training, alone and in stacks, and the least that they move in memory."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vision_attn.bench.cases import Case
from vision_attn.bench.gains import MODELS, SHAPE
from vision_attn.bench.timing import Effort
from vision_attn.data import Data
from vision_attn.models.size import params_of
from vision_attn.training import Recipe, train
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compiling import cross_entropy
from vision_attn.training.compute import ComputeSettings, choose, deterministic
from vision_attn.training.seeding import Streams
from vision_attn.training.stacked import Stack

UPDATES = 1_000_000
"""More than are waited for; the history of a run that is timed has one row, at their end."""
BYTES_PER_PARAMETER = 40
"""float32, each 4 bytes: the weight read forward and backward; its gradient written; weight, gradient and two moments
read by the optimiser, and all but the gradient written."""


def settle(device: torch.device, threads: int) -> None:
    """Set the process as runs set theirs."""
    deterministic(threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


@functools.cache
def random_data(size: int, device: torch.device) -> Data:
    """Colour images of 32 x 32 pixels like those of CIFAR-10 in all but content."""
    generator = torch.Generator().manual_seed(0)
    side, channels = SHAPE["image_size"], SHAPE["in_chans"]
    images = torch.randint(256, (size, channels, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.arange(size) % SHAPE["num_classes"]
    return dataclasses.replace(Data.from_tensors(images, labels), flip=True).to(device)


class Ours:
    """The training of a case in our loop: `start` begins its updates; then `reason` says why there is no graph."""

    def __init__(self, case: Case, data: Data, *, device: torch.device, threads: int, effort: Effort) -> None:
        self.case, self.data, self.device, self.threads = case, data, device, threads
        self.recipe = _recipe(effort)
        self.stack: Stack | None = None

    def start(self) -> Iterator[Any]:
        """Build the models and begin to train: an iterator that makes an update at every step."""
        case, data, recipe = self.case, self.data, self.recipe
        states = [_state(case.model, seed, recipe, self.device) for seed in range(case.stack)]
        chosen = choose(recipe, states[0].model, data=data, device=self.device, threads=self.threads)
        graph = case.mode == "graph" and not chosen.graph_reason
        choices = dataclasses.replace(chosen, compile=case.mode == "compiled", graph=graph)
        if case.is_alone:
            return train(
                states[0],
                train=data.train,
                val=None,
                normalise=data.normalise,
                flip=data.flip,
                recipe=recipe,
                choices=choices,
            )
        self.stack = Stack(states, data=[data] * case.stack, recipe=recipe, choices=choices.together(case.stack))
        return self.stack.train()

    def stop(self) -> None:
        """Let go of what was trained."""
        self.stack = None

    @property
    def reason(self) -> str:
        """Why the update was not captured though that was asked for."""
        if self.stack is None or self.case.mode != "graph" or self.stack.choices.graph:
            return ""
        return f"not captured: {self.stack.choices.graph_reason}"


def _recipe(effort: Effort) -> Recipe:
    return Recipe(updates=UPDATES, history_rows=1, batch_size=effort.batch_size, compile="off")


def _state(name: str, seed: int, recipe: Recipe, device: torch.device) -> TrainState:
    streams = Streams(seed, device)
    with streams.initialising():
        model = MODELS[name].build(**SHAPE)
    return TrainState(model.to(device), recipe=recipe, streams=streams, num_updates=recipe.num_updates(None))


def least_bytes(name: str, device: torch.device, threads: int, effort: Effort) -> int:
    """What an update of one run of the model moves at least, as far as it is known to be written and read again."""
    settle(device, threads)
    recipe, data = _recipe(effort), random_data(effort.batch_size, device)
    model = _state(name, 0, recipe, device).model
    choices = choose(recipe, model, data=data, device=device, threads=threads)
    sample = data.train_sample
    kept = saved_bytes(model, data.normalise(sample.images), sample.labels, choices)
    return BYTES_PER_PARAMETER * params_of(model) + 2 * kept


def saved_bytes(model: torch.nn.Module, images: Tensor, labels: Tensor, choices: ComputeSettings) -> int:
    """The bytes that the forward pass of the loss keeps for the backward pass, without the weights themselves."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), choices.autocast():
        loss = cross_entropy(model, images, labels, 0.0)
    del loss
    return sum(kept.values())
