"""Stacked training: runs of one model and one recipe as one program, the parameters of all in one tensor each.

K members, B batch, C channels. A GPU is kept busy by kernels that do the work of all members at once, where those of
one small model would wait for being launched.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.overrides import TorchFunctionMode

from vision_attn.data.base import Data
from vision_attn.models.fitted import FittedClassifier
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compiling import cross_entropy
from vision_attn.training.compute import ComputeSettings, keep_memory
from vision_attn.training.loop import Diverged, Row, closes_row, history_row, inputs, tally
from vision_attn.training.recipe import Recipe

DROP_RATES = ("p", "rate", "prob", "drop_prob")
LOWERED = (F.linear, F.conv1d, F.conv2d, F.scaled_dot_product_attention)
RAISED = (F.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax)


def stackable(recipe: Recipe, model: nn.Module) -> str | None:
    """Why runs of the recipe and the model cannot be trained in a stack, or None where they can."""
    if recipe.patience is not None:
        return "with patience each run ends at an update of its own"
    if recipe.optimizer == "nadamuon":
        return "the optimiser nadamuon acts on whole matrices, not element by element"
    if isinstance(model, FittedClassifier):
        return "the model is fitted at once"
    if recipe.compile == "on":
        return "the recipe asks for compilation"
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            return "recurrent layers cannot be stacked"
        if "Drop" in type(module).__name__ and any(getattr(module, name, 0) for name in DROP_RATES):
            return "dropout and drop path draw from one generator for all members of a stack"
    return None


class StackedAutocast(TorchFunctionMode):
    """What torch.autocast does to single models, for operations whose stacked form it does not reach.

    Products and convolutions take bfloat16, batch norm float32; on a GPU, as there, so do the other norms and softmax.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.types: dict[Any, torch.dtype] = {**dict.fromkeys(LOWERED, torch.bfloat16), F.batch_norm: torch.float32}
        if device == "cuda":
            self.types |= dict.fromkeys(RAISED, torch.float32)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (wanted := self.types.get(func)) is not None:
            args = [_cast(value, wanted) for value in args]
            kwargs = {name: _cast(value, wanted) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _cast(value: Any, wanted: torch.dtype) -> Any:
    return value.to(wanted) if isinstance(value, Tensor) and value.is_floating_point() else value


class Stack:
    """K trainings of one model spec and one recipe, at the same update, as one program.

    Every parameter, buffer and optimiser state has a dimension K in front; torch.vmap goes over it. As the members
    share nothing,

        d (L_1 + ... + L_K) / d theta_k = d L_k / d theta_k

    and optimisers that act element by element do to each member what they do to it alone. Each has its own
    initialisation, order, augmentation, norm of the gradient and history. Equal to training alone but for rounding;
    `seconds` of a member is the time of the whole stack. The states are those at the start, or at the last
    `write_back`.
    """

    def __init__(
        self, states: Sequence[TrainState], *, data: Sequence[Data], recipe: Recipe, choices: ComputeSettings
    ) -> None:
        self.states, self.data, self.recipe, self.choices = list(states), list(data), recipe, choices
        self.update, self.num_updates = states[0].update, states[0].num_updates
        alike = all((state.update, state.num_updates) == (self.update, self.num_updates) for state in states)
        assert alike, "members of a stack make the same updates"
        self.window = states[0].window
        self._stack(list(range(len(states))))

    def _stack(self, members: list[int]) -> None:
        """Take the tensors of these members out of their states."""
        self.members = members
        if not members:
            return
        states = [self.states[member] for member in members]
        models = [state.model.train() for state in states]
        self.params, self.buffers = stack_module_state(models)
        self.loss_sum = torch.stack([state.loss_sum for state in states])
        self.first_bad = torch.stack([state.first_bad for state in states])
        self.optimizer = self.recipe.make_optimizer(models[0])
        names = {parameter: name for name, parameter in models[0].named_parameters()}
        for group in self.optimizer.param_groups:
            group["params"] = [self.params[names[parameter]] for parameter in group["params"]]
        owned = [dict(model.named_parameters()) for model in models]
        for name, stacked in self.params.items():
            parts = [state.optimizer.state.get(own[name], {}) for state, own in zip(states, owned, strict=True)]
            if parts[0]:
                self.optimizer.state[stacked] = {key: _joined(key, [part[key] for part in parts]) for key in parts[0]}
        self.scheduler = self.recipe.make_scheduler(self.optimizer, num_updates=self.num_updates)

    def train(self) -> Iterator[dict[int, Row | Diverged]]:
        """Train to the end of the budget; after every update yield what happened, by member: mostly nothing.

        A member that diverges is left out from then on; the rest goes on. On a CPU that is noticed at the update
        itself, on a GPU at the next row.
        """
        keep_memory()
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
        begun = [time.perf_counter() - state.seconds for state in self.states]
        while self.members and self.update < self.num_updates:
            update = self.update + 1
            is_row = closes_row(update, num_updates=self.num_updates, recipe=self.recipe)
            images, labels = zip(*(batches[member](update) for member in self.members), strict=True)
            losses = self._losses(torch.stack(images), torch.stack(labels))
            self.optimizer.zero_grad()
            losses.sum().backward()
            tally(self, losses.detach(), self._clip(), update=update)
            diverged = self._diverged() if is_row or losses.device.type == "cpu" else {}
            self.scheduler.step_update(update)
            self.optimizer.step()
            self.update = update
            for member in set(self.members) - set(diverged):
                self.states[member].update = update
                self.states[member].seconds = time.perf_counter() - begun[member]
            yield diverged | self._ended(diverged, is_row=is_row)

    def write_back(self) -> None:
        """Copy what training changed into the states of the members, as if each had been trained alone."""
        for place, member in enumerate(self.members):
            state = self.states[member]
            state.window = self.window
            own = {name: (parameter, self.params[name]) for name, parameter in state.model.named_parameters()}
            with torch.no_grad():
                for parameter, stacked in own.values():
                    parameter.copy_(stacked[place])
                for name, buffer in state.model.named_buffers():
                    buffer.copy_(self.buffers[name][place])
                state.loss_sum.copy_(self.loss_sum[place])
                state.first_bad.copy_(self.first_bad[place])
            for parameter, stacked in own.values():
                if found := self.optimizer.state.get(stacked):
                    state.optimizer.state[parameter] = {key: _part(key, found[key], place) for key in found}
            for group, changed in zip(state.optimizer.param_groups, self.optimizer.param_groups, strict=True):
                group["lr"] = changed["lr"]

    def _losses(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss (K,) of each member on its batch (K, B, C, height, width)."""
        model, smoothing = self.states[self.members[0]].model, self.recipe.label_smoothing

        def loss(params: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            def classify(images: Tensor) -> Tensor:
                return functional_call(model, (params, buffers), (images,))

            return cross_entropy(classify, images, labels, smoothing)

        lowered = self.choices.precision == "bf16"
        with self.choices.autocast(), StackedAutocast(self.choices.device) if lowered else contextlib.nullcontext():
            return torch.vmap(loss)(self.params, self.buffers, images, labels)

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
        found = zip(self.members, self.first_bad.tolist(), strict=True)
        return {member: Diverged(update) for member, update in found if update}

    def _ended(self, diverged: dict[int, Row | Diverged], *, is_row: bool) -> dict[int, Row | Diverged]:
        """The rows of the members that go on, where one ends; the diverged ones are left out of the stack."""
        rest = [member for member in self.members if member not in diverged]
        rows: dict[int, Row | Diverged] = {}
        if diverged or is_row:
            self.write_back()
        if is_row:
            for member in rest:
                data = self.data[member]
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
        if diverged:
            self._stack(rest)
        return rows


def _joined(key: str, parts: list[Tensor]) -> Tensor:
    """One state of the optimiser of all members; they have made equally many steps."""
    return parts[0].clone() if key == "step" else torch.stack(parts)


def _part(key: str, stacked: Tensor, place: int) -> Tensor:
    return stacked.clone() if key == "step" else stacked[place].clone()
