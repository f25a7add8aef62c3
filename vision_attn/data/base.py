"""Dataset: what to load, and Data: what `load` returns."""

import abc
import dataclasses

import torch
from torch import Tensor

from vision_attn.spec import Spec, spec


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set in memory: the training subset, the validation split held out of the training images, the test split.

    `fingerprint` is the sha256 of all pixels and labels, train then test, before any subset was taken;
    `subset_sha256` that of the indices of the training subset. `mean` and `std` are per channel, in [0, 1],
    taken from the training subset.
    """

    name: str
    train: Split
    val: Split | None
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    subset_sha256: str
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_size(self) -> int:
        return self.train.images.shape[-1]

    @property
    def in_chans(self) -> int:
        return self.train.images.shape[1]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) to float32 with the training subset's channel mean 0 and standard deviation 1."""
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return images.float().div_(255).sub_(mean).div_(std)

    def to(self, device: torch.device) -> "Data":
        val = None if self.val is None else self.val.to(device)
        return dataclasses.replace(self, train=self.train.to(device), val=val, test=self.test.to(device))


@spec
class Dataset(Spec, abc.ABC):
    """A data set and the part of its training images to learn from.

    `train_size` images (None: all) are drawn class by class with `subset_seed`; `val_size` others are held out
    first, the same ones for every subset. The test split is always whole.
    """

    train_size: int | None = None
    subset_seed: int = 0
    val_size: int = 0

    @abc.abstractmethod
    def load(self) -> Data:
        """The data in memory, on the CPU. Raises `InputError` where it is not there or does not fit."""

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """The name that stands in tables and captions, such as 'cifar10-jpeg'."""
