"""Recipe: how a model is trained. Optimiser, learning-rate schedule, budget, augmentation, arithmetic."""

from typing import Any, Literal

import torch
from torch import nn

from vision_attn.spec import InputError, Spec, spec
from vision_attn.training.muon import orthogonalise_in_float32

STALL = 0.01
"""Nats by which the training loss must fall below its best for training not to stall."""


@spec
class Recipe(Spec):
    """How a model is trained. The budget is either a number of updates or of epochs; 0 updates: not at all.

    The history has `history_rows` rows, evenly spread over the budget. With `patience` the budget is a cap: training
    ends when the mean training loss of a row has not fallen `STALL` = 0.01 nats below its best for `patience` rows in
    a row, or is below `STALL` and so cannot fall by it. This needs the constant schedule, as a falling learning rate
    stalls whatever it is given; warm-up remains a part of the cap. A plateau before the loss first falls is a stall
    too, unless patience is longer.

    Every update sees exactly `batch_size` images, whatever the size of the training set, so that equal updates
    mean equally many images seen. The learning rate of update u = 1...N with w warm-up updates is

        u <= w:   learning_rate * u / w
        u > w:    learning_rate * (1 + cos(pi * (u - w) / (N - w + 1))) / 2     (cosine; constant: learning_rate)

    AdamW has timm's betas 0.9, 0.999; SGD has Nesterov momentum 0.9. "nadamuon" is timm's AdaMuon (Si et al. 2025,
    arXiv:2507.11005) with Nesterov momentum 0.95: the step of a weight matrix, or of a kernel flattened to one, is
    orthogonalised and scaled to a root mean square of 0.2 x the rate, about that of AdamW; depthwise kernels, positions
    and vectors get NAdamW with betas 0.9, 0.95. Biases, norms and what the model lists in `no_weight_decay()` are not
    decayed. Images are cropped at random from a border of `crop_padding` pixels (0: not at all), which keeps small
    vision transformers from learning digits within some hundred updates, and mirrored at random with `flip` where the
    data set allows it. `clip_grad` bounds the norm of the gradient over all parameters. `rand_augment` is the magnitude
    of two operations of RandAugment (None: none); `mixup` and `cutmix` are the alphas of Mixup and CutMix (0: none), of
    which each batch has one.
    With `patch_drop` every image loses a share of its square patches of `patch_drop_size` pixels, uniform from 0 to
    that number and drawn anew each time: they get the mean colour. A network so trained has seen images with missing
    patches, so that deleting some asks nothing new of it (Hesse et al. 2024, arXiv:2407.11910).
    """

    updates: int | None = None
    epochs: float | None = None
    batch_size: int = 128
    optimizer: Literal["adamw", "sgd", "nadamuon"] = "adamw"
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
    patience: int | None = None
    history_rows: int = 20
    rand_augment: int | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    patch_drop: float = 0.0
    patch_drop_size: int = 4

    def check(self) -> None:
        if self.epochs is None:
            fits = self.updates is not None and self.updates >= 0
            self.require("updates", fits, "given where epochs is not, and at least 0")
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
        self.require("history_rows", self.history_rows >= 1, "at least 1")
        fits = self.rand_augment is None or 0 <= self.rand_augment <= 30
        self.require("rand_augment", fits, "None or from 0 to 30")
        self.require("mixup", self.mixup >= 0, "at least 0")
        self.require("cutmix", self.cutmix >= 0, "at least 0")
        self.require("patch_drop", 0 <= self.patch_drop <= 1, "from 0 to 1")
        self.require("patch_drop_size", self.patch_drop_size >= 1, "at least 1")
        if self.patience is not None:
            self.require("patience", self.patience >= 1, "None or at least 1")
            self.require("schedule", self.schedule == "constant", "'constant' with patience")
            self.require("updates", self.updates != 0, "at least 1 with patience")

    def num_updates(self, train_size: int | None) -> int:
        """The number of updates on a training set of `train_size` images: for epochs the nearest, at least 1.

        With `patience` it is the cap. `train_size` is None where every update draws fresh images, which have no epochs.
        """
        if self.epochs is None:
            assert self.updates is not None
            return self.updates
        if train_size is None:
            allowed = "None where training images are drawn anew for every update"
            raise InputError(f"epochs of Recipe must be {allowed}. Got {self.epochs!r} instead.")
        return max(1, round(self.epochs * train_size / self.batch_size))

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """timm's optimiser with its groups of decayed and not decayed parameters, in its fused kernel if it has one.

        There is none for complex parameters.
        """
        from timm.optim import create_optimizer_v2

        options: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.optimizer == "nadamuon":
            orthogonalise_in_float32()
        else:
            options["fused"] = all(one.is_floating_point() for one in model.parameters() if one.requires_grad)
        return create_optimizer_v2(model, opt=self.optimizer, **options)

    def make_scheduler(self, optimizer: torch.optim.Optimizer, *, num_updates: int) -> Any:
        """timm's cosine schedule, to be stepped with u before update u = 1...num_updates."""
        from timm.scheduler import CosineLRScheduler

        warmup = max(0, min(round(self.warmup_fraction * num_updates), num_updates - 1))
        return CosineLRScheduler(
            optimizer,
            t_initial=num_updates - warmup + 1,
            lr_min=self.learning_rate if self.schedule == "constant" else 0.0,
            warmup_t=warmup,
            warmup_prefix=True,
            t_in_epochs=False,
        )
