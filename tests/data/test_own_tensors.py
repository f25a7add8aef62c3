"""Data of one's own: tensors and torch's data sets."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from vision_attn.data import Arrays, Data
from vision_attn.spec import InputError

IMAGES = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).view(4, 3, 2, 2)
LABELS = torch.tensor([0, 1, 2, 1])
NAMED = "classes of Data must be their names in order, texts that differ, such as ('cat', 'dog')"


def test_bytes_are_held_as_they_are_and_normalised_by_their_own_mean_and_spread():
    data = Data.from_tensors(IMAGES, LABELS)
    assert torch.equal(data.test.images, IMAGES)
    assert (data.image_size, data.in_chans, data.num_classes, data.train_size) == (2, 3, 3, 4)
    normal = data.normalise(data.train.images)
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3), correction=0), torch.ones(3))


def test_floating_point_images_become_the_bytes_they_were_made_of():
    data = Data.from_tensors(IMAGES.float() / 255, LABELS.int(), mean=(0, 0, 0), std=(1, 1, 1))
    assert torch.equal(data.test.images, IMAGES)
    torch.testing.assert_close(data.normalise(data.test.images), IMAGES.float() / 255)


def test_the_statistics_are_those_of_the_training_images():
    data = Data.from_tensors(IMAGES, LABELS, train=(IMAGES[:1], LABELS[:1]), classes=("cat", "dog", "car"))
    expected = IMAGES[0].flatten(1).double().mean(1) / 255
    assert data.mean == pytest.approx(expected.tolist())
    assert data.classes == ("cat", "dog", "car")
    assert data.train_size == 1


def test_other_pixels_or_labels_are_another_fingerprint():
    one = Data.from_tensors(IMAGES, LABELS).fingerprint
    assert one == Data.from_tensors(IMAGES.clone(), LABELS).fingerprint
    assert one != Data.from_tensors(IMAGES, LABELS.flip(0)).fingerprint
    assert one != Data.from_tensors(255 - IMAGES, LABELS).fingerprint


def test_a_data_set_of_torch_gives_the_same_as_its_tensors():
    from_pairs = Data.from_dataset(TensorDataset(IMAGES, LABELS), train=TensorDataset(IMAGES[:2], LABELS[:2]))
    from_tensors = Data.from_tensors(IMAGES, LABELS, train=(IMAGES[:2], LABELS[:2]))
    assert from_pairs.fingerprint == from_tensors.fingerprint
    assert from_pairs.mean == from_tensors.mean


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            (IMAGES[0], LABELS),
            "images of Data must be a tensor or array (N, C, H, H), none of them 0. Got (3, 2, 2)",
        ),
        ((IMAGES.tolist(), LABELS), "images of Data must be a tensor or array (N, C, H, H), none of them 0. Got list"),
        ((IMAGES[:0], LABELS[:0]), "(N, C, H, H), none of them 0. Got (0, 3, 2, 2) instead."),
        ((IMAGES[:, :0], LABELS), "(N, C, H, H), none of them 0. Got (4, 0, 2, 2) instead."),
        ((IMAGES[..., :0, :0], LABELS), "(N, C, H, H), none of them 0. Got (4, 3, 0, 0) instead."),
        (
            (IMAGES.to_sparse(), LABELS),
            "images of Data must be a dense tensor that holds its numbers. Got one of sparse_coo instead.",
        ),
        ((IMAGES.to("meta"), LABELS), "images of Data must be a dense tensor that holds its numbers. Got one of meta"),
        ((IMAGES, LABELS.to("meta")), "labels of Data must be a dense tensor that holds its numbers. Got one of meta"),
        ((IMAGES, LABELS + 2j), "labels of Data must be a tensor of 4 whole numbers. Got (4,) of torch.complex64"),
        (
            (IMAGES, LABELS + 900_000_000),
            "labels of Data must be below 1,000,000: number the classes 0, 1, ... Got 900000000 instead.",
        ),
        (
            (IMAGES, LABELS.numpy().astype("uint64") + np.uint64(2**63 + 5)),
            "labels of Data must be below 1,000,000: number the classes 0, 1, ... Got 9223372036854775813 instead.",
        ),
        ((IMAGES.movedim(1, 3), LABELS), "(4, 2, 2, 3) instead. Put the channels first: images.transpose(0, 3, 1, 2)"),
        ((IMAGES[:, 0], LABELS), "Got (4, 2, 2) instead. Give them a channel: images[:, None]."),
        ((IMAGES, LABELS.numpy().astype("U1")), "labels of Data must be numbers that torch has. Got an array of <U1."),
        (
            (IMAGES.numpy().astype(object), LABELS),
            "images of Data must be numbers that torch has. Got an array of object.",
        ),
        ((IMAGES[..., :1], LABELS), "Got (4, 3, 2, 1) instead."),
        ((IMAGES, LABELS[:2]), "labels of Data must be a tensor of 4 whole numbers. Got (2,) of torch.int64 instead."),
        ((IMAGES, LABELS.float()), "labels of Data must be a tensor of 4 whole numbers. Got (4,) of torch.float32"),
        ((IMAGES, LABELS - 1), "labels of Data must be at least 0. Got -1 instead."),
        ((IMAGES.float() / 10, LABELS), "images of Data must be in [0, 1] where they are floating-point"),
        ((torch.full((4, 3, 2, 2), torch.nan), LABELS), "images of Data must be in [0, 1]"),
        ((IMAGES.long(), LABELS), "images of Data must be uint8 or floating-point. Got torch.int64 instead."),
    ],
)
def test_what_cannot_be_data_is_refused_with_one_sentence(given, sentence):
    with pytest.raises(InputError) as error:
        Data.from_tensors(*given)
    assert sentence in str(error.value)


def test_arrays_of_numpy_are_the_same_data_as_tensors_and_are_shown_by_their_shapes():
    arrays = Data.from_tensors(IMAGES.numpy(), LABELS.numpy().astype("int32"))
    assert arrays.fingerprint == Data.from_tensors(IMAGES, LABELS).fingerprint
    turned = IMAGES.numpy()[::-1].astype("uint8"), LABELS.numpy()[::-1].astype(">u2")
    turned[0].flags.writeable = False
    assert Data.from_tensors(turned[0][::-1], turned[1][::-1]).fingerprint == arrays.fingerprint
    shown = "Split((4, 3, 2, 2) uint8)"
    assert repr(arrays) == f"Data('tensors', train={shown}, val=None, test={shown}, 3 classes)"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"classes": ("a", "b")}, "labels of Data must be below the 2 classes. Got 2 instead."),
        *(
            ({"classes": classes}, f"{NAMED}. Got {given}")
            for classes, given in (
                (10, "10"),
                ("abc", "'abc'"),
                ({"a", "b", "c"}, "{'"),
                ({"a": 0, "b": 1, "c": 2}, "{'a'"),
                (("a", "b", "a"), "('a', 'b', 'a')"),
                (range(3), "range(0, 3)"),
                (np.array("abc"), "array('abc'"),
            )
        ),
        ({"name": 3}, "name of Data must be a text, such as 'digits'. Got 3 instead."),
        (
            {"mean": (33.3,) * 3},
            "mean of Data must be from 0 to 1, as images are in [0, 1]. Got (33.3, 33.3, 33.3) ins",
        ),
        (
            {"mean": (0, -0.1, 1)},
            "mean of Data must be from 0 to 1, as images are in [0, 1]. Got (0, -0.1, 1) instead.",
        ),
        ({"std": (78.6,) * 3}, "std of Data must be more than 0 and at most 1, as images are in [0, 1]. Got (78.6, 7"),
        *(
            ({"mean": mean}, f"mean of Data must have a finite number for each of 3 channels. Got {mean!r} instead.")
            for mean in (0.5, (0.5,), [float("nan")] * 3, "123", (0, 0, float("-inf")))
        ),
        ({"std": [float("inf")] * 3}, "std of Data must have a finite number for each of 3 channels. Got [inf, inf, "),
        ({"std": [10**400] * 3}, "std of Data must have a finite number for each of 3 channels. Got [1000"),
        ({"train": IMAGES}, "train of Data must be a pair of images and labels. Got a Tensor instead."),
        ({"train": (IMAGES,)}, "train of Data must be a pair of images and labels. Got a tuple of 1 instead."),
        ({"train": (IMAGES, LABELS * 10**6)}, "labels of Data must be below 1,000,000: number the classes"),
        ({"std": (0, 1, 1)}, "std of Data must be more than 0 and at most 1, as images are in [0, 1]. Got (0, 1, 1) "),
        ({"train": (IMAGES[:, :1], LABELS)}, "images of Data must have one shape."),
    ],
)
def test_options_that_do_not_fit_are_refused(options, sentence):
    with pytest.raises(InputError, match="of Data") as error:
        Data.from_tensors(IMAGES, LABELS, **options)
    assert sentence in str(error.value)


@pytest.mark.parametrize("classes", [["a", "b", "c"], np.array(["a", "b", "c"])], ids=["list", "array"])
def test_names_of_classes_in_any_order_that_is_kept_are_texts(classes):
    data = Data.from_tensors(IMAGES, LABELS, classes=classes)
    assert data.classes == ("a", "b", "c")
    assert {type(name) for name in data.classes} == {str}


def test_classes_of_several_names_as_of_imagenet_are_joined_and_told_apart():
    items = TensorDataset(IMAGES, LABELS)
    items.classes = [("tench", "Tinca tinca"), ("crane",), ("crane",)]
    assert Data.from_dataset(items).classes == ("tench, Tinca tinca", "crane (1)", "crane (2)")


def test_a_data_set_of_torch_is_refused_by_the_same_sentences():
    items = TensorDataset(IMAGES, LABELS)
    items.classes = {"a", "b", "c"}
    with pytest.raises(InputError) as error:
        Data.from_dataset(items)
    assert str(error.value).startswith(f"{NAMED}. Got {{'")
    assert Data.from_dataset(items, classes=("a", "b", "c")).classes == ("a", "b", "c")
    for option, sentence in (
        ({"std": (78.6,) * 3}, "std of Data must be more than 0 and"),
        ({"name": 3}, "name of Data"),
    ):
        with pytest.raises(InputError, match=sentence):
            Data.from_dataset(items, classes=("a", "b", "c"), **option)


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([IMAGES[0]], "items of a data set must be pairs of an image and a label. Got a Tensor of 3 instead."),
        ([{"image": IMAGES[0]}], "items of a data set must be pairs of an image and a label. Got a dict of 1 instead."),
        ([(IMAGES[0], "cat")], "labels of a data set must be whole numbers. Got 'cat' instead."),
        ([(IMAGES[0], 0.5)], "labels of a data set must be whole numbers. Got 0.5 instead."),
        ([(IMAGES[0], float("inf"))], "labels of a data set must be whole numbers. Got inf instead."),
        *(
            ([(IMAGES[0], label)], f"labels of Data must be below 1,000,000: number the classes 0, 1, ... Got {label} ")
            for label in (900_000_000, 2**63 + 5)
        ),
        ([(IMAGES[0], -(2**70))], f"labels of Data must be at least 0. Got {-(2**70)} instead."),
        ([(IMAGES[0], torch.eye(2))], "labels of a data set must be whole numbers. Got tensor("),
        (
            iter([]),
            "A data set must have a length and items by their number. Got a list_iterator",
        ),
        (
            [("picture", 1)],
            "images of a data set must be tensors, such as by torchvision.transforms.ToTensor().",
        ),
        ([(IMAGES[0], 1), (IMAGES[0, :, :1], 1)], "images of a data set must have one shape."),
    ],
)
def test_items_that_are_no_images_with_labels_are_refused(items, sentence):
    with pytest.raises(InputError) as error:
        Data.from_dataset(items)
    assert sentence in str(error.value)


def test_the_images_of_a_data_set_may_be_lists_tensors_or_arrays():
    given = [(IMAGES, LABELS), (IMAGES.tolist(), LABELS.tolist()), (IMAGES.numpy(), LABELS.numpy())]
    made = [Arrays(images, labels, images, labels, classes=["a", "b", "c"]) for images, labels in given]
    made[1] = dataclasses.replace(made[1], train_images=made[1].train_images.astype("uint8"), test_images=IMAGES)
    assert len({one.fingerprint() for one in made}) == 1
    assert made[1].classes == ("a", "b", "c")
