"""Small image trees for tests: made-up images as encoded files, in folders, tars and zips."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(seed, *, side=8, grey=False):
    shape = (side, side) if grey else (side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def image_files(*, classes=("cat", "dog"), train=3, test=2, side=8, grey=False):
    """File name -> content, with lossless images whose seed is their position."""
    names = [
        f"{split}/{label}/{index}.png"
        for split, count in (("train", train), ("test", test))
        for label in classes
        for index in range(count)
    ]
    return {name: png(pixels_of(seed, side=side, grey=grey)) for seed, name in enumerate(names)}


def write_folder(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_tar(path, files, *, mode="w:gz", extra=()):
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
