"""Branch scale: how large what the mixers add to their blocks is before training."""

from collections.abc import Iterator

import torch
from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.models.trunk import VisionTransformer, ViT
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import mixer_outputs
from vision_attn.probes.lattice import chosen
from vision_attn.spec import InputError, spec
from vision_attn.training.seeding import Streams


@spec
class BranchScale(Probe):
    """The standard deviation of what the mixer of every block gives for real images, in fresh networks of the model.

    `branch_sd` of `layer` 1, 2, ... is over images, tokens and channels of `draws` initialisations, with the seeds
    0, 1, ...; the input is that of the block behind its norm. It belongs to what twins share: a convolution
    that starts thirty times as loud as the attention it replaces is another experiment (see `DepthwiseConv`). The
    trained weights play no part.
    """

    images: int = 64
    draws: int = 4

    def check(self) -> None:
        self.require("images", self.images >= 1, "at least 1")
        self.require("draws", self.draws >= 1, "at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return None if isinstance(model, ViT) else f"{type(model).__name__} has no mixer in its blocks"

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        if not isinstance(model, VisionTransformer):
            raise InputError(f"model of BranchScale must have mixers. Got {type(model).__name__} instead.")
        shape = {"image_size": data.image_size, "in_chans": data.in_chans, "num_classes": data.num_classes}
        images = data.normalise(chosen(data, split="train", images=self.images).images)
        variances = []
        for seed in range(self.draws):
            with Streams(seed).initialising():
                fresh = model.spec.build(**shape).to(images.device).eval()
            with torch.no_grad():
                found = mixer_outputs(fresh, images)
            variances.append([output.double().var(correction=0).item() for output in found])
        for layer, values in enumerate(zip(*variances, strict=True), start=1):
            yield {"metric": "branch_sd", "layer": layer, "value": (sum(values) / self.draws) ** 0.5}
