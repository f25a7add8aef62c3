"""Objects in one quadrant, and accuracy by where they stand."""

import dataclasses

import pytest
import torch
from torch import nn

from vision_attn import AccuracyBy, CuedRecall, Mnist5k, Quadrants, ViT
from vision_attn.data import Split
from vision_attn.spec import InputError

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
        assert split.facts["seen"].unique().tolist() == [1]
    assert boxes(data.train).sum(0).tolist() == [50, 0, 50, 0]


def test_test_images_stand_in_all_four_alike_and_say_where(data):
    found = boxes(data.test)
    assert found.sum(0).tolist() == [250] * 4
    assert torch.equal(found.int().argmax(1), data.test.facts["quadrant"])
    assert torch.equal(data.test.facts["seen"] == 1, (data.test.facts["quadrant"] % 2) == 0)


def test_objects_are_the_images_at_half_their_size(data):
    whole = Mnist5k(train_size=100, val_size=20).load()
    row = whole.test.images[6].float().unflatten(2, (14, 2)).unflatten(1, (14, 2)).mean(dim=(2, 4))
    assert data.test.facts["quadrant"][6] == 2
    assert (data.test.images[6, :, 14:, :14].float() - row).abs().max() <= 0.5
    assert torch.equal(data.test.labels, whole.test.labels)
    assert data.subset_sha256 == whole.subset_sha256
    assert data.train.images.float().div(255).mean().item() == pytest.approx(data.mean[0], abs=1e-5)


def test_accuracy_by_a_fact_is_asked_of_data_that_say_it(data):
    for dataset in (LEFT, CuedRecall(distance=1)):
        assert set(dataset.facts) == set(dataset.load().test.facts)
        assert all(AccuracyBy(fact=fact).skip(ViT(), dataset) is None for fact in dataset.facts)
    assert AccuracyBy(fact="seen").skip(ViT(), Mnist5k()) == "mnist5k does not say the seen of its images"


def test_accuracy_is_told_by_quadrant(data):
    few = Split(data.test.images[:100], data.test.labels[:100], {"quadrant": data.test.facts["quadrant"][:100]})

    class UpperHalf(nn.Module):
        """Right about what stands in the upper half, wrong about the rest."""

        def forward(self, x):
            lower = x[:, 0, 14:].sum(dim=(1, 2)) > x[:, 0, :14].sum(dim=(1, 2))
            return nn.functional.one_hot((few.labels + lower) % 10, 10).float()

    rows = list(AccuracyBy(fact="quadrant")(UpperHalf(), dataclasses.replace(data, test=few)))
    assert {row["quadrant"]: row["value"] for row in rows} == {0: 1.0, 1: 1.0, 2: 0.0, 3: 0.0}
    with pytest.raises(InputError, match="fact of AccuracyBy must be one of 'quadrant', 'seen' on mnist5k"):
        list(AccuracyBy(fact="colour")(UpperHalf(), data))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Quadrants(of=Mnist5k(val_size=3)), "of of Quadrants must be a data set with its subset left"),
        (lambda: Quadrants(of=Mnist5k(), train_quadrants=()), "train_quadrants of Quadrants must be rising numbers"),
        (lambda: Quadrants(of=Mnist5k(), train_quadrants=(4,)), "train_quadrants of Quadrants must be rising numbers"),
        (lambda: Quadrants(of=CuedRecall(distance=1, val_size=0)).load(), "of of Quadrants must be images of an even"),
    ],
)
def test_what_does_not_fit_is_named(make, words):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(words)
