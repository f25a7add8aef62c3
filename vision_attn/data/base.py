"""Dataset: what to load, and Data: what `load` returns."""

import abc
import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vision_attn.spec import MOST_CLASSES, InputError, Spec, canonical, short, spec

Array = npt.NDArray[Any]

UNLABELLED = -100
"""In a dense label map: no label here. Neither loss nor accuracy looks at such a place (torch's `ignore_index`)."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,).

    Labels of a dense task have shape (N, rows, columns), -100 wherever nothing is to be predicted. `attributes` says of
    each image how it was made, int64 of shape (N,) by name, such as the distance to be bridged.
    """

    images: Tensor
    labels: Tensor
    attributes: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        """The shape instead of the pixels, which a notebook would print for pages."""
        return f"Split({tuple(self.images.shape)} {str(self.images.dtype).removeprefix('torch.')})"

    def to(self, device: torch.device) -> "Split":
        attributes = {name: attribute.to(device) for name, attribute in self.attributes.items()}
        return Split(self.images.to(device), self.labels.to(device), attributes)


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

    @classmethod
    def from_tensors(
        cls,
        images: Tensor | Array,
        labels: Tensor | Array,
        *,
        train: tuple[Tensor | Array, Tensor | Array] | None = None,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str = "tensors",
    ) -> Self:
        """Data of one's own: test images (N, C, H, H) and their labels (N,), and training images where there are some.

        Both may be tensors or arrays of numpy. Images are uint8, or floating-point in [0, 1] and then rounded to 256
        levels; labels are whole numbers 0, 1, ...
        Models get images with `mean` taken off and divided by `std`, per channel, in [0, 1], as taken from the training
        images unless given: for a model that normalises by itself, or not at all, give 0 and 1. `classes` are their
        names, texts that differ. Without `train` the test images stand for the training images too. Raises
        `InputError` where shapes, types or numbers do not fit.
        """
        if not isinstance(name, str):
            raise InputError(f"name of Data must be a text, such as 'digits'. Got {short(name)} instead.")
        test = _split(images, labels)
        if train is not None and not (isinstance(train, tuple | list) and len(train) == 2):
            given = f"a {type(train).__name__}" + (f" of {len(train)}" if isinstance(train, tuple | list) else "")
            raise InputError(f"train of Data must be a pair of images and labels. Got {given} instead.")
        learnt = test if train is None else _split(*train)
        if test.images.shape[1:] != learnt.images.shape[1:]:
            shapes = f"{tuple(learnt.images.shape[1:])}, test images {tuple(test.images.shape[1:])}"
            raise InputError(f"images of Data must have one shape. Got training images {shapes} instead.")
        largest = int(max(test.labels.max(), learnt.labels.max()))
        names = tuple(map(str, range(largest + 1))) if classes is None else _names(classes)
        if largest >= len(names):
            raise InputError(f"labels of Data must be below the {len(names)} classes. Got {largest} instead.")
        channels = test.images.shape[1]
        pixels = learnt.images.movedim(1, 0).flatten(1).double() / 255
        spread = pixels.std(1, correction=0)
        chosen = (
            _per_channel("mean", mean, channels, pixels.mean(1)),
            _per_channel("std", std, channels, torch.where(spread > 0, spread, 1.0)),
        )
        for field, given, fits, allowed in (
            ("mean", mean, all(0 <= one <= 1 for one in chosen[0]), "from 0 to 1"),
            ("std", std, all(0 < one <= 1 for one in chosen[1]), "more than 0 and at most 1"),
        ):
            if given is not None and not fits:
                what = f"{field} of Data must be {allowed}, as images are in [0, 1]"
                raise InputError(f"{what}. Got {short(given)} instead.")
        sha256 = fingerprint(learnt, test)
        return cls(name, learnt, None, test, names, sha256, sha256, False, *chosen)

    @classmethod
    def from_dataset(cls, dataset: Any, *, train: Any = None, **options: Any) -> Self:
        """The same from a `torch.utils.data.Dataset` (or any sequence) of pairs of an image tensor and a label.

        `train` is another such data set; `options` are those of `from_tensors`. Class names are taken from an attribute
        `classes`, as in torchvision. Raises `InputError` where an item is no such pair.
        """
        found = [_stacked(one) for one in (dataset, train) if one is not None]
        options.setdefault("classes", _own_names(getattr(dataset, "classes", None)))
        return cls.from_tensors(*found[0], train=found[1] if train is not None else None, **options)

    def __repr__(self) -> str:
        """Name and shapes: what one wants to see of it."""
        return (
            f"Data({self.name!r}, train={self.train!r}, val={self.val!r}, test={self.test!r}, "
            f"{self.num_classes} classes)"
        )

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
        mean, std = self._channels(images.device)
        normal = images.float().div_(255).sub_(mean).div_(std)
        return normal if self.order is None else normal.flatten(2).index_select(2, self.order).view_as(normal)

    def _channels(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and std (C, 1, 1) on a device, brought there once: a GPU is waited for while numbers are sent to it."""
        if device not in self._sent:
            with torch.inference_mode(False):
                mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
            self._sent[device] = mean, std
        return self._sent[device]

    @functools.cached_property
    def _sent(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}

    def to(self, device: torch.device) -> "Data":
        val = None if self.val is None else self.val.to(device)
        order = None if self.order is None else self.order.to(device)
        return dataclasses.replace(self, train=self.train.to(device), val=val, test=self.test.to(device), order=order)


def fingerprint(*splits: Split) -> str:
    """sha256, in hex, over types, shapes and bytes of images and labels, split by split."""
    digest = hashlib.sha256()
    for tensor in (tensor for split in splits for tensor in (split.images, split.labels)):
        digest.update(canonical([str(tensor.dtype), list(tensor.shape)]))
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _channels_hint(shape: Sequence[int]) -> str:
    """How to put the channels where they belong, where it can be told that they are not there."""
    if len(shape) == 4 and shape[1] == shape[2] and shape[3] in (1, 3):
        return (
            " Put the channels first: images.transpose(0, 3, 1, 2) of an array, images.permute(0, 3, 1, 2) of a tensor."
        )
    return " Give them a channel: images[:, None]." if len(shape) == 3 and shape[1] == shape[2] else ""


def _as_tensor(given: Tensor | Array, what: str) -> Tensor:
    """An array as a tensor, copied where its strides, its order of bytes or its flags are none that torch takes.

    Raises `InputError` where it has none, and where a tensor does not hold all of its numbers.
    """
    if not isinstance(given, np.ndarray):
        if isinstance(given, Tensor) and (given.layout != torch.strided or given.is_meta or given.is_quantized):
            kind = "meta" if given.is_meta else str(given.layout if given.layout != torch.strided else given.dtype)
            allowed = "a dense tensor that holds its numbers"
            raise InputError(f"{what} of Data must be {allowed}. Got one of {kind.removeprefix('torch.')} instead.")
        return given
    try:
        return torch.from_numpy(np.require(given, given.dtype.newbyteorder("="), ("C", "W")))
    except TypeError:
        raise InputError(f"{what} of Data must be numbers that torch has. Got an array of {given.dtype}.") from None


def _split(images: Tensor | Array, labels: Tensor | Array) -> Split:
    """Images and labels as they are held. Raises `InputError` where they cannot be."""
    images, labels = _as_tensor(images, "images"), _as_tensor(labels, "labels")
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[2] != images.shape[3] or not images.numel():
        given = str(tuple(images.shape)) if isinstance(images, Tensor) else type(images).__name__
        hint = _channels_hint(images.shape) if isinstance(images, Tensor) else ""
        allowed = "a tensor or array (N, C, H, H), none of them 0"
        raise InputError(f"images of Data must be {allowed}. Got {given} instead.{hint}")
    are_whole = isinstance(labels, Tensor) and not labels.is_floating_point() and not labels.is_complex()
    if not are_whole or labels.shape != images.shape[:1]:
        given = f"{tuple(labels.shape)} of {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
        raise InputError(f"labels of Data must be a tensor of {len(images)} whole numbers. Got {given} instead.")
    numbers = labels.cpu().numpy()  # torch has no extremes of uint64
    for label in (int(numbers.min()), int(numbers.max())):
        _require_class(label)
    if images.is_floating_point():
        low, high = images.min().item(), images.max().item()
        if not (low >= 0 and high <= 1):
            allowed = "in [0, 1] where they are floating-point: undo a normalisation and give `mean` and `std`"
            raise InputError(f"images of Data must be {allowed}. Got {low:g} to {high:g} instead.")
        images = (images * 255).round().to(torch.uint8)
    if images.dtype != torch.uint8:
        raise InputError(f"images of Data must be uint8 or floating-point. Got {images.dtype} instead.")
    return Split(images, labels.long())


def _require_class(label: int) -> None:
    if label < 0:
        raise InputError(f"labels of Data must be at least 0. Got {short(label)} instead.")
    if label >= MOST_CLASSES:
        allowed = f"below {MOST_CLASSES:,}: number the classes 0, 1, ..."
        raise InputError(f"labels of Data must be {allowed} Got {short(label)} instead.")


def _stacked(dataset: Any) -> tuple[Tensor, Tensor]:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        kind = type(dataset).__name__
        raise InputError(f"A data set must have a length and items by their number. Got a {kind} without them instead.")
    pairs = [dataset[i] for i in range(len(dataset))]
    wrong = [pair for pair in pairs if not isinstance(pair, tuple | list) or len(pair) != 2]
    if wrong or not pairs:
        found = f"a {type(wrong[0]).__name__}" if wrong else "none"
        found += f" of {len(wrong[0])}" if wrong and hasattr(wrong[0], "__len__") else ""
        raise InputError(f"items of a data set must be pairs of an image and a label. Got {found} instead.")
    kinds = {type(image).__name__ for image, _ in pairs if not isinstance(image, Tensor)}
    if kinds:
        allowed = "tensors, such as by torchvision.transforms.ToTensor()"
        raise InputError(f"images of a data set must be {allowed}. Got {', '.join(sorted(kinds))} instead.")
    shapes = {tuple(image.shape) for image, _ in pairs}
    if len(shapes) > 1:
        raise InputError(f"images of a data set must have one shape. Got {sorted(shapes)[:3]} instead.")
    return torch.stack([image for image, _ in pairs]), torch.tensor([_whole(label) for _, label in pairs])


def _whole(label: Any) -> int:
    try:
        is_whole = bool(label == int(label))
    except (TypeError, ValueError, RuntimeError, OverflowError):  # a text; a tensor of several numbers; infinity
        is_whole = False
    if not is_whole:
        raise InputError(f"labels of a data set must be whole numbers. Got {repr(label)[:100]} instead.")
    _require_class(int(label))  # before torch is given a number that it does not have
    return int(label)


def _names(classes: Any) -> tuple[str, ...]:
    """The names of the classes. Raises `InputError` where they have no order, are no texts, or one is there twice."""
    has_order = hasattr(classes, "__len__") and hasattr(classes, "__getitem__") and getattr(classes, "ndim", 1) == 1
    names = tuple(classes) if has_order and not isinstance(classes, str | bytes | Mapping | type) else None
    if names is None or not all(isinstance(one, str) for one in names) or len(set(names)) < len(names):
        allowed = "their names in order, texts that differ, such as ('cat', 'dog')"
        raise InputError(f"classes of Data must be {allowed}. Got {short(classes)} instead.")
    return tuple(map(str, names))


def _own_names(classes: Any) -> Any:
    """The classes of a data set as names that differ: of several names each, as in ImageNet, some are those of two."""
    if not isinstance(classes, list | tuple):
        return classes
    texts = [", ".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in classes]
    return [f"{text} ({i})" if texts.count(text) > 1 else text for i, text in enumerate(texts)]


def _per_channel(field: str, given: Sequence[float] | None, channels: int, measured: Tensor) -> tuple[float, ...]:
    try:
        values = tuple(measured.tolist() if given is None else map(float, given))
    except (TypeError, ValueError, OverflowError):  # a number for all channels, or texts
        values = ()
    if len(values) != channels or isinstance(given, str) or not all(map(math.isfinite, values)):
        allowed = f"have a finite number for each of {channels} channels"
        raise InputError(f"{field} of Data must {allowed}. Got {short(given)} instead.")
    return values


@spec
class Dataset(Spec, abc.ABC):
    """A data set and the part of its training images to learn from.

    `train_size` images (None: all) are drawn class by class with `subset_seed`; `val_size` others are held out
    first, the same ones for every subset. The test split is always whole. `attributes` names what is said of every test
    image beside its label.
    """

    attributes: ClassVar[tuple[str, ...]] = ()

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

    @property
    def is_whole(self) -> bool:
        """Whether no subset is asked for: one data set within another leaves that to the outer one."""
        return (self.train_size, self.subset_seed, self.val_size) == (None, 0, 0)

    def subset_of(self, of: "Dataset") -> Data:
        """Another data set, loaded with the subset of this one. Raises `InputError` as `load` does."""
        subset = {"train_size": self.train_size, "subset_seed": self.subset_seed, "val_size": self.val_size}
        return of.replace(**subset).load()
