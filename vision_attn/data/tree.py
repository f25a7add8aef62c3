"""A tree of images, `train/<class>/<file>` and `test/<class>/<file>`, in a folder or an archive, as arrays."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vision_attn.data.archive import MAX_MEMBER_BYTES, SUFFIXES, Member, is_hidden, members, safe_parts
from vision_attn.data.arrays import Arrays
from vision_attn.data.cache import Source
from vision_attn.data.decode import decode, fitted
from vision_attn.data.locations import MissingData
from vision_attn.resources import free_memory
from vision_attn.spec import MOST_NAMED, InputError, canonical

SPLITS = ("train", "test")
LAYOUT = "train/<class>/<image> and test/<class>/<image>"
MAX_PIXEL_BYTES = 16 * 2**30
SHARE_OF_MEMORY = 0.4
"""Of the free memory so much may be taken by decoded pixels: training needs as much again for its copies."""


@dataclasses.dataclass(frozen=True)
class ImageTree(Source):
    """Images below a folder or in an archive. Its identity is the sha256 of the archive or of the folder's listing.

    With `image_size`, which is a part of the identity then, images may have any shape: of each the middle square is
    brought to so many pixels a side.
    """

    path: Path
    image_size: int | None = None

    def read(self) -> Arrays:
        """All images, ordered by class and then by file name. Raises `InputError` naming what is not as it must be."""
        if not self.path.exists() or image_tree(self.path, name=self.name, image_size=self.image_size) != self:
            size = "" if self.image_size is None else f" --image-size {self.image_size}"
            raise MissingData(
                f"The decoded copy of {self.name!r} is gone or damaged and '{self.path}' is not there or has changed; "
                f"bring it in again with `vision-attn data import PATH --name {self.name}{size}`."
            )
        try:
            found = self._decoded()
        except OSError as error:
            raise InputError(f"'{error.filename or self.path}' cannot be read: {error.strerror}.") from error
        for split in SPLITS:
            if not found[split]:
                other = ", ".join(_folders(self.path)[:MOST_NAMED])
                there = f", but the folders {other}" if other else ""
                raise InputError(f"'{self.path}' must hold {LAYOUT}. It has no class in {split}/{there}.")
        classes = tuple(sorted(found["train"] | found["test"]))
        shapes = {image.shape for split in SPLITS for kept in found[split].values() for image in kept.values()}
        side, colour = next(iter(shapes), (1,))[0], any(len(shape) == 3 for shape in shapes)
        train_images, train_labels = _stacked(found["train"], classes, side=side, colour=colour)
        test_images, test_labels = _stacked(found["test"], classes, side=side, colour=colour)
        arrays = Arrays(train_images, train_labels, test_images, test_labels, classes)
        arrays.require_usable(what=f"'{self.path}'")
        return arrays

    def _decoded(self) -> dict[str, dict[str, dict[str, np.ndarray]]]:
        """Images by split, class and file name."""
        found: dict[str, dict[str, dict[str, np.ndarray]]] = {split: {} for split in SPLITS}
        size: tuple[int, int] | None = None
        left = most = _most_pixel_bytes()
        for split, label, file, content in _placed(self.path):
            kept = found[split].setdefault(label, {})
            if content is None:
                continue
            name = f"Image {'/'.join((split, label, file))!r} of '{self.path}'"
            kept[file] = self._decoded_one(content, name=name, size=size, most_bytes=left)
            height, width = kept[file].shape[:2]
            size = (width, height)
            left -= 3 * width * height
            if left < 0:
                allowed = f"at most {most / 2**30:.2f} GiB of pixels, which this machine has the memory for"
                raise InputError(f"'{self.path}' must decode to {allowed}. It holds more.")
        return found

    def _decoded_one(self, content: bytes, *, name: str, size: tuple[int, int] | None, most_bytes: int) -> np.ndarray:
        """One image (H, H) or (H, H, 3), as large as it is or as large as is asked for."""
        if self.image_size is None:
            return decode(content, name=name, size=size, most_bytes=most_bytes)
        pixels = decode(content, name=name, size=None, most_bytes=most_bytes, any_shape=True)
        square = fitted(pixels, size=self.image_size, in_chans=1 if pixels.ndim == 2 else 3)
        return square[0] if pixels.ndim == 2 else square.transpose(1, 2, 0)


def _most_pixel_bytes() -> int:
    """The bytes of pixels that a tree may decode to."""
    free = free_memory()
    return MAX_PIXEL_BYTES if free is None else min(MAX_PIXEL_BYTES, int(SHARE_OF_MEMORY * free))


def image_tree(path: Path, *, name: str, image_size: int | None = None) -> ImageTree:
    """The tree of images at `path`. Raises `InputError` where nothing that can be one lies there."""
    try:
        if path.is_dir():
            return _tree(name, _listing(path), path, image_size)
        if path.is_file():
            stat = path.stat()
            return _tree(name, file_sha256(path, stat.st_size, stat.st_mtime_ns), path, image_size)
    except OSError as error:
        raise InputError(f"'{error.filename or path}' cannot be read: {error.strerror}.") from error
    raise InputError(f"path must be a folder or an archive ({', '.join(SUFFIXES)}) of images. Got '{path}' instead.")


def _tree(name: str, identity: str, path: Path, image_size: int | None) -> ImageTree:
    if image_size is not None:
        identity = hashlib.sha256(canonical([identity, image_size])).hexdigest()
    return ImageTree(name=name, identity=identity, path=path, image_size=image_size)


@functools.lru_cache(maxsize=64)
def file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """sha256, in hex, of a file; computed once a process while its size and time stay the same."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(root: Path) -> str:
    rows = []
    for parts, file in _files(root):
        stat = file.stat() if file is not None else None
        rows.append(["/".join(parts), *([stat.st_size, stat.st_mtime_ns] if stat else [])])
    return hashlib.sha256(canonical(sorted(rows))).hexdigest()


def _files(root: Path) -> Iterator[tuple[tuple[str, ...], Path | None]]:
    """The class folders, with None, and the files. Two levels deep, so that no link can lead round in circles."""
    for split in SPLITS:
        for label in (root / split).iterdir() if (root / split).is_dir() else ():
            parts = safe_parts(f"{split}/{label.name}", root)
            if is_hidden(parts):
                continue
            if not label.is_dir():
                raise InputError(f"'{label}' must lie in a class folder: {LAYOUT}.")
            yield parts, None
            for file in label.iterdir():
                inner = safe_parts(f"{split}/{label.name}/{file.name}", root)
                if not is_hidden(inner):
                    _require_plain(file)
                    yield inner, file


def _folders(path: Path) -> list[str]:
    """The folders at the top, or in the one that is alone there, for who looks for others."""
    if path.is_dir():
        inside = [one for one in path.iterdir() if one.is_dir()]
        inside = list(inside[0].iterdir()) + inside if len(inside) == 1 else inside
        return sorted(str(one.relative_to(path)) for one in inside if one.is_dir() and not one.name.startswith("."))
    tops = {parts[: 1 + (len(parts) > 3)] for parts, _ in members(path) if len(parts) > 1 and not is_hidden(parts)}
    return sorted("/".join(parts) for parts in tops)


def _require_plain(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"'{file}' must be an image file; a class folder holds nothing else.")
    if file.stat().st_size > MAX_MEMBER_BYTES:
        raise InputError(f"'{file}' must be at most {MAX_MEMBER_BYTES // 2**20} MiB.")


def _members(path: Path) -> Iterator[Member]:
    if not path.is_dir():
        yield from members(path)
        return
    for parts, file in _files(path):
        yield Member(
            parts, file.read_bytes() if file is not None and len(parts) == 3 else None if file is None else b""
        )


def _placed(path: Path) -> Iterator[tuple[str, str, str, bytes | None]]:
    """Split, class, file name and content of every image, and of every class folder, with no content.

    The tree may lie below one folder. What lies outside train/ and test/ is not looked at.
    """
    tops = set()
    for parts, content in _members(path):
        depth = next((depth for depth in (0, 1) if parts[depth : depth + 1] and parts[depth] in SPLITS), None)
        if depth is None or is_hidden(parts):
            continue
        tops.add(parts[:depth])
        if len(tops) > 1:
            raise InputError(f"'{path}' must hold {LAYOUT} in one place. It has train/ or test/ in several folders.")
        inner = parts[depth:]
        if content is not None and len(inner) != 3:
            raise InputError(f"{'/'.join(parts)!r} in '{path}' must lie in a class folder: {LAYOUT}.")
        if content is not None:
            yield inner[0], inner[1], inner[2], content
        elif len(inner) == 2:
            yield inner[0], inner[1], "", None


def _stacked(
    found: dict[str, dict[str, np.ndarray]], classes: tuple[str, ...], *, side: int, colour: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W) and labels (N,) in the order of class and file name. Takes the images out of `found`."""
    labels = np.repeat(np.arange(len(classes)), [len(found.get(label, {})) for label in classes])
    images = np.empty((len(labels), 3 if colour else 1, side, side), np.uint8)
    ordered = (found[label].pop(file) for label in classes for file in sorted(found.get(label, {})))
    for row, image in zip(images, ordered, strict=True):
        row[:] = image.transpose(2, 0, 1) if image.ndim == 3 else image
    return images, labels
