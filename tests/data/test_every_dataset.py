"""Every kind of data set that needs no download, found by itself."""

import dataclasses

import pytest
import torch

from vision_attn.data import Dataset, Mnist5k, Stream
from vision_attn.spec import from_json, kinds, to_json

FETCHED = ("Cifar10", "Cifar100", "ImageFolder", "Idx")
"""Those whose images lie elsewhere have tests of their own."""
KINDS = {
    name: kind
    for name, kind in kinds(Dataset).items()
    if kind.__module__.startswith("vision_attn.") and name not in FETCHED
}


def dataset_of(kind):
    fields = {field.name: field for field in dataclasses.fields(kind)}
    given = {"of": Mnist5k()} if "of" in fields else {}
    lacking = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in given]
    if "distance" in lacking:
        given["distance"], lacking = 2, [name for name in lacking if name != "distance"]
    assert not lacking, f"{kind.__name__} needs {lacking}: add it here"
    return kind(**given)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_data_set_loads_the_same_twice_and_is_what_it_says(kind):
    dataset = dataset_of(kind)
    assert from_json(to_json(dataset), Dataset) == dataset
    data, again = dataset.load(), dataset.load()
    assert data.fingerprint == again.fingerprint
    assert len(data.fingerprint) == 64
    for split, same in ((data.train_sample, again.train_sample), (data.test, again.test)):
        assert split.images.dtype == torch.uint8
        assert split.images.shape[1:] == (data.in_chans, data.image_size, data.image_size)
        assert torch.equal(split.images, same.images)
        assert torch.equal(split.labels, same.labels)
        labelled = split.labels[split.labels != -100]
        assert labelled.min() >= 0
        assert labelled.max() < data.num_classes
        assert set(dataset.attributes) <= set(split.attributes) or split is data.train_sample
    normal = data.normalise(data.test.images[:8])
    assert normal.isfinite().all()
    assert dataset.label


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_subsets_of_one_seed_are_nested_and_others_differ(kind):
    dataset = dataset_of(kind)
    if isinstance(dataset.load().train, Stream):
        pytest.skip("drawn anew for every update")
    small, large = (dataset.replace(train_size=size).load().train for size in (20, 60))
    rows = {image.numpy().tobytes() for image in large.images}
    assert {image.numpy().tobytes() for image in small.images} <= rows
    other = dataset.replace(train_size=20, subset_seed=1).load()
    assert other.subset_sha256 != dataset.replace(train_size=20).load().subset_sha256
