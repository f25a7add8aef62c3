"""Stacked training: runs of one model and one recipe as one program, the parameters of all in one tensor each.

K members, B batch, C channels. A GPU is kept busy by kernels that do the work of all members at once, where those of
one small model would wait for being launched.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel

from vision_attn.data.base import Data
from vision_attn.models.fitted import FittedClassifier
from vision_attn.models.trunk import VisionTransformer
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compiling import loss_of
from vision_attn.training.compute import ComputeSettings, is_convnet, keep_memory
from vision_attn.training.feed import CHUNK, Feed, unfeedable
from vision_attn.training.folded import FoldedModel, draws
from vision_attn.training.graphs import Graphed
from vision_attn.training.loop import Diverged, Row, closes_row, history_row, inputs, tally
from vision_attn.training.recipe import Recipe

KERNELS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
"""Kernels of attention in the order in which they are tried: the first takes 0.63 times as long as the second with 64
tokens and heads of 16 channels (H200, forward and backward, deterministic)."""
TRIED = 2
"""Images of each member that a folded model is tried on."""


def stackable(recipe: Recipe, model: nn.Module) -> str | None:
    """Why runs of the recipe and the model cannot be trained in a stack, or None where they can."""
    if recipe.optimizer == "nadamuon":
        return "the optimiser nadamuon acts on whole matrices, not element by element"
    if isinstance(model, FittedClassifier):
        return "the model is fitted at once"
    if recipe.compile == "on":
        return "the recipe asks for compilation"
    return None


class Stack:
    """K trainings of one model spec and one recipe, at the same update, as one program.

    Every parameter, buffer and optimiser state has a dimension K in front (`FoldedModel`). As the members share
    nothing,

        d (L_1 + ... + L_K) / d theta_k = d L_k / d theta_k

    and optimisers that act element by element do to each member what they do to it alone. Each has its own
    initialisation, order, augmentation, norm of the gradient and history. Equal to training alone but for rounding;
    `seconds` of a member is the time of the whole stack. The states are those at the start, or at the last
    `write_back`. `members` are those still in training, by place; one that diverges or stalls is computed on, as the
    others do not notice, and looked at no more.

    With `choices.graph` an update is recorded as one CUDA graph; `choices` says afterwards whether it was.
    """

    def __init__(
        self, states: Sequence[TrainState], *, data: Sequence[Data], recipe: Recipe, choices: ComputeSettings
    ) -> None:
        self.states, self.data, self.recipe, self.choices = list(states), list(data), recipe, choices
        self.update, self.num_updates = states[0].update, states[0].num_updates
        alike = all((state.update, state.num_updates) == (self.update, self.num_updates) for state in states)
        assert alike, "members of a stack make the same updates"
        self.window = states[0].window
        self.members = [place for place, state in enumerate(states) if not state.ended]
        models = [choices.arranged(state.model).train() for state in states]
        self.params, self.buffers = stack_module_state(models)
        apart = len(states) == 1 or (choices.device == "cuda" and _is_no_slower_apart(models[0], data[0].in_chans))
        self.images_as = torch.channels_last if apart and choices.channels_last else torch.contiguous_format
        self.model = FoldedModel(models[0], self.params, self.buffers, members=len(states), apart=apart)
        given = data[0].test.images
        tried = given[torch.arange(TRIED * len(states), device=given.device) % len(given)]
        if not apart and not self.model.agrees(models, data[0].normalise(tried)):
            self.model = FoldedModel(models[0], self.params, self.buffers, members=len(states), apart=True)
        self.drawing = any(map(draws, models[0].modules()))
        self.loss_sum = torch.stack([state.loss_sum for state in states])
        self.first_bad = torch.stack([state.first_bad for state in states])
        self.count = torch.full((), self.update, dtype=torch.int64, device=self.loss_sum.device)
        self._stack_optimizer(models)
        why_not = next(filter(None, (unfeedable(recipe, each) for each in data)), None)
        self.feed = Feed(self.states, self.data, recipe) if why_not is None else None

    def _stack_optimizer(self, models: list[nn.Module]) -> None:
        """One optimiser of the stacked tensors, with the states of the members' own."""
        self.optimizer = self.recipe.make_optimizer(models[0])
        names = {parameter: name for name, parameter in models[0].named_parameters()}
        for group in self.optimizer.param_groups:
            group["params"] = [self.params[names[parameter]] for parameter in group["params"]]
        owned = [dict(model.named_parameters()) for model in models]
        for name, stacked in self.params.items():
            parts = [state.optimizer.state.get(own[name], {}) for state, own in zip(self.states, owned, strict=True)]
            if parts[0]:
                self.optimizer.state[stacked] = {key: _joined(key, [part[key] for part in parts]) for key in parts[0]}
        self.scheduler = self.recipe.make_scheduler(self.optimizer, num_updates=self.num_updates)
        self.rate = torch.zeros((), device=self.loss_sum.device)

    def train(self) -> Iterator[dict[int, Row | Diverged]]:
        """Train to the end of the budget; after every update yield what happened, by member: mostly nothing.

        A member that diverges is left out from then on; the rest goes on. On a CPU that is noticed at the update
        itself, on a GPU at the next row.
        """
        keep_memory()
        advance = self._stepper()
        begun = [time.perf_counter() - state.seconds for state in self.states]
        while self.members and self.update < self.num_updates:
            update = self.update + 1
            is_row = closes_row(update, num_updates=self.num_updates, recipe=self.recipe)
            if self.drawing:
                for state, generator in zip(self.states, self.model.generators, strict=True):
                    generator.manual_seed(state.streams.dropout_seed(update))
            self._draw_ahead(update)
            self._set_rate(update)
            advance()
            self.update = update
            self.window += 1
            diverged = self._diverged() if is_row or self.choices.device == "cpu" else {}
            for member in set(self.members) - set(diverged):
                self.states[member].update = update
                self.states[member].seconds = time.perf_counter() - begun[member]
            yield diverged | self._ended(diverged, is_row=is_row)

    def _stepper(self) -> Callable[[], None]:
        """What makes an update, once its random numbers are drawn and its learning rate is set."""
        batch = self._by_member() if self.feed is None else self.feed.batch
        if not self.choices.graph:
            return lambda: self._advance(*batch())
        for group in self.optimizer.param_groups:
            group["capturable"] = True
        graphed = Graphed(lambda: self._advance(*batch()))

        def step() -> None:
            graphed()
            if graphed.why_not is not None:
                self.choices = dataclasses.replace(self.choices, graph=False, graph_reason=graphed.why_not)

        return step

    def _by_member(self) -> Callable[[], tuple[Tensor, Tensor]]:
        """The batches of the next update, made as for each run alone."""
        batches = [
            inputs(
                data.train,
                state,
                normalise=data.normalise,
                flip=data.flip,
                recipe=self.recipe,
                num_classes=data.num_classes,
            )
            for state, data in zip(self.states, self.data, strict=True)
        ]

        def batch() -> tuple[Tensor, Tensor]:
            images, labels = zip(*(of(self.update + 1) for of in batches), strict=True)
            return torch.cat(images), torch.stack(labels)

        return batch

    def _draw_ahead(self, update: int) -> None:
        if self.feed is None:
            return
        if not self.feed.left:
            self.feed.load(update, min(update + CHUNK - 1, self.num_updates))
        self.feed.left -= 1

    def _set_rate(self, update: int) -> None:
        """The learning rate of the update: in the optimiser, or in the tensor that a recorded one reads."""
        self.scheduler.step_update(update)
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        if self.choices.graph:
            self.rate.fill_(self.learning_rate)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate

    def _advance(self, images: Tensor, labels: Tensor) -> None:
        """One update, in operations on the device alone."""
        self.count += 1
        losses = self._losses(images, labels)
        self.optimizer.zero_grad()
        losses.sum().backward()
        tally(self, losses.detach(), self._clip(), update=self.count)
        self.optimizer.step()

    def write_back(self) -> None:
        """Copy what training changed into the states of the members, as if each had been trained alone."""
        for member in self.members:
            state = self.states[member]
            self._write_weights(member)
            self._write_progress(member)
            for name, parameter in state.model.named_parameters():
                if found := self.optimizer.state.get(self.params[name]):
                    state.optimizer.state[parameter] = {key: _part(key, found[key], member) for key in found}

    def _write_progress(self, member: int) -> None:
        """What a history row is made of."""
        state = self.states[member]
        state.window = self.window
        state.loss_sum.copy_(self.loss_sum[member])
        state.first_bad.copy_(self.first_bad[member])
        for group in state.optimizer.param_groups:
            group["lr"] = self.learning_rate

    def _write_weights(self, member: int) -> None:
        model = self.states[member].model
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.params[name][member])
            for name, buffer in model.named_buffers():
                buffer.copy_(self.buffers[name][member])

    def _losses(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss (K,) of each member on its batch: images (K B, C, height, width), labels (K, B, ...)."""
        with self.choices.autocast(), sdpa_kernel(KERNELS, set_priority=True):
            scores = self.model(images.contiguous(memory_format=self.images_as)).float().unflatten(0, (len(labels), -1))
        smoothing = self.recipe.label_smoothing
        if scores.ndim > 3:
            return torch.stack([loss_of(*pair, smoothing) for pair in zip(scores, labels, strict=True)])
        flat = F.cross_entropy(scores.flatten(0, 1), labels.flatten(0, 1), reduction="none", label_smoothing=smoothing)
        return flat.view(len(labels), -1).mean(1)

    def _clip(self) -> Tensor:
        """Scale the gradient of each member to a norm of at most the recipe's; the norms (K,) before that."""
        gradients = [parameter.grad for parameter in self.params.values() if parameter.grad is not None]
        parts = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
        norms = torch.linalg.vector_norm(parts, dim=0)
        if self.recipe.clip_grad is not None:
            factors = (self.recipe.clip_grad / (norms + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
        return norms

    def _diverged(self) -> dict[int, Row | Diverged]:
        """The members of which a loss or gradient was not finite."""
        found = self.first_bad.tolist()
        return {member: Diverged(found[member]) for member in self.members if found[member]}

    def _ended(self, diverged: dict[int, Row | Diverged], *, is_row: bool) -> dict[int, Row | Diverged]:
        """The rows of the members that go on, where one ends; the diverged and the stalled are left out from now on."""
        self.members = [member for member in self.members if member not in diverged]
        rows: dict[int, Row | Diverged] = {}
        if is_row:
            for member in self.members:
                data = self.data[member]
                self._write_progress(member)
                if data.val is not None:
                    self._write_weights(member)
                rows[member] = history_row(
                    self.states[member],
                    train=data.train,
                    val=data.val,
                    normalise=data.normalise,
                    recipe=self.recipe,
                    choices=self.choices,
                )
            self.loss_sum.zero_()
            self.window = 0
            if any(self.states[member].stalled for member in self.members):
                self.write_back()
                self.members = [member for member in self.members if not self.states[member].stalled]
        return rows


def _is_no_slower_apart(model: nn.Module, in_chans: int) -> bool:
    """Whether a GPU does no better with convolutions in groups, which take more memory, than with one member by one.

    Measured on an H200 with 16 ResNets of width 12 and 128 images each: 32.3 ms an update in groups, 32.0 one by one.
    """
    return is_convnet(model, in_chans=in_chans) and not isinstance(model, VisionTransformer)


def _joined(key: str, parts: list[Tensor]) -> Tensor:
    """One state of the optimiser of all members; they have made equally many steps."""
    return parts[0].clone() if key == "step" else torch.stack(parts)


def _part(key: str, stacked: Tensor, place: int) -> Tensor:
    return stacked.clone() if key == "step" else stacked[place].clone()
