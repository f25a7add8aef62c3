"""Feed: the batches of the runs of a stack, made on their device from random numbers that were drawn ahead.

K members, B images a member and update, T updates of a chunk. All numbers of a chunk are drawn on the CPU from the
streams of each run, as for a run alone, and copied at once; an update then takes its row of them, by a counter that is
a tensor itself. So the same few operations on the device make every batch, and a CUDA graph can hold them.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from vision_attn.data import augment
from vision_attn.data.base import Data, Stream
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.recipe import Recipe
from vision_attn.training.seeding import Order

CHUNK = 256
"""Updates drawn ahead at most."""


def unfeedable(recipe: Recipe, data: Data) -> str | None:
    """Why the batches cannot be made by a feed, or None where they can."""
    if isinstance(data.train, Stream):
        return "training images are drawn anew for every update"
    if recipe.rand_augment is not None:
        return "RandAugment chooses its operations image by image"
    if recipe.mixup or recipe.cutmix:
        return "Mixup and CutMix draw a share for every batch"
    if recipe.patch_drop:
        return "every image loses patches of its own"
    return None


class Feed:
    """The batches of updates `load`ed, one after another: `batch` gives images and labels, and goes to the next."""

    def __init__(self, states: Sequence[TrainState], data: Sequence[Data], recipe: Recipe) -> None:
        self.recipe, self.states, self.data = recipe, states, data
        device = states[0].loss_sum.device
        self.flips = [recipe.flip and each.flip for each in data]
        held: list[Tensor] = []
        labels, places = [], []
        for each in data:
            split = each.train_sample
            place = next((at for at, images in enumerate(held) if _same(images, split.images)), len(held))
            if place == len(held):
                held.append(split.images)
                labels.append(split.labels)
            places.append(place)
        starts = [0, *itertools.accumulate(map(len, held))]
        self.starts = [starts[place] for place in places]
        self.images, self.labels = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (held, labels))
        self.orders = [
            Order(state.streams, train_size=len(each.train_sample), batch_size=recipe.batch_size)
            for state, each in zip(states, data, strict=True)
        ]
        shape = len(states), 1, len(data[0].mean), 1, 1
        self.mean = torch.tensor([each.mean for each in data]).view(shape).to(device)
        self.std = torch.tensor([each.std for each in data]).view(shape).to(device)
        orders = [each.order for each in data if each.order is not None]
        self.pixels = torch.stack(orders) if orders else None
        size = CHUNK, len(states) * recipe.batch_size
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        self.indices = torch.zeros(size, dtype=torch.int64, device=device)
        self.offsets = torch.zeros((CHUNK, 2, size[1]), dtype=torch.int64, device=device)
        self.mirrored = torch.zeros(size, dtype=torch.int64, device=device)
        self.left = 0

    def load(self, first: int, last: int) -> None:
        """Draw what the updates `first` to `last` need, at most `CHUNK` of them."""
        number = last - first + 1
        drawn = [self._drawn(update) for update in range(first, last + 1)]
        for target, parts in zip((self.indices, self.offsets, self.mirrored), zip(*drawn, strict=True), strict=True):
            source = torch.stack(parts)
            source = source.pin_memory() if target.is_cuda else source
            target[:number].copy_(source, non_blocking=True)
        self.at.zero_()
        self.left = number

    def _drawn(self, update: int) -> tuple[Tensor, Tensor, Tensor]:
        """The images of all members, where their crops begin, and which are mirrored."""
        indices, offsets, mirrored = [], [], []
        padding, number = self.recipe.crop_padding, self.recipe.batch_size
        for place, (state, order) in enumerate(zip(self.states, self.orders, strict=True)):
            indices.append(order.batch(update) + self.starts[place])
            if not padding and not any(self.flips):
                continue
            generator = state.streams.augmentation(update)
            if padding:
                offsets.append(augment.crop_offsets(number, padding=padding, generator=generator))
            if self.flips[place]:
                mirrored.append(augment.mirrored(number, generator=generator))
            elif any(self.flips):
                mirrored.append(torch.zeros(number, dtype=torch.int64))
        total = number * len(self.states)
        return (
            torch.cat(indices),
            torch.cat(offsets, dim=1) if offsets else torch.zeros((2, total), dtype=torch.int64),
            torch.cat(mirrored) if mirrored else torch.zeros(total, dtype=torch.int64),
        )

    def batch(self) -> tuple[Tensor, Tensor]:
        """The images (K B, C, H, W), augmented and normalised, and labels (K, B, ...) of the next update."""
        indices = self.indices.index_select(0, self.at)[0]
        images = self.images.index_select(0, indices)
        if self.recipe.crop_padding:
            offsets = self.offsets.index_select(0, self.at)[0]
            images = augment.crop_at(images, offsets, padding=self.recipe.crop_padding)
        if any(self.flips):
            images = augment.flip_where(images, self.mirrored.index_select(0, self.at)[0])
        members = len(self.states)
        normal = images.float().div_(255).unflatten(0, (members, -1)).sub_(self.mean).div_(self.std)
        if self.pixels is not None:
            order = self.pixels[:, None, None].expand(*normal.shape[:3], -1)
            normal = normal.flatten(3).gather(3, order).view_as(normal)
        labels = self.labels.index_select(0, indices).unflatten(0, (members, -1))
        self.at += 1
        return normal.flatten(0, 1), labels


def _same(images: Tensor, others: Tensor) -> bool:
    return images is others or (images.shape == others.shape and torch.equal(images, others))
