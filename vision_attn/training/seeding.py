"""Random streams: one seed gives separate streams for initialisation, order, augmentation and dropout."""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def derived(purpose: str, seed: int, index: int = 0) -> int:
    """The seed of one stream: the first 63 bits of sha256 of purpose, seed and index."""
    text = f"{purpose}:{seed}:{index}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the global generators of torch, numpy and Python begin at the seed; afterwards they are as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        _seed_others(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _seed_others(seed: int) -> None:
    """Seed the global generators of numpy and Python, which a module of one's own may draw from."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002


class Streams:
    """The random streams of a run.

    The order of an epoch and the fresh images, augmentation and dropout of an update are functions of the seed and the
    number of that epoch or update. So the seed gives every model the same images in the same order under the same
    crops, a checkpoint needs no generator states, and what else draws random numbers between two updates changes
    nothing.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.device = seed, torch.device(device)
        self._order = torch.Generator()
        self._samples = torch.Generator()
        self._augmentation = torch.Generator()

    @contextlib.contextmanager
    def initialising(self) -> Iterator[None]:
        """Inside, the global generators are those of the initialisation; afterwards they are as they were."""
        with seeded(derived("init", self.seed)):
            yield

    def epoch_order(self, epoch: int, train_size: int) -> Tensor:
        """The permutation of the training images in epoch 0, 1, ..."""
        self._order.manual_seed(derived("order", self.seed, epoch))
        return torch.randperm(train_size, generator=self._order)

    def samples(self, update: int) -> torch.Generator:
        """The generator, on the CPU, of the fresh images of one update, where the training images are a stream."""
        return self._samples.manual_seed(derived("samples", self.seed, update))

    def augmentation(self, update: int) -> torch.Generator:
        """The generator, on the CPU so that every device makes the same, of the crops and flips of one update."""
        return self._augmentation.manual_seed(derived("augmentation", self.seed, update))

    @property
    def fitting(self) -> int:
        """The seed, below 2^32, of what a model draws that is fitted to all images at once."""
        return derived("fitting", self.seed) >> 31

    def dropout_seed(self, update: int) -> int:
        """The seed of what dropout and drop path draw in one update."""
        return derived("dropout", self.seed, update)

    def seed_dropout(self, update: int) -> None:
        """Seed the global generators, which dropout and drop path draw from, for one update."""
        seed = self.dropout_seed(update)
        _seed_others(seed)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)


class Order:
    """The endless stream of training indices: shuffled epochs one after another, cut into batches.

    A batch may span the end of an epoch, or several epochs where the training set is smaller than the batch.
    """

    def __init__(self, streams: Streams, *, train_size: int, batch_size: int) -> None:
        self.streams, self.train_size, self.batch_size = streams, train_size, batch_size
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, update: int) -> Tensor:
        """The indices (batch_size,) of update 1, 2, ..."""
        start = (update - 1) * self.batch_size
        parts, end = [], start + self.batch_size
        while start < end:
            epoch, offset = divmod(start, self.train_size)
            part = self._permuted(epoch)[offset : offset + end - start]
            parts.append(part)
            start += len(part)
        return torch.cat(parts)

    def _permuted(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, self.streams.epoch_order(epoch, self.train_size)
        return self._permutation
