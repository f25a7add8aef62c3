"""All images and labels of a data set, with their fingerprint; and the part of them that a spec asks for."""

import dataclasses
import hashlib
import math

import numpy as np
import torch

from vision_attn.data.base import Data, Dataset, Split
from vision_attn.data.subsets import indices_sha256, split_indices
from vision_attn.spec import InputError, canonical

PARTS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """Images, uint8 of shape (N, C, H, H), and labels, whole numbers of shape (N,), of both splits.

    Lists and tensors become arrays of numpy.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in PARTS:
            object.__setattr__(self, part, np.asarray(getattr(self, part)))
        object.__setattr__(self, "classes", tuple(self.classes))

    def fingerprint(self) -> str:
        """sha256, in hex, over the bytes of images and labels, train then test, each after its type and shape."""
        digest = hashlib.sha256()
        for part in PARTS:
            array = getattr(self, part)
            digest.update(canonical([part, array.dtype.str, list(array.shape)]))
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def require_usable(self, *, what: str) -> None:
        """Raise `InputError` where types, shapes or labels do not fit, or a class has no image in a split."""
        self._require_classes(what)
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.dtype != np.uint8 or images.ndim != 4:
                given = f"{images.dtype} of shape {images.shape}"
                raise InputError(f"{split} images of {what} must be uint8 of shape (N, C, H, H). Got {given} instead.")
            if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
                allowed = f"whole numbers of shape ({len(images)},), one an image"
                given = f"{labels.dtype} of shape {labels.shape}"
                raise InputError(f"{split} labels of {what} must be {allowed}. Got {given} instead.")
        height, width = self.train_images.shape[-2:]
        if height != width:
            raise InputError(f"Images of {what} must be square. Got {width} x {height} pixels instead.")
        if self.test_images.shape[1:] != self.train_images.shape[1:]:
            shapes = f"{self.train_images.shape[1:]} and {self.test_images.shape[1:]}"
            raise InputError(f"Train and test images of {what} must have one shape. Got {shapes} instead.")
        for split, labels in (("train", self.train_labels), ("test", self.test_labels)):
            self._require_labels(f"{split} labels of {what}", labels)
            counts = np.bincount(_whole(labels), minlength=len(self.classes))
            if not counts.all():
                empty = self.classes[int(np.argmin(counts))]
                raise InputError(f"Class {empty!r} of {what} has no {split} image; every class needs some.")

    def _require_classes(self, what: str) -> None:
        if len(self.classes) < 2:
            raise InputError(f"{what} must have at least two classes. Got {len(self.classes)} instead.")
        if not all(isinstance(one, str) for one in self.classes) or len(set(self.classes)) < len(self.classes):
            raise InputError(f"classes of {what} must be texts that differ. Got {tuple(self.classes)!r} instead.")

    def _require_labels(self, what: str, labels: np.ndarray) -> None:
        for extreme in (int(labels.min(initial=0)), int(labels.max(initial=0))):
            if not 0 <= extreme < len(self.classes):
                allowed = f"from 0 to {len(self.classes) - 1}, as there are {len(self.classes)} classes"
                raise InputError(f"{what} must be {allowed}. Got {extreme} instead.")


def select(dataset: Dataset, arrays: Arrays, *, fingerprint: str, flip: bool) -> Data:
    """The training subset and validation split that the spec asks for, and the whole test split.

    The tensors are copies: changing them in place changes nothing for the next run of the process.
    Raises `InputError` where the sizes do not fit the data, or the arrays each other.
    """
    arrays.require_usable(what=dataset.label)
    train, val = split_indices(
        _whole(arrays.train_labels),
        train_size=dataset.train_size,
        subset_seed=dataset.subset_seed,
        val_size=dataset.val_size,
        classes=arrays.classes,
        what=dataset.label,
    )
    subset = _split(arrays.train_images[train], arrays.train_labels[train])
    mean, std = channel_statistics(subset.images)
    return Data(
        name=dataset.label,
        train=subset,
        val=_split(arrays.train_images[val], arrays.train_labels[val]) if len(val) else None,
        test=_split(np.array(arrays.test_images), np.array(arrays.test_labels)),
        classes=arrays.classes,
        fingerprint=fingerprint,
        subset_sha256=indices_sha256(train),
        flip=flip,
        mean=mean,
        std=std,
    )


def channel_statistics(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in [0, 1], representable in float32.

    Sums run over integers and are exact, whatever the number of threads. A channel that is constant gets standard
    deviation 1, so that normalising it gives 0.
    """
    channels = images.shape[1]
    total, squares = torch.zeros(2, channels, dtype=torch.int64)
    for chunk in images.split(1024):
        total += chunk.sum(dim=(0, 2, 3), dtype=torch.int64)
        squares += chunk.int().square_().sum(dim=(0, 2, 3), dtype=torch.int64)
    count = images.numel() // channels
    sums = list(zip(total.tolist(), squares.tolist(), strict=True))
    mean = [first / count / 255 for first, _ in sums]
    spread = [math.sqrt(second * count - first**2) / count / 255 or 1.0 for first, second in sums]
    return _float32(mean), _float32(spread)


def _float32(values: list[float]) -> tuple[float, ...]:
    return tuple(torch.tensor(values, dtype=torch.float32).tolist())


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images), torch.from_numpy(_whole(labels)))


def _whole(labels: np.ndarray) -> np.ndarray:
    """Whole numbers of any type as int64, which torch and numpy count in; int64 themselves are not copied."""
    return labels.astype(np.int64, copy=False)
