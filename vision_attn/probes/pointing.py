"""Pointing: does a saliency map point at what is known to decide the class?"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.base import Row
from vision_attn.probes.explained import Explained, log_probabilities
from vision_attn.spec import InputError, spec


@spec
class Pointing(Explained):
    """Saliency maps against the square that decides the class, on data that say where it is (`PlantedGlyph`).

    `hit_share`     share of the images in which the patch with the largest value has its middle in the square (pointing
                    game, Zhang et al. 2016, arXiv:1608.00507); of equal ones, the share of them that has
    `mass_share`    mean over images of the share of the positive part of the map that lies in the square, patches
                    counted in part (Wang et al. 2020, arXiv:1910.01279)
    """

    attributes: ClassVar[tuple[str, ...]] = ("top", "left", "side")

    def skip(self, model: Model, data: Dataset) -> str | None:
        lacking = [name for name in self.attributes if name not in data.attributes]
        unknown = f"{data.label} does not say where on an image its class is seen" if lacking else None
        return super().skip(model, data) or unknown

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        if not set(self.attributes) <= data.test.attributes.keys():
            allowed = "say where on an image its class is seen (top, left, side)"
            raise InputError(f"data of Pointing must {allowed}. Got {data.name} instead.")
        if data.order is not None:
            allowed = "in their own order for Pointing"
            raise InputError(f"pixels of {data.name} must be {allowed}. Got pixels that are permuted instead.")
        split = self.shown(data)
        chosen = torch.arange(len(split), device=split.labels.device) * len(data.test) // len(split)
        top, left, side = (data.test.attributes[name][chosen] for name in self.attributes)
        covered = share_covered(top, left, side, patch_size=self.patch_size, size=data.image_size)
        middles = (torch.arange(data.image_size // self.patch_size, device=top.device) + 0.5) * self.patch_size
        inside = _within(middles, top, side)[:, :, None] & _within(middles, left, side)[:, None, :]
        images = data.normalise(split.images)
        for method, maps in self.maps(model, images, log_probabilities(model, images).argmax(1)):
            largest = maps == maps.amax(dim=1, keepdim=True)
            hits = (largest & inside.flatten(1)).sum(dim=1) / largest.sum(dim=1)
            mass = maps.clamp(min=0).double()
            mass = torch.where(mass.sum(dim=1, keepdim=True) > 0, mass, 1.0)
            held = (mass * covered.flatten(1)).sum(dim=1) / mass.sum(dim=1)
            yield {"metric": "hit_share", "method": method, "value": hits.double().mean().item()}
            yield {"metric": "mass_share", "method": method, "value": held.mean().item()}


def share_covered(top: Tensor, left: Tensor, side: Tensor, *, patch_size: int, size: int) -> Tensor:
    """Which part of every patch lies in the squares that begin at `top` and `left` (B,): (B, L, L)."""
    starts = torch.arange(0, size, patch_size, device=top.device)
    down, across = (
        (torch.minimum(starts + patch_size, (at + side)[:, None]) - torch.maximum(starts, at[:, None])).clamp(min=0)
        for at in (top, left)
    )
    return (down[:, :, None] * across[:, None, :]).double() / patch_size**2


def _within(middles: Tensor, start: Tensor, side: Tensor) -> Tensor:
    """Which middles (L,) lie between `start` and `start + side` (B,): (B, L)."""
    return (middles > start[:, None]) & (middles < (start + side)[:, None])
