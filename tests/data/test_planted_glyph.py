"""Planted glyphs: the class is the glyph, which stands where the attributes say, and nothing else is changed."""

import pytest
import torch

from vision_attn import Mnist5k
from vision_attn.data import PlantedGlyph, PlantedPatch
from vision_attn.data.lattice import glyphs
from vision_attn.data.planted_glyph import free_places
from vision_attn.spec import InputError

DIGITS = Mnist5k(train_size=500).load()
DATA = PlantedGlyph(of=Mnist5k(), train_size=500, val_size=100).load()


def squares(split):
    """The squares that the attributes name, and the images without them."""
    rest, found = split.images.clone(), []
    where = zip(split.attributes["top"].tolist(), split.attributes["left"].tolist(), strict=True)
    for image, (top, left) in zip(rest, where, strict=True):
        found.append(image[0, top : top + 8, left : left + 8].clone())
        image[0, top : top + 8, left : left + 8] = 0
    return torch.stack(found), rest


def test_the_class_is_the_glyph_at_the_place_that_is_given():
    found, _ = squares(DATA.test)
    fields = found[:, ::2, ::2]
    assert torch.equal(found, fields.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert torch.equal(fields, glyphs(4)[DATA.test.labels])


def test_elsewhere_the_image_is_as_it_was():
    _, rest = squares(DATA.test)
    assert torch.equal(rest.bool() & (rest != DIGITS.test.images), torch.zeros_like(rest).bool())


def test_classes_and_places_are_even_and_have_nothing_to_do_with_the_digit():
    labels, top, left = DATA.test.labels, DATA.test.attributes["top"], DATA.test.attributes["left"]
    assert labels.bincount().tolist() == [250] * 4
    counts = (top * 28 + left).unique(return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    both = torch.stack([labels, DIGITS.test.labels]).double()
    assert abs(torch.corrcoef(both)[0, 1]) < 0.1
    assert abs(torch.corrcoef(torch.stack([labels, top]).double())[0, 1]) < 0.1


@pytest.mark.parametrize(("size", "side", "step"), [(28, 8, 4), (32, 8, 1), (16, 8, 8), (9, 4, 3)])
def test_no_glyph_covers_the_middle_and_all_lie_on_the_image(size, side, step):
    places = free_places(size, side, step).tolist()
    middle = size // 2
    expected = [
        [top, left]
        for top in range(0, size - side + 1, step)
        for left in range(0, size - side + 1, step)
        if not (middle in range(top, top + side) and middle in range(left, left + side))
    ]
    assert places == expected
    assert places


def test_an_image_has_the_same_glyph_in_every_subset():
    again, other, whole = (
        PlantedGlyph(of=Mnist5k(), train_size=size, subset_seed=seed).load()
        for size, seed in ((500, 0), (500, 1), (None, 0))
    )
    assert torch.equal(again.test.images, DATA.test.images)
    known = {
        image.numpy().tobytes(): label for image, label in zip(whole.train.images, whole.train.labels, strict=True)
    }
    for data in (again, other):
        assert data.train.labels.bincount().tolist() == [125] * 4
        assert [known[image.numpy().tobytes()] for image in data.train.images] == data.train.labels.tolist()
    assert not torch.equal(other.train.images, again.train.images)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"of": Mnist5k(train_size=50)}, "of of PlantedGlyph must be a data set with its subset left to PlantedGlyph"),
        ({"num_glyphs": 1}, "num_glyphs of PlantedGlyph must be from 2 to 32"),
        ({"side": 6}, "side of PlantedGlyph must be a multiple of 4"),
        ({"side": 16}, "side of PlantedGlyph must be at most 14 on mnist5k"),
        ({"of": PlantedPatch(val_size=0)}, "PlantedGlyph needs images that are held"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options, words):
    with pytest.raises(InputError, match=words):
        PlantedGlyph(**{"of": Mnist5k(), **options}).load()
