"""Memory that a tree of images takes: no more than there is, and its pixels once."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from image_trees import png, write_folder, write_tar

from vision_attn.data import decode, tree
from vision_attn.spec import InputError

SIDE = 256
NAMES = [f"{split}/{label}/{number}.png" for split in tree.SPLITS for label in ("cat", "dog") for number in range(6)]
PIXELS = len(NAMES) * SIDE * SIDE * 3


@pytest.fixture
def archive(tmp_path):
    """24 images of one colour: a few kB of files, a thousand times as many pixels."""
    flat = png(np.full((SIDE, SIDE, 3), 7, np.uint8))
    return write_tar(tmp_path / "flat.tar.gz", dict.fromkeys(NAMES, flat))


def test_images_are_given_up_as_they_are_put_together(archive):
    """Of the pixels of a split no image is kept beside the array; memory is reserved for one split at a time."""
    assert archive.stat().st_size < PIXELS / 200
    source = tree.image_tree(archive, name="flat")
    tracemalloc.start()
    arrays = source.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert arrays.train_images.nbytes + arrays.test_images.nbytes == PIXELS
    assert peak < 1.6 * PIXELS


@pytest.mark.slow
def test_24_large_images_in_a_small_archive_take_their_pixels_once(tmp_path):
    flat = png(np.full((4096, 4096, 3), 7, np.uint8))
    path = write_tar(tmp_path / "flat.tar.gz", dict.fromkeys(NAMES, flat))
    assert path.stat().st_size < 2 << 20
    code = "import resource, sys; from pathlib import Path; from vision_attn.data import cache, tree\n"
    code += "source = tree.image_tree(Path(sys.argv[1]), name='flat'); cache.load_arrays(source, Path(sys.argv[2]))\n"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "cache")]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(said.stdout) * 1024 < 2 * 10**9


def test_pixels_beyond_the_memory_that_is_free_are_refused_before_they_are_decoded(archive, monkeypatch):
    monkeypatch.setattr(tree, "free_memory", lambda: int(PIXELS / tree.SHARE_OF_MEMORY / 2))
    with pytest.raises(InputError, match="needs more memory than this machine has free"):
        tree.image_tree(archive, name="flat").read()
    monkeypatch.setattr(tree, "free_memory", lambda: int(PIXELS / tree.SHARE_OF_MEMORY) + 10)
    assert len(tree.image_tree(archive, name="flat").read().train_labels) == 12


def test_memory_that_ends_while_an_image_is_decoded_is_a_sentence(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "tree", {name: png(np.zeros((8, 8), np.uint8)) for name in NAMES})

    def starve(image):
        raise MemoryError

    monkeypatch.setattr(decode, "_pixels", starve)
    with pytest.raises(InputError, match=r"Image 'train/.*' of '.*' needs more memory than this machine has free"):
        tree.image_tree(folder, name="flat").read()
