"""Labels dealt out anew: as many of each class, about other images, and nothing else is changed."""

import pytest
import torch

from vision_attn import Mnist5k
from vision_attn.data import CuedRecall, PermutedLabels, PlantedGlyph
from vision_attn.spec import InputError

PERMUTED = PermutedLabels(of=Mnist5k(), train_size=200, val_size=50)


def test_training_labels_are_the_same_about_other_images_and_all_else_is_as_it_was():
    data, plain = PERMUTED.load(), Mnist5k(train_size=200, val_size=50).load()
    assert data.train.labels.sort().values.tolist() == plain.train.labels.sort().values.tolist()
    assert (data.train.labels == plain.train.labels).double().mean() == pytest.approx(0.1, abs=0.1)  # chance
    for own, other in ((data.train.images, plain.train.images), (data.val.labels, plain.val.labels)):
        assert torch.equal(own, other)
    assert torch.equal(data.test.labels, plain.test.labels)
    assert data.fingerprint == plain.fingerprint
    assert data.name == "mnist5k-permuted-labels"


def test_another_seed_deals_them_out_in_another_order():
    first, again, other = (PERMUTED.replace(label_seed=seed).load().train.labels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_it_says_of_images_what_the_data_set_says():
    glyphs = PermutedLabels(of=PlantedGlyph(of=Mnist5k()), train_size=40)
    assert glyphs.attributes == ("top", "left", "side")
    assert PERMUTED.attributes == ()
    assert set(glyphs.load().test.attributes) == {"top", "left", "side"}


def test_what_cannot_be_permuted_is_refused():
    with pytest.raises(InputError, match="of of PermutedLabels must be a data set with its subset left"):
        PermutedLabels(of=Mnist5k(train_size=20))
    with pytest.raises(InputError, match=r"its labels not permuted already\. Got PermutedLabels"):
        PermutedLabels(of=PERMUTED.replace(train_size=None, val_size=0))
    with pytest.raises(
        InputError, match=r"PermutedLabels needs images that are held, one label each\. Got cued-recall"
    ):
        PermutedLabels(of=CuedRecall(distance=2, val_size=0)).load()
