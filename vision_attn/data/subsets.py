"""Stratified subsets of the training images: nested over their size, the same for every model.

Permutations are sorts of the raw output of PCG64. NumPy keeps that stream the same over its versions, which it does
not promise for `Generator.permutation`. Seeds are hashed with their purpose, so subset seed 0 shares nothing with
another use of 0.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from vision_attn.spec import InputError


def permutation(size: int, *, purpose: str, seed: int) -> np.ndarray:
    """A permutation of `size` positions that depends on the purpose and the seed alone."""
    key = int.from_bytes(hashlib.sha256(f"{purpose}:{seed}".encode()).digest()[:16])
    return np.argsort(np.random.PCG64(key).random_raw(size), kind="stable")


def permuted_classes(labels: np.ndarray, *, num_classes: int, purpose: str, seed: int) -> list[np.ndarray]:
    """For each class its indices in a fixed random order."""
    found = []
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        found.append(members[permutation(len(members), purpose=f"{purpose}:class {label}", seed=seed)])
    return found


def split_indices(
    labels: np.ndarray,
    *,
    train_size: int | None,
    subset_seed: int,
    val_size: int,
    classes: Sequence[str] | None = None,
    what: str = "the data set",
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training subset and of the validation split, int64, ascending.

    Each takes the same number from every class. Validation images come first in an order of their own, whatever
    the subset seed; the subset is the head of a per-class permutation of the others, so a smaller one lies inside a
    larger one. `train_size` None takes all the others, also where classes differ in size.
    Raises `InputError` where a size does not divide by the classes, exceeds what is there or leaves a class empty.
    """
    num_classes = len(classes) if classes is not None else int(labels.max()) + 1
    names = classes if classes is not None else [str(label) for label in range(num_classes)]
    counts = np.bincount(labels, minlength=num_classes)

    def share(field: str, size: int, *, least: int, left: np.ndarray, what_is_left: str) -> int:
        """How many of each class `size` takes."""
        if size < least or size % num_classes:
            positive = "a positive multiple" if least else "0 or a positive multiple"
            raise InputError(f"{field} of {what} must be {positive} of its {num_classes} classes. Got {size} instead.")
        small = int(np.argmin(left))
        if size // num_classes > left[small]:
            raise InputError(
                f"{field} of {what} must be at most {max(0, left[small]) * num_classes}, as class {names[small]!r} "
                f"has {left[small]} {what_is_left}. Got {size} instead."
            )
        return size // num_classes

    held_out = share("val_size", val_size, least=0, left=counts - 1, what_is_left="training images to spare")
    taken = None
    if train_size is not None:
        beside = " beside the validation split" if val_size else ""
        left = counts - held_out
        taken = share("train_size", train_size, least=1, left=left, what_is_left=f"training images{beside}")

    order = {"num_classes": num_classes}
    validation = [
        members[:held_out] for members in permuted_classes(labels, **order, purpose="validation split", seed=0)
    ]
    val = np.sort(np.concatenate(validation))
    train = [
        members[~np.isin(members, val)][:taken]
        for members in permuted_classes(labels, **order, purpose="training subset", seed=subset_seed)
    ]
    return np.sort(np.concatenate(train)), val


def indices_sha256(indices: np.ndarray) -> str:
    """sha256, in hex, of the indices as little-endian int64."""
    return hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8").data).hexdigest()
