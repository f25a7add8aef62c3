"""Idx: files by the format's description, byte by byte; headers are not believed."""

import gzip
import tracemalloc

import numpy as np
import pytest

from vision_attn.data import Idx, idx
from vision_attn.data.catalog import catalog
from vision_attn.data.idx import FILES, read_idx
from vision_attn.spec import InputError


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def arrays():
    chance = np.random.default_rng(0)
    return (
        chance.integers(0, 256, (12, 6, 6)),
        np.arange(12) % 3,
        chance.integers(0, 256, (6, 6, 6)),
        np.arange(6) % 3,
    )


def write(folder, contents, *, compressed):
    folder.mkdir(exist_ok=True)
    for name, content in zip(FILES, contents, strict=True):
        path = folder / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)


@pytest.mark.parametrize("compressed", [False, True])
def test_plain_and_compressed_files_are_read(data_dir, compressed):
    write(data_dir / "fashion-mnist", map(idx_bytes, arrays()), compressed=compressed)
    data = Idx().load()
    train_images, train_labels, test_images, test_labels = arrays()
    assert np.array_equal(data.train.images[:, 0].numpy(), train_images)
    assert np.array_equal(data.test.images[:, 0].numpy(), test_images)
    assert data.train.labels.tolist() == train_labels.tolist()
    assert data.test.labels.tolist() == test_labels.tolist()
    assert (data.name, data.classes, data.flip, data.in_chans) == ("fashion-mnist", ("0", "1", "2"), False, 1)
    assert next(row["here"] for row in catalog() if row["spec"] == "Idx()") == "yes"


def test_plain_and_compressed_files_have_one_fingerprint(data_dir):
    for name, compressed in (("a", False), ("b", True)):
        write(data_dir / name, map(idx_bytes, arrays()), compressed=compressed)
    assert Idx(name="a").load().fingerprint == Idx(name="b", flip=True).load().fingerprint


def test_files_that_are_not_there_are_refused_with_their_names(data_dir):
    (data_dir / "mnist").mkdir()
    (data_dir / "mnist" / FILES[0]).write_bytes(b"")
    with pytest.raises(InputError) as found:
        Idx(name="mnist").load()
    assert all(name in str(found.value) for name in (*FILES, str(data_dir / "mnist"), "'mnist'"))
    with pytest.raises(InputError, match="name of Idx must be 1 to 64 of"):
        Idx(name="../x")


def refused(tmp_path, content, *, dims=3, compressed=False):
    path = tmp_path / ("it.gz" if compressed else "it")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(InputError) as found:
        read_idx(path, dims=dims)
    assert str(path) in str(found.value)
    return str(found.value)


IMAGES = idx_bytes(np.zeros((2, 3, 3)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (IMAGES[:-1], "must"),
        (IMAGES + b"x", "must"),
        (IMAGES[:10], "must be an IDX file of unsigned bytes in 3 dimensions"),
        (b"", "must be an IDX file of unsigned bytes in 3 dimensions"),
        (bytes([0, 0, 13, 3]) + IMAGES[4:], "must be an IDX file of unsigned bytes"),
        (idx_bytes(np.zeros(4)), "must be an IDX file of unsigned bytes in 3 dimensions"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "must hold at most 4 GiB"),
        (b"<html>" + bytes(100), "must be an IDX file"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, content, words, compressed):
    assert words in refused(tmp_path, content, compressed=compressed)


def test_a_compressed_file_that_is_damaged_is_refused(tmp_path):
    whole = gzip.compress(IMAGES)
    for content in (whole[:-10], whole[:20], b"\x1f\x8b" + bytes(20), whole[:-8] + bytes(8)):
        (tmp_path / "it.gz").write_bytes(content)
        with pytest.raises(InputError, match="must be a whole IDX file"):
            read_idx(tmp_path / "it.gz", dims=3)


def test_a_bomb_is_read_no_further_than_its_header_says(tmp_path):
    path = tmp_path / "it.gz"
    path.write_bytes(gzip.compress(IMAGES + bytes(50 * 2**20)))
    tracemalloc.start()
    with pytest.raises(InputError, match="must hold the 18 bytes that its header says"):
        read_idx(path, dims=3)
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("position", "array", "words"),
    [
        (1, np.arange(11) % 3, "must hold a label for each of 12 images. It has 11."),
        (3, np.array([0, 1, 1, 1, 0, 0]), "Class '2' of fashion-mnist has no test image"),
        (0, np.zeros((12, 6, 5)), "must be square"),
        (2, np.zeros((6, 7, 7)), "must have one shape"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(data_dir, position, array, words):
    contents = [idx_bytes(each) for each in arrays()]
    contents[position] = idx_bytes(array)
    write(data_dir / "fashion-mnist", contents, compressed=False)
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        Idx().load()


def test_the_size_limit_is_on_bytes_not_on_the_count_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MAX_BYTES", 17)
    assert "must hold at most" in refused(tmp_path, IMAGES)
