"""Explained: what all probes of saliency maps share, and the ranks that maps are compared by.

B images, S side of the images, L cells along a side of the lattice, K = L x L.
"""

import abc
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset, Split
from vision_attn.models.base import Model
from vision_attn.probes import capture
from vision_attn.probes.altered import evenly_spaced, require_numbers, without_class
from vision_attn.probes.base import Probe
from vision_attn.probes.saliency_maps import NAMES, fitting, saliency
from vision_attn.spec import InputError, spec
from vision_attn.training.evaluate import evaluating, images_at_once


@spec
class Explained(Probe, abc.ABC):
    """A probe of saliency maps of test images, each for the class that the model gives it.

    `methods` are names of `saliency_maps.NAMES` (None: all); those that do not fit the model, such as attention for a
    CNN, have no rows. Maps lie on a lattice of square patches of `patch_size` pixels. Rows have a coordinate `method`.
    """

    methods: tuple[str, ...] | None = None
    patch_size: int = 4
    images: int = 100

    def check(self) -> None:
        known = self.methods is None or (self.methods and set(self.methods) <= set(NAMES))
        self.require("methods", bool(known), f"None or names among {', '.join(map(repr, NAMES))}")
        self.require("patch_size", self.patch_size >= 1, "at least 1")
        self.require("images", self.images >= 2, "at least 2")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model) or capture.without_layers(model)

    def require_fit(self, data: Data) -> None:
        divides = data.image_size % self.patch_size == 0 and data.image_size > self.patch_size
        self.require("patch_size", divides, f"a divisor of the image size {data.image_size}, and less")

    def shown(self, data: Data) -> Split:
        """The images that are looked at."""
        self.require_fit(data)
        return evenly_spaced(data.test, self.images)

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The methods that fit the model, each with its maps (B, K) of normalised images for those classes.

        Raises `InputError` where a map is NaN somewhere, which has no rank.
        """
        for method in fitting(model, images, self.methods or NAMES):
            maps = saliency(model, images, classes, method=method, patch_size=self.patch_size).flatten(1)
            if number := int(maps.isnan().any(dim=1).sum()):
                given = f"NaN for {number} of {len(maps)} images of {type(model).__name__}"
                raise InputError(f"maps of {method!r} must be numbers. Got {given} instead.")
            yield method, maps


def log_probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """Of every class for normalised images: (B, classes), float64."""
    with evaluating(model), torch.inference_mode():
        scores = torch.cat([model(part) for part in images.split(images_at_once(images))])
    require_numbers(model, scores)
    return scores.double().log_softmax(dim=1)


def ranks(values: Tensor) -> Tensor:
    """The rank of each of the values (B, K) in its row from 0, equal ones sharing their mean rank, in float64."""
    values = values.contiguous()
    ordered = values.sort(dim=1).values
    below, not_above = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + not_above - 1).double() / 2


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation of rows (B, K) with rows (B, K): (B,). 0 where a row is all equal."""
    a, b = (ranks(values) - (values.shape[1] - 1) / 2 for values in (one, other))
    scale = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    return torch.where(scale > 0, (a * b).sum(dim=1) / scale.clamp(min=1e-12), 0.0)
