"""Dataset: what to load, and Data: what `load` returns."""

import abc
import dataclasses
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vision_attn.spec import Spec, spec

UNLABELLED = -100
"""In a dense label map: no label here. Neither loss nor accuracy looks at such a place (torch's `ignore_index`)."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,).

    Labels of a dense task have shape (N, rows, columns), -100 wherever nothing is to be predicted. `facts` says of
    each image how it was made, int64 of shape (N,) by name, such as the distance to be bridged.
    """

    images: Tensor
    labels: Tensor
    facts: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        facts = {name: fact.to(device) for name, fact in self.facts.items()}
        return Split(self.images.to(device), self.labels.to(device), facts)


class Draw(Protocol):
    """How fresh images are made: a function of the number and of the generator's state alone."""

    def __call__(self, number: int, *, generator: torch.Generator) -> Split: ...


@dataclasses.dataclass(frozen=True)
class Stream:
    """Training images without end: every update draws its own, which no other update sees.

    `sample` is a fixed split of such images, on which no model is trained: for statistics, and to be measured where
    of other data sets the training images are.
    """

    source: Draw
    sample: Split

    def draw(self, number: int, *, generator: torch.Generator) -> Split:
        """`number` fresh images, drawn on the CPU, so that every device gets the same, and moved to the sample's."""
        return self.source(number, generator=generator).to(self.sample.labels.device)

    def to(self, device: torch.device) -> "Stream":
        return Stream(self.source, self.sample.to(device))


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set in memory: the training images, the validation split, which no training image is in, the test split.

    `fingerprint` is the sha256 of all pixels and labels, train then test, before any subset was taken; `subset_sha256`
    that of the indices of the training subset. `mean` and `std` are per channel, in [0, 1], taken from the training
    subset. Of images that are drawn, both checksums are over those that are held, and mean and std are the constants
    they are drawn with. `flip` and `crop` say whether an image mirrored, or moved, is still one of these data;
    `farthest` by how many pixels it may be moved, None being any number. `order`, int64 (H * W,), is the order in which
    models get the pixels, None being the one they are in.
    """

    name: str
    train: Split | Stream
    val: Split | None
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    subset_sha256: str
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: bool = True
    farthest: int | None = None
    order: Tensor | None = None

    @property
    def train_sample(self) -> Split:
        """Training images that are held: the subset itself, or the fixed sample of a stream."""
        return self.train.sample if isinstance(self.train, Stream) else self.train

    @property
    def train_size(self) -> int | None:
        """The number of training images, None where they are drawn anew for every update."""
        return None if isinstance(self.train, Stream) else len(self.train)

    @property
    def image_size(self) -> int:
        return self.test.images.shape[-1]

    @property
    def in_chans(self) -> int:
        return self.test.images.shape[1]

    @property
    def label_shape(self) -> tuple[int, ...]:
        """() for one label an image, (rows, columns) for a dense task."""
        return tuple(self.test.labels.shape[1:])

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) to float32 with the training subset's channel mean 0 and standard deviation 1.

        Then in `order`: what is done to images before, such as crops, is done to them as they were.
        """
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        normal = images.float().div_(255).sub_(mean).div_(std)
        return normal if self.order is None else normal.flatten(2).index_select(2, self.order).view_as(normal)

    def to(self, device: torch.device) -> "Data":
        val = None if self.val is None else self.val.to(device)
        order = None if self.order is None else self.order.to(device)
        return dataclasses.replace(self, train=self.train.to(device), val=val, test=self.test.to(device), order=order)


@spec
class Dataset(Spec, abc.ABC):
    """A data set and the part of its training images to learn from.

    `train_size` images (None: all) are drawn class by class with `subset_seed`; `val_size` others are held out
    first, the same ones for every subset. The test split is always whole. `facts` names what is said of every test
    image beside its label.
    """

    facts: ClassVar[tuple[str, ...]] = ()

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
