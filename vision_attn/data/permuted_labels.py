"""Permuted labels: a data set whose training labels say nothing of the images, so that they can only be memorised."""

import dataclasses

import torch

from vision_attn.data.base import Data, Dataset, Split
from vision_attn.data.subsets import permutation
from vision_attn.spec import InputError, spec


@spec
class PermutedLabels(Dataset):
    """The images of `of`, the labels of the training images dealt out among them anew; test and validation as they are.

    Every class keeps its number of training images. A network can fit them by heart alone (Zhang et al. 2017,
    arXiv:1611.03530), and what is said of a trained network should not be true of one that has done so (Adebayo et al.
    2018, arXiv:1810.03292). Another `label_seed` deals them out in another order. The subset is that of this spec's
    own `train_size`, `subset_seed` and `val_size`; those of `of` must be left alone.
    """

    of: Dataset
    label_seed: int = 0

    def check(self) -> None:
        plain = self.of.is_whole and not isinstance(self.of, PermutedLabels)
        self.require("of", plain, "a data set with its subset left to PermutedLabels, its labels not permuted already")

    @property
    def attributes(self) -> tuple[str, ...]:  # type: ignore[override]  # those of `of`
        return self.of.attributes

    @property
    def label(self) -> str:
        return f"{self.of.label}-permuted-labels"

    def load(self) -> Data:
        data = self.subset_of(self.of)
        if not isinstance(data.train, Split) or data.label_shape:
            raise InputError(f"PermutedLabels needs images that are held, one label each. Got {data.name} instead.")
        order = permutation(len(data.train), purpose="permuted labels", seed=self.label_seed)
        train = dataclasses.replace(data.train, labels=data.train.labels[torch.from_numpy(order)])
        return dataclasses.replace(data, name=self.label, train=train)
