"""Objects in one quadrant, and accuracy by where they stand."""

import dataclasses

import pytest
import torch
from torch import nn

from vision_attn import Mnist5k, Recipe, ViT
from vision_attn.data import CuedRecall, Quadrants, Split
from vision_attn.probes import SubgroupAccuracy
from vision_attn.spec import InputError, from_json, to_json
from vision_attn.training.loop import _augmented as augmented
from vision_attn.training.requirements import require_fit

LEFT = Quadrants(of=Mnist5k(), train_quadrants=(0, 2), train_size=100, val_size=20)


@pytest.fixture(scope="module")
def data():
    return LEFT.load()


def boxes(split):
    """Which quadrants of each image have anything in them, (N, 4)."""
    cut = split.images.unflatten(3, (2, 14)).unflatten(2, (2, 14)).flatten(1, 1)
    return cut.sum(dim=(1, 3, 5)).flatten(1) > 0


def test_training_images_stand_in_the_quadrants_that_were_asked_for(data):
    for split in (data.train, data.val):
        assert not boxes(split)[:, [1, 3]].any()
        assert boxes(split).sum(1).unique().tolist() == [1]
        assert split.attributes["seen"].unique().tolist() == [1]
    assert boxes(data.train).sum(0).tolist() == [50, 0, 50, 0]


def test_test_images_stand_in_all_four_alike_and_say_where(data):
    found = boxes(data.test)
    assert found.sum(0).tolist() == [250] * 4
    assert torch.equal(found.int().argmax(1), data.test.attributes["quadrant"])
    assert torch.equal(data.test.attributes["seen"] == 1, (data.test.attributes["quadrant"] % 2) == 0)


def test_objects_are_the_images_at_half_their_size(data):
    whole = Mnist5k(train_size=100, val_size=20).load()
    row = whole.test.images[6].float().unflatten(2, (14, 2)).unflatten(1, (14, 2)).mean(dim=(2, 4))
    assert data.test.attributes["quadrant"][6] == 2
    assert (data.test.images[6, :, 14:, :14].float() - row).abs().max() <= 0.5
    assert torch.equal(data.test.labels, whole.test.labels)
    assert data.subset_sha256 == whole.subset_sha256
    assert data.train.images.float().div(255).mean().item() == pytest.approx(data.mean[0], abs=1e-5)


def test_accuracy_by_a_fact_is_asked_of_data_that_say_it(data):
    for dataset in (LEFT, CuedRecall(distance=1)):
        assert set(dataset.attributes) == set(dataset.load().test.attributes)
        assert all(
            SubgroupAccuracy(attribute=attribute).skip(ViT(), dataset) is None for attribute in dataset.attributes
        )
    assert SubgroupAccuracy(attribute="seen").skip(ViT(), Mnist5k()) == "mnist5k does not say the seen of its images"


def test_accuracy_is_told_by_quadrant(data):
    few = Split(data.test.images[:100], data.test.labels[:100], {"quadrant": data.test.attributes["quadrant"][:100]})

    class UpperHalf(nn.Module):
        """Right about what stands in the upper half, wrong about the rest."""

        def forward(self, x):
            lower = x[:, 0, 14:].sum(dim=(1, 2)) > x[:, 0, :14].sum(dim=(1, 2))
            return nn.functional.one_hot((few.labels + lower) % 10, 10).float()

    rows = list(SubgroupAccuracy(attribute="quadrant")(UpperHalf(), dataclasses.replace(data, test=few)))
    assert {row["quadrant"]: row["value"] for row in rows} == {0: 1.0, 1: 1.0, 2: 0.0, 3: 0.0}
    with pytest.raises(InputError, match="attribute of SubgroupAccuracy must be one of 'quadrant', 'seen' on mnist5k"):
        list(SubgroupAccuracy(attribute="colour")(UpperHalf(), data))


def test_no_training_input_stands_in_a_quadrant_that_counts_as_unseen(monkeypatch):
    plain = Mnist5k.load
    monkeypatch.setattr(Mnist5k, "load", lambda self: dataclasses.replace(plain(self), flip=True))
    data, recipe = LEFT.load(), Recipe(updates=1, crop_padding=0)
    for seed in range(3):
        inputs = augmented(data.train.images, torch.Generator().manual_seed(seed), recipe=recipe, flip=data.flip)
        assert not boxes(Split(inputs, data.train.labels))[:, [1, 3]].any()


@pytest.mark.parametrize("recipe", [Recipe(updates=1, crop_padding=7), Recipe(updates=1, rand_augment=9)])
def test_augmentation_that_moves_objects_to_other_quadrants_is_refused(data, recipe):
    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    require_fit(Recipe(updates=1), model, data=data)
    with pytest.raises(InputError, match=r"of Recipe must be .* on mnist5k-quadrants-02"):
        require_fit(recipe, model, data=data)


def test_with_an_inset_objects_lie_no_multiple_of_the_patch_apart():
    images = Quadrants(of=Mnist5k(), train_size=100, inset=1).load().test.images
    whole = Mnist5k(train_size=100).load().test.images
    small = nn.functional.avg_pool2d(whole[:4].float(), 2).round()
    for image, object_, (top, left) in zip(images[:4], small, [(1, 1), (1, 13), (13, 1), (13, 13)], strict=True):
        assert torch.equal(image[:, top : top + 14, left : left + 14].float(), object_)
        assert image.sum() == object_.sum()


def test_runs_made_with_flips_have_another_digest():
    assert to_json(LEFT)["version"] == 2
    with pytest.raises(InputError, match="version of Quadrants must be 2, as its results have changed"):
        from_json({key: value for key, value in to_json(LEFT).items() if key != "version"}, Quadrants)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Quadrants(of=Mnist5k(val_size=3)), "of of Quadrants must be a data set with its subset left"),
        (lambda: Quadrants(of=Mnist5k(), train_quadrants=()), "train_quadrants of Quadrants must be rising numbers"),
        (lambda: Quadrants(of=Mnist5k(), train_quadrants=(4,)), "train_quadrants of Quadrants must be rising numbers"),
        (lambda: Quadrants(of=Mnist5k(), inset=-1), "inset of Quadrants must be at least 0"),
        (lambda: Quadrants(of=Mnist5k(), inset=8).load(), "inset of Quadrants must be at most 7 on mnist5k"),
        (
            lambda: Quadrants(of=CuedRecall(distance=1, val_size=0)).load(),
            "Quadrants needs images of an even size with one label each",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, words):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(words)
