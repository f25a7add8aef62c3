"""Permuted: a data set whose images are all cut up and put together in one fixed other order."""

import dataclasses

import torch
from torch import Tensor

from vision_attn.data.base import Data, Dataset
from vision_attn.data.subsets import permutation
from vision_attn.spec import InputError, spec


@spec
class Permuted(Dataset):
    """The images of `of`, their patches of patch_size x patch_size pixels at other places, the same in every image.

    Neighbours are no longer near, so convolution's prior is false; a transformer of the same patch size with learned
    positions learns exactly as before, its positions permuted. With `patch_size` 1 every pixel goes elsewhere. Crops,
    flips and other changes are made to the images as they were, before. The subset is that of this spec's own
    `train_size`, `subset_seed` and `val_size`; those of `of` must be left alone.
    """

    of: Dataset
    patch_size: int = 1
    permutation_seed: int = 0

    def check(self) -> None:
        plain = self.of.is_whole and not isinstance(self.of, Permuted)
        self.require("of", plain, "a data set with its subset left to Permuted, and not permuted itself")
        self.require("patch_size", self.patch_size >= 1, "at least 1")

    @property
    def label(self) -> str:
        return f"{self.of.label}-permuted-{self.patch_size}"

    def load(self) -> Data:
        data = self.subset_of(self.of)
        if data.image_size % self.patch_size:
            allowed = f"a divisor of the image size {data.image_size}"
            raise InputError(f"patch_size of Permuted must be {allowed}. Got {self.patch_size} instead.")
        side = data.image_size // self.patch_size
        allowed = f"less than the image size {data.image_size}, so that there are patches to change places"
        self.require("patch_size", side > 1, allowed)
        patches = torch.from_numpy(permutation(side**2, purpose="permuted images", seed=self.permutation_seed))
        stays = torch.equal(patches, torch.arange(side**2))
        self.require("permutation_seed", not stays, f"one that leaves not all {side**2} patches where they are")
        order = pixel_order(patches, side=side, patch_size=self.patch_size)
        return dataclasses.replace(data, name=self.label, order=order)


def pixel_order(patches: Tensor, *, side: int, patch_size: int) -> Tensor:
    """Where each pixel comes from, (H * W,) in raster order, where patch i is to be patch `patches[i]` (side^2,)."""
    places = torch.arange((side * patch_size) ** 2).view(side, patch_size, side, patch_size)
    cut = places.transpose(1, 2).flatten(0, 1)  # (side^2, patch_size, patch_size)
    return cut[patches].unflatten(0, (side, side)).transpose(1, 2).flatten()
