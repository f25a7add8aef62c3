"""Subsets: nested, stratified, apart from the validation split, and decided by the seed alone."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_attn.data.subsets import indices_sha256, permutation, split_indices
from vision_attn.spec import InputError


@st.composite
def labels_and_sizes(draw):
    """Labels in any order, at least `val + large` of each class, and sizes a class: val, small <= large."""
    num_classes = draw(st.integers(2, 6))
    val, small, more = draw(st.integers(0, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 4))
    spare = draw(st.lists(st.integers(0, 5), min_size=num_classes, max_size=num_classes))
    labels = np.concatenate([np.full(val + small + more + extra, label) for label, extra in enumerate(spare)])
    np.random.default_rng(draw(st.integers(0, 2**32 - 1))).shuffle(labels)
    return labels, num_classes, val, small, small + more


def split(labels, train_size, *, subset_seed=0, val_size=0):
    return split_indices(labels, train_size=train_size, subset_seed=subset_seed, val_size=val_size)


@given(labels_and_sizes(), st.integers(-(2**40), 2**40))
def test_a_smaller_subset_lies_inside_a_larger_one_inside_all_that_is_left(case, seed):
    labels, num_classes, val, small, large = case
    sizes = (small * num_classes, large * num_classes, None)
    nested = [set(split(labels, n, subset_seed=seed, val_size=val * num_classes)[0].tolist()) for n in sizes]
    assert nested[0] <= nested[1] <= nested[2]
    assert len(nested[2]) == len(labels) - val * num_classes


@given(labels_and_sizes(), st.integers(0, 100))
def test_every_class_has_the_same_share_of_subset_and_validation_split(case, seed):
    labels, num_classes, val, small, _ = case
    train, held_out = split(labels, small * num_classes, subset_seed=seed, val_size=val * num_classes)
    assert np.bincount(labels[train], minlength=num_classes).tolist() == [small] * num_classes
    assert np.bincount(labels[held_out], minlength=num_classes).tolist() == [val] * num_classes
    assert not set(train.tolist()) & set(held_out.tolist())
    assert train.tolist() == sorted(set(train.tolist()))
    assert held_out.tolist() == sorted(set(held_out.tolist()))


@given(labels_and_sizes(), st.integers(0, 100), st.integers(0, 100))
def test_the_validation_split_does_not_depend_on_the_subset(case, one, other):
    labels, num_classes, val, small, large = case
    first = split(labels, small * num_classes, subset_seed=one, val_size=val * num_classes)[1]
    second = split(labels, large * num_classes, subset_seed=other, val_size=val * num_classes)[1]
    assert first.tolist() == second.tolist()


def test_the_same_seed_gives_the_same_subset_and_another_seed_another():
    labels = np.repeat(np.arange(10), 50)
    subsets = [tuple(split(labels, 100, subset_seed=seed)[0].tolist()) for seed in (0, 0, 1, 2, -1)]
    assert subsets[0] == subsets[1]
    assert len(set(subsets)) == 4


def test_a_subset_is_no_special_part_of_the_order_of_the_images():
    labels = np.repeat(np.arange(2), 5000)
    train, _ = split(labels, 2000)
    first = train[train < 5000]
    # the mean of 1000 of 0..4999 drawn without replacement: standard deviation 5000 / sqrt(12 * 1000) * sqrt(0.8)
    assert abs(first.mean() - 2499.5) < 4 * 5000 / (12 * 1000) ** 0.5 * 0.8**0.5


def test_images_of_the_subset_are_mostly_kept_when_a_validation_split_is_held_out():
    labels = np.repeat(np.arange(2), 1000)
    alone = split(labels, 200)[0]
    beside = split(labels, 200, val_size=200)[0]
    assert len(np.intersect1d(alone, beside)) > 150


def test_permutations_stay_what_they_were_in_the_first_release():
    assert permutation(8, purpose="a", seed=0).tolist() == [6, 1, 4, 2, 5, 7, 0, 3]
    train, val = split(np.arange(40) % 4, 8, subset_seed=3, val_size=4)
    assert train.tolist() == [6, 8, 11, 33, 34, 35, 36, 37]
    assert val.tolist() == [13, 14, 23, 24]


def test_permutations_for_two_purposes_differ_at_the_same_seed():
    assert permutation(50, purpose="a", seed=0).tolist() != permutation(50, purpose="b", seed=0).tolist()


def test_the_hash_of_indices_is_that_of_little_endian_64_bit_integers():
    by_hand = hashlib.sha256(b"".join(index.to_bytes(8, "little") for index in (3, 5, 260))).hexdigest()
    assert indices_sha256(np.array([3, 5, 260])) == by_hand
    assert indices_sha256(np.array([3, 5, 260], dtype=np.int32)) == by_hand


BALANCED = np.repeat(np.arange(10), 400)
UNBALANCED = np.array([0] * 30 + [1] * 7 + [2] * 30)


@pytest.mark.parametrize(
    ("labels", "sizes", "sentence"),
    [
        (BALANCED, (55, 0), "train_size of digits must be a positive multiple of its 10 classes. Got 55 instead."),
        (BALANCED, (0, 0), "train_size of digits must be a positive multiple of its 10 classes. Got 0 instead."),
        (BALANCED, (-10, 0), "train_size of digits must be a positive multiple of its 10 classes. Got -10 instead."),
        (BALANCED, (50, 5), "val_size of digits must be 0 or a positive multiple of its 10 classes. Got 5 instead."),
        (
            BALANCED,
            (4010, 0),
            "train_size of digits must be at most 4000, as class '0' has 400 training images. Got 4010 instead.",
        ),
        (
            BALANCED,
            (4000, 100),
            "train_size of digits must be at most 3900, as class '0' has 390 training images beside the validation "
            "split. Got 4000 instead.",
        ),
        (
            BALANCED,
            (None, 4000),
            "val_size of digits must be at most 3990, as class '0' has 399 training images to spare. Got 4000 instead.",
        ),
        (
            UNBALANCED,
            (24, 0),
            "train_size of digits must be at most 21, as class '1' has 7 training images. Got 24 instead.",
        ),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_a_sentence(labels, sizes, sentence):
    with pytest.raises(InputError) as refusal:
        split_indices(labels, train_size=sizes[0], subset_seed=0, val_size=sizes[1], what="digits")
    assert str(refusal.value) == sentence


def test_all_of_unbalanced_data_is_allowed():
    train, val = split(UNBALANCED, None, val_size=3)
    assert len(train) == 64
    assert len(val) == 3
