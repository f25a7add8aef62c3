"""Recipe: how a model is trained. Optimiser, learning-rate schedule, budget, augmentation, arithmetic."""

from typing import Any, Literal

import torch
from torch import nn

from vision_attn._torchvision import repair
from vision_attn.spec import Spec, spec


@spec
class Recipe(Spec):
    """How a model is trained. The budget is either a number of updates or of epochs.

    Every update sees exactly `batch_size` images, whatever the size of the training set, so that equal updates
    mean equally many images seen. The learning rate of update u = 1...N with w warm-up updates is

        u <= w:   learning_rate * u / w
        u > w:    learning_rate * (1 + cos(pi * (u - w) / (N - w + 1))) / 2     (cosine; constant: learning_rate)

    AdamW has timm's betas 0.9, 0.999; SGD has Nesterov momentum 0.9. Biases, norms and what the model lists in
    `no_weight_decay()` are not decayed. `flip` applies where the data set allows flips; `clip_grad` bounds the norm
    of the gradient over all parameters.
    """

    updates: int | None = None
    epochs: float | None = None
    batch_size: int = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_grad: float | None = 1.0
    label_smoothing: float = 0.0
    crop_padding: int = 4
    flip: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"

    def check(self) -> None:
        if self.epochs is None:
            self.require("updates", self.updates is not None and self.updates >= 1, "at least 1 where epochs is None")
        else:
            self.require("updates", self.updates is None, "None where epochs is given")
            self.require("epochs", self.epochs > 0, "more than 0")
        self.require("batch_size", self.batch_size >= 1, "at least 1")
        self.require("learning_rate", self.learning_rate > 0, "more than 0")
        self.require("weight_decay", self.weight_decay >= 0, "at least 0")
        self.require("warmup_fraction", 0 <= self.warmup_fraction < 1, "at least 0 and less than 1")
        self.require("clip_grad", self.clip_grad is None or self.clip_grad > 0, "None or more than 0")
        self.require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and less than 1")
        self.require("crop_padding", self.crop_padding >= 0, "at least 0")

    def num_updates(self, train_size: int) -> int:
        """The number of updates on a training set of `train_size` images: for epochs the nearest, at least 1."""
        if self.epochs is None:
            assert self.updates is not None
            return self.updates
        return max(1, round(self.epochs * train_size / self.batch_size))

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """timm's optimiser with its groups of decayed and not decayed parameters, in the fused kernel."""
        repair()
        from timm.optim import create_optimizer_v2

        return create_optimizer_v2(
            model, opt=self.optimizer, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )

    def make_scheduler(self, optimizer: torch.optim.Optimizer, *, num_updates: int) -> Any:
        """timm's cosine schedule, to be stepped with u before update u = 1...num_updates."""
        repair()
        from timm.scheduler import CosineLRScheduler

        warmup = min(round(self.warmup_fraction * num_updates), num_updates - 1)
        return CosineLRScheduler(
            optimizer,
            t_initial=num_updates - warmup + 1,
            lr_min=self.learning_rate if self.schedule == "constant" else 0.0,
            warmup_t=warmup,
            warmup_prefix=True,
            t_in_epochs=False,
        )
