"""Deletion: does the model's answer rest on what a saliency map says that it rests on?

B images, C channels, S side of the images, K patches.
"""

import abc
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data
from vision_attn.probes.altered import another, dropped, require_two
from vision_attn.probes.base import Row
from vision_attn.probes.explained import Explained, log_probabilities, rank_correlation
from vision_attn.probes.saliency_maps import without_each
from vision_attn.spec import spec


@spec
class Deleting(Explained, abc.ABC):
    """A probe of the class's probability while patches are deleted in the order of a map, or in the opposite order.

    The mean probability over the share of patches deleted, at `steps` equal steps and 0 (Petsiuk et al. 2018,
    arXiv:1806.07421). A deleted patch gets the mean colour (`fill` "mean") or what another of the images has there
    ("other"). Equal values are ordered at random, by `seed`.
    """

    steps: int = 12
    seed: int = 0

    def check(self) -> None:
        super().check()
        self.require("steps", self.steps >= 1, "at least 1")

    def require_fit(self, data: Data) -> None:
        super().require_fit(data)
        require_two(self, data)

    def curves(self, model: nn.Module, data: Data) -> Iterator[tuple[str, str, str, Tensor, Tensor]]:
        """Of every method and fill "deletion", the most important patches first, then "insertion", the least first.

        Each with the shares deleted, from 0 to 1, and the mean probability at each of them, float64.
        """
        images = data.normalise(self.shown(data).images)
        classes = log_probabilities(model, images).argmax(1)
        generator = torch.Generator().manual_seed(self.seed)
        others = another(len(images), generator=generator).to(images.device)
        fills = {"mean": torch.zeros_like(images), "other": images[others]}
        whole = _probability(model, images, classes)
        ends = {fill: _probability(model, colours, classes) for fill, colours in fills.items()}
        for method, maps in self.maps(model, images, classes):
            orders = {"deletion": _places(-maps, generator), "insertion": _places(maps, generator)}
            cells = maps.shape[1]
            numbers = sorted({round(cells * step / self.steps) for step in range(self.steps + 1)})
            shares = torch.tensor(numbers, dtype=torch.float64) / cells
            for fill, colours in fills.items():
                for name, places in orders.items():
                    heights = [whole]
                    for number in numbers[1:-1]:
                        gone = dropped(places, number=number, size=images.shape[-1])
                        heights.append(_probability(model, torch.where(gone, colours, images), classes))
                    heights.append(ends[fill])
                    yield method, fill, name, shares, torch.tensor(heights, dtype=torch.float64)


@spec
class Deletion(Deleting):
    """Areas under the curves of the class's probability over the share of patches deleted, by trapezoids.

    `deletion_area`     the most important first: low for a faithful map
    `insertion_area`    the least important first, which is also the area when the most important are put back first:
                        high for a faithful map
    `deletion_gap`      insertion_area - deletion_area: what does not depend on the fill cancels (Bluecher et al. 2024,
                        arXiv:2401.06654)
    Forward passes over the images: 3, and 2 x 2 x (steps - 1) for each method.
    """

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        areas: dict[str, float] = {}
        for method, fill, name, shares, heights in self.curves(model, data):
            areas[name] = torch.trapezoid(heights, shares).item()
            yield {"metric": f"{name}_area", "method": method, "fill": fill, "value": areas[name]}
            if name == "insertion":
                gap = areas["insertion"] - areas["deletion"]
                yield {"metric": "deletion_gap", "method": method, "fill": fill, "value": gap}


@spec
class DeletionCurve(Deleting):
    """The curves whose areas `Deletion` measures, to three decimals; coordinates `method`, `fill` and `share`.

    `deletion_probability`    of the class, with so large a share of the patches deleted, the most important first:
                              falls at once for a faithful map
    `insertion_probability`   with so large a share of the patches there and the others deleted, the most important put
                              back first: rises at once for a faithful map
    Forward passes over the images: 3, and 2 x 2 x (steps - 1) for each method.
    """

    steps: int = 8

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        for method, fill, name, shares, heights in self.curves(model, data):
            if name == "insertion":
                shares, heights = 1 - shares.flip(0), heights.flip(0)
            for share, height in zip(shares.tolist(), heights.tolist(), strict=True):
                at = {"method": method, "fill": fill, "share": round(share, 4)}
                yield {"metric": f"{name}_probability", **at, "value": round(height, 3)}


@spec
class SingleDeletion(Explained):
    """How well a map ranks patches by what each, deleted alone, takes from the class (Hesse et al. 2024, IDSDS).

    `deletion_correlation`: mean over images of Spearman's rank correlation of the map with the fall of the class's log
    probability when one patch gets the mean colour (arXiv:2407.11910). Deletion is in distribution for a network that
    was trained with missing patches (`patch_drop` of the recipe); any other may answer to the hole in the image.
    "occlusion" is nearly the measure itself, its ceiling. Forward passes over the images: one for each patch.
    """

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        images = data.normalise(self.shown(data).images)
        before, classes = log_probabilities(model, images).max(1)
        falls = []
        for covered in without_each(images, self.patch_size):
            falls.append(before - log_probabilities(model, covered).gather(1, classes[:, None])[:, 0])
        fall = torch.stack(falls, dim=1)
        for method, maps in self.maps(model, images, classes):
            value = rank_correlation(maps, fall).mean().item()
            yield {"metric": "deletion_correlation", "method": method, "value": value}


def _probability(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """The mean probability of the classes."""
    return log_probabilities(model, images).gather(1, classes[:, None]).exp().mean().item()


def _places(values: Tensor, generator: torch.Generator) -> Tensor:
    """The place of each of the values (B, K) in its row, lowest first, from 0; equal ones in random order."""
    shuffle = torch.rand(values.shape, generator=generator).argsort(1).to(values.device)
    order = shuffle.gather(1, values.gather(1, shuffle).argsort(dim=1, stable=True))
    return order.argsort(1)
