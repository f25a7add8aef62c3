"""Arrays: what the fingerprint covers, and the statistics of the channels."""

import hashlib
import json

import numpy as np
import pytest
import torch

from vision_attn.data.arrays import PARTS, Arrays, channel_statistics, select
from vision_attn.data.mnist5k import Mnist5k
from vision_attn.data.usable import require_usable
from vision_attn.spec import InputError


def arrays(**changes):
    chance = np.random.default_rng(0)
    labels = np.arange(12, dtype=np.int64) % 3
    made = {
        "train_images": chance.integers(0, 256, (12, 2, 4, 4), dtype=np.uint8),
        "train_labels": labels,
        "test_images": chance.integers(0, 256, (6, 2, 4, 4), dtype=np.uint8),
        "test_labels": labels[:6],
        "classes": ("a", "b", "c"),
    }
    return Arrays(**{**made, **changes})


def test_the_fingerprint_is_the_hash_of_types_shapes_and_bytes_in_order():
    made = arrays()
    by_hand = b""
    for part, letter in zip(PARTS, ("|u1", "<i8") * 2, strict=True):
        array = getattr(made, part)
        by_hand += json.dumps([part, letter, list(array.shape)], separators=(",", ":")).encode() + array.tobytes()
    assert made.fingerprint() == hashlib.sha256(by_hand).hexdigest()


@pytest.mark.parametrize("part", PARTS)
def test_one_changed_pixel_or_label_changes_the_fingerprint(part):
    changed = getattr(arrays(), part).copy()
    changed.flat[-1] ^= 1
    assert arrays(**{part: changed}).fingerprint() != arrays().fingerprint()


def test_channel_statistics_are_those_of_numpy_in_double_precision():
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3000, 3, 5, 5), dtype=np.uint8))
    scaled = images.numpy().astype(np.float64) / 255
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(scaled.mean(axis=(0, 2, 3)), rel=1e-6)
    assert std == pytest.approx(scaled.std(axis=(0, 2, 3)), rel=1e-6)
    assert all(value == float(np.float32(value)) for value in (*mean, *std))


def test_a_constant_channel_is_normalised_to_zero():
    images = torch.full((4, 2, 3, 3), 255, dtype=torch.uint8)
    images[0, 1] = 0
    assert channel_statistics(images)[0][0] == 1.0
    assert channel_statistics(images)[1][0] == 1.0
    assert 0 < channel_statistics(images)[1][1] < 1


def test_normalised_training_images_have_mean_0_and_deviation_1():
    data = select(Mnist5k(train_size=6), arrays(), fingerprint="f", flip=False)
    normal = data.normalise(data.train.images).double()
    assert normal.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert (normal.std(dim=(0, 2, 3), unbiased=False) - 1).abs().max() < 1e-6


def test_mean_and_deviation_come_from_the_training_subset_alone():
    whole = arrays()
    other = arrays(test_images=255 - whole.test_images)
    picked = [select(Mnist5k(train_size=3, val_size=3), each, fingerprint="f", flip=False) for each in (whole, other)]
    assert picked[0].mean == picked[1].mean == channel_statistics(picked[0].train.images)[0]


def test_selected_images_keep_their_labels_and_are_copies():
    whole = arrays()
    data = select(Mnist5k(train_size=6, val_size=3), whole, fingerprint="f", flip=False)
    known = {
        image.tobytes(): label for image, label in zip(whole.train_images, whole.train_labels.tolist(), strict=True)
    }
    for split in (data.train, data.val):
        assert [known[image.numpy().tobytes()] for image in split.images] == split.labels.tolist()
    data.test.images.zero_()
    data.train.images.zero_()
    assert whole.fingerprint() == arrays().fingerprint()


@pytest.mark.parametrize("kind", ["int32", "uint8", "uint64", ">i2"])
def test_labels_of_any_whole_type_load_as_int64_and_those_keep_their_fingerprint(kind):
    whole = arrays()
    other = arrays(train_labels=whole.train_labels.astype(kind), test_labels=whole.test_labels.astype(kind))
    spec = Mnist5k(train_size=6, val_size=3)
    plain, data = (select(spec, each, fingerprint="f", flip=False) for each in (whole, other))
    require_usable(data, what="x", place="")
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(data, split).labels, getattr(plain, split).labels)
        assert torch.equal(getattr(data, split).images, getattr(plain, split).images)
    assert data.subset_sha256 == plain.subset_sha256
    assert whole.fingerprint() == arrays().fingerprint() != other.fingerprint()


def test_data_without_a_validation_split_say_so():
    assert select(Mnist5k(), arrays(), fingerprint="f", flip=False).val is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"test_labels": np.array([0, 0, 0, 2, 2, 2])},
            "Class 'b' of x has no test image; every class needs some.",
        ),
        (
            {"train_images": np.zeros((12, 2, 4, 5), np.uint8)},
            "Images of x must be square. Got 5 x 4 pixels instead.",
        ),
        (
            {"test_images": np.zeros((6, 2, 5, 5), np.uint8)},
            "Train and test images of x must have one shape. Got (2, 4, 4) and (2, 5, 5) instead.",
        ),
        (
            {"train_images": np.zeros((12, 2, 4, 4))},
            "train images of x must be uint8 of shape (N, C, H, H). Got float64 of shape (12, 2, 4, 4) instead.",
        ),
        (
            {"train_labels": np.arange(11) % 3},
            "train labels of x must be whole numbers of shape (12,), one an image. Got int64 of shape (11,) instead.",
        ),
        (
            {"train_labels": np.arange(12) % 3 - 1},
            "train labels of x must be from 0 to 2, as there are 3 classes. Got -1 instead.",
        ),
        ({"classes": ("a", "b", "a")}, "classes of x must be texts that differ. Got ('a', 'b', 'a') instead."),
        ({"classes": ("a",)}, "x must have at least two classes. Got 1 instead."),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(changes, sentence):
    with pytest.raises(InputError) as refusal:
        arrays(**changes).require_usable(what="x")
    assert str(refusal.value) == sentence
