"""Sanity of saliency maps: do they depend on what the network has learned, and on the class that is asked about?"""

from collections.abc import Iterator

import torch
from torch import nn

from vision_attn.data.base import Data
from vision_attn.models.copies import copied
from vision_attn.probes.base import Row
from vision_attn.probes.explained import Explained, log_probabilities, rank_correlation
from vision_attn.spec import InputError, spec


@spec
class SaliencySanity(Explained):
    """Whether maps change when what they are to explain does (Adebayo et al. 2018, arXiv:1810.03292).

    Means over images of Spearman's rank correlation of the map with another one of the same image:

    `randomised_correlation`    of the network with the numbers of each of its weights in random order, for the same
                                class: near 0 for a map that shows what was learned
    `class_correlation`         for the second most likely class: 1 for a map that says nothing of the class
    """

    seed: int = 0

    @torch.inference_mode(False)  # also of the copies that are made here
    @torch.enable_grad()
    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        images = data.normalise(self.shown(data).images)
        scores = log_probabilities(model, images)
        if scores.shape[1] < 2:
            raise InputError(f"logits of {type(model).__name__} must be of 2 classes or more. Got one instead.")
        classes, seconds = scores.topk(2, dim=1).indices.unbind(1)
        others = {
            "randomised_correlation": self.maps(randomised(model, seed=self.seed), images, classes),
            "class_correlation": self.maps(model, images, seconds),
        }
        own = dict(self.maps(model, images, classes))
        for metric, found in others.items():
            for method, maps in found:
                value = rank_correlation(own[method], maps).mean().item()
                yield {"metric": metric, "method": method, "value": value}


def randomised(model: nn.Module, *, seed: int) -> nn.Module:
    """A copy of the model, the numbers of each of its parameters in random order."""
    other, generator = copied(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return other
