"""ImageFolder: images in class folders, in a directory or archive, decoded once and known by a name."""

import dataclasses
import hashlib
import re
from pathlib import Path

from vision_attn.data.archive import SUFFIXES
from vision_attn.data.arrays import select
from vision_attn.data.base import Data, Dataset
from vision_attn.data.cache import load_arrays
from vision_attn.data.decode import MAX_SIDE
from vision_attn.data.locations import MissingData, cache_dir, data_dirs
from vision_attn.data.tree import ImageTree, image_tree
from vision_attn.spec import InputError, spec
from vision_attn.store import DamagedFile, read_json, write_json

_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"


@spec
class ImageFolder(Dataset):
    """Images in `train/<class>/` and `test/<class>/`, found by name in the data folders, else among those imported.

    All are squares of one size, unless `vision-attn data import --image-size` has made them so. In a data folder it is
    the folder `<name>/` or the archive `<name>.tar[.gz|.xz|.bz2]`, `<name>.tgz`, `<name>.zip`.
    """

    name: str
    flip: bool = True

    def check(self) -> None:
        self.require("name", is_name(self.name), NAME_RULE)

    def load(self) -> Data:
        found = load_arrays(find_tree(self.name), cache_dir())
        return select(self, found.arrays, fingerprint=found.fingerprint, flip=self.flip)

    @property
    def label(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import brought in; `repeated` counts the test images that are training images, too, to the pixel."""

    name: str
    train_size: int
    test_size: int
    num_classes: int
    image_size: int
    in_chans: int
    fingerprint: str
    repeated: int = 0

    def __str__(self) -> str:
        side = f"{self.image_size} x {self.image_size} x {self.in_chans}"
        said = f"{self.repeated} of {self.test_size} test images are training images, too: on these, accuracy is memory"
        return (
            f"{self.name}: {self.train_size} train and {self.test_size} test images of {side} in {self.num_classes} "
            f"classes, fingerprint {self.fingerprint}" + (f"\n{said}" if self.repeated else "")
        )


def is_name(text: str) -> bool:
    """Whether a text can name a data set: it becomes part of file names and captions."""
    return _NAME.fullmatch(text) is not None


def import_folder(path: Path, *, name: str | None = None, image_size: int | None = None) -> Imported:
    """Decode an image folder or archive and keep it under a name; one imported earlier under that name is replaced.

    With `image_size` the middle square of every image is brought to so many pixels a side; without, all have to be
    squares of one size. Raises `InputError` where it is not such a tree, the name or the size is none or the cache
    cannot be written.
    """
    hint = "" if name is not None else ", which the path is called: give another by --name"
    name = name if name is not None else _stem(path)
    if not is_name(name):
        raise InputError(f"name of a data set must be {NAME_RULE}. Got {name!r} instead{hint}.")
    if image_size is not None and not (isinstance(image_size, int) and 1 <= image_size <= MAX_SIDE):
        raise InputError(f"image_size must be a whole number from 1 to {MAX_SIDE:,}. Got {image_size!r} instead.")
    tree = image_tree(path.resolve(), name=name, image_size=image_size)
    loaded = load_arrays(tree, cache_dir())
    record = _record(name)
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, {"path": str(tree.path), "identity": tree.identity, "image_size": tree.image_size})
    except OSError as error:
        raise InputError(f"The cache '{cache_dir()}' must be writable to import: {error.strerror}.") from error
    arrays = loaded.arrays
    trained = {hashlib.sha256(image).digest() for image in arrays.train_images}
    return Imported(
        name=name,
        train_size=len(arrays.train_labels),
        test_size=len(arrays.test_labels),
        num_classes=len(arrays.classes),
        image_size=arrays.train_images.shape[-1],
        in_chans=arrays.train_images.shape[1],
        fingerprint=loaded.fingerprint,
        repeated=sum(hashlib.sha256(image).digest() in trained for image in arrays.test_images),
    )


def find_path(name: str) -> Path | None:
    """The folder or archive of that name in the data folders, the first there is."""
    for folder in data_dirs():
        for candidate in (folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)):
            if (candidate / "train").is_dir() or (candidate.is_file() and candidate.name != name):
                return candidate.absolute()
    return None


def imported_names() -> list[str]:
    """The names under which image folders were imported."""
    return sorted(record.stem for record in _record("any").parent.glob("*.json") if is_name(record.stem))


def find_tree(name: str) -> ImageTree:
    """The tree of that name in the data folders, else the one imported. Raises `MissingData` where there is none."""
    path = find_path(name)
    try:
        record = read_json(_record(name))
    except (FileNotFoundError, DamagedFile):
        record = None
    if path is not None:
        is_imported = record is not None and Path(record["path"]) == path.resolve()
        return image_tree(path, name=name, image_size=record.get("image_size") if record and is_imported else None)
    if record is None:
        if other := next((folder / name for folder in data_dirs() if (folder / name).is_dir()), None):
            return image_tree(other.absolute(), name=name)  # of other folders, which reading it names
        looked = ", ".join(f"'{folder}'" for folder in data_dirs())
        where = f"not found in {looked}" if looked else "not found"
        raise MissingData(
            f"Data set {name!r} {where}. Pass --data-dir FOLDER, or import it: "
            f"vision-attn data import PATH --name {name}"
        )
    place, size = Path(record["path"]), record.get("image_size")
    return ImageTree(name=name, identity=record["identity"], path=place, image_size=size)


def _record(name: str) -> Path:
    return cache_dir() / "imports" / f"{name}.json"


def _stem(path: Path) -> str:
    """The name of a path without the suffix of an archive."""
    suffix = max((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), key=len, default="")
    return path.absolute().name.removesuffix(suffix)
