"""Data that a `load` of one's own gives are looked through before any run."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from vision_attn import trial
from vision_attn.data import Data, Dataset, Split
from vision_attn.data.usable import require_usable
from vision_attn.spec import InputError, spec

IMAGES, LABELS = torch.arange(4 * 3 * 4, dtype=torch.uint8).view(4, 3, 2, 2), torch.tensor([0, 1, 0, 1])
SOUND = Data.from_tensors(IMAGES, LABELS)


def changed(part, **fields):
    return {part: dataclasses.replace(getattr(SOUND, part), **fields)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": None}, "train of Mine must be a Split or a Stream here. Got None instead."),
        ({"val": (1, 2)}, "val of Mine must be a Split or None here. Got (1, 2) instead."),
        ({"classes": 2}, "classes of Mine must be a tuple of texts here. Got 2 instead."),
        (
            changed("test", images=IMAGES.float()),
            "test images of Mine must be uint8 of shape (N, C, H, H) here. Got torch.float32 of shape (4, 3, 2, 2)",
        ),
        (
            changed("train", images=IMAGES[:, :1]),
            "train images of Mine must be of one shape with the test images, (3, 2, 2) here. Got (1, 2, 2) instead.",
        ),
        (
            changed("train", labels=LABELS.int()),
            "train labels of Mine must be int64 of shape (4,) from 0 to 1 here. Got torch.int32 of shape (4,), from 0",
        ),
        (
            changed("train", labels=LABELS + 2j),
            "train labels of Mine must be int64 of shape (4,) from 0 to 1 here. Got torch.complex64 of shape (4,), fro",
        ),
        (
            changed("train", labels=LABELS.to(torch.uint64)),
            "train labels of Mine must be int64 of shape (4,) from 0 to 1 here. Got torch.uint64 of shape (4,), from 0",
        ),
        (
            changed("train", labels=torch.full((4,), torch.nan)),
            "train labels of Mine must be int64 of shape (4,) from 0 to 1 here. Got torch.float32 of shape (4,), from ",
        ),
        (
            changed("test", labels=LABELS + 1),
            "test labels of Mine must be int64 of shape (4,) from 0 to 1 here. Got torch.int64 of shape (4,), from 1",
        ),
        (
            changed("test", attributes={"size": torch.zeros(3)}),
            "attribute 'size' of the test split of Mine must be int64 of shape (4,) here. Got torch.float32",
        ),
        ({"mean": (0.5,)}, "mean of Mine must be a finite number for each of 3 channels here. Got (0.5,) instead."),
        (
            {"std": (1.0, 0.0, 1.0)},
            "std of Mine must be a finite number for each of 3 channels, more than 0 here. Got (1.0, 0.0, 1.0)",
        ),
        (
            {"fingerprint": None},
            "fingerprint of Mine must be a text, such as Arrays.fingerprint() gives here. Got None instead.",
        ),
        ({"flip": None}, "flip of Mine must be True or False here. Got None instead."),
        (
            {"order": torch.tensor([0, 1, 2, 2])},
            "order of Mine must be int64 with each of 4 pixels once here. Got tensor([0, 1, 2, 2]) instead.",
        ),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_part_that_cannot_be_used_is_named(changes, sentence):
    with pytest.raises(InputError) as error:
        require_usable(dataclasses.replace(SOUND, **changes), what="Mine", place=" here")
    assert str(error.value).startswith(sentence)


def test_numbers_by_channel_may_be_an_array_and_a_validation_split_is_looked_at_too():
    require_usable(dataclasses.replace(SOUND, mean=np.zeros(3), val=SOUND.test), what="Mine", place="")
    wrong = dataclasses.replace(SOUND, val=Split(IMAGES, LABELS.float()))
    with pytest.raises(InputError, match="val labels of Mine must be"):
        require_usable(wrong, what="Mine", place="")


def test_data_that_are_others_in_every_load_are_refused():
    counted = itertools.count()

    @spec
    class Fickle(Dataset):
        label = "fickle"

        def load(self):
            return Data.from_tensors(IMAGES + next(counted), LABELS)

    with pytest.raises(InputError, match=r"load of Fickle must give the same images and labels whenever it is called"):
        trial._loaded(Fickle())
