"""Layer CKA: how alike what two layers make of the same images is, and how much of it is bias of the estimate.

n images, p numbers of a layer for an image.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import require_images
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import named, without_layers
from vision_attn.probes.grams import ESTIMATORS, gram_of, grams
from vision_attn.probes.lattice import chosen
from vision_attn.spec import spec


@spec
class LayerCKA(Probe):
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414) of every layer with others.

    `cka` of `layer` 1, 2, ... (the first is the patch embedding or stem) with `other`: another layer by its number, the
    "pixels" of the images, their "labels" (one-hot; not of a dense task), or "other images": the same layer for images
    that have nothing to do with the first, so that nothing is alike. The `estimator` "unbiased" (HSIC_1 of Song et al.
    2012, as in Nguyen et al. 2021, arXiv:2010.15327) is 0 there on average and may be below. The "biased" one of the
    first paper is not: for independent normal features of width p it is about p / (n + p), 0.6 for 384 and 256 images.
    Layers are compared on `images` test images, all of their places and channels one vector. `layers` names modules of
    the model, `layer` being the place among them; None: its stem or patch embedding and its blocks.
    """

    images: int = 256
    layers: tuple[str, ...] | None = None

    def check(self) -> None:
        self.require("images", self.images >= 4, "at least 4")
        self.require("layers", self.layers != (), "None or at least one name")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def require_fit(self, data: Data) -> None:
        require_images(self, data, 8)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        names = named(model, self.layers)
        both = chosen(data, split="test", images=2 * self.images)
        count = len(both) // 2
        order = torch.randperm(len(both), generator=torch.Generator().manual_seed(0)).to(both.labels.device)
        own, others = order[:count], order[count : 2 * count]  # a split may be sorted: neighbours would be of one class
        first, second = (grams(model, data.normalise(both.images[part]), names) for part in (own, others))
        fixed = {"pixels": gram_of(data.normalise(both.images[own]))}
        if both.labels.ndim == 1:
            fixed["labels"] = gram_of(F.one_hot(both.labels[own], data.num_classes))
        for number, gram in enumerate(first, start=1):
            compared = {str(other): first[other - 1] for other in range(number + 1, len(first) + 1)}
            compared |= fixed | {"other images": second[number - 1]}
            for other, rival in compared.items():
                for estimator in ESTIMATORS:
                    value = cka(gram, rival, unbiased=estimator == "unbiased")
                    if value is not None:
                        yield {
                            "metric": "cka",
                            "layer": number,
                            "other": other,
                            "estimator": estimator,
                            "value": value,
                        }


def cka(k: Tensor, l: Tensor, *, unbiased: bool) -> float | None:  # noqa: E741 - K and L as in the paper
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of Gram matrices (n, n); None where one does not vary."""
    of = _unbiased if unbiased else _biased
    own = of(k, k) * of(l, l)
    return of(k, l) / own**0.5 if own > 0 and of(k, k) > 0 else None


def _biased(k: Tensor, l: Tensor) -> float:  # noqa: E741
    k, l = (m - m.mean(0, keepdim=True) - m.mean(1, keepdim=True) + m.mean() for m in (k, l))  # noqa: E741
    return (k * l).sum().item()


def _unbiased(k: Tensor, l: Tensor) -> float:  # noqa: E741
    n = len(k)
    k, l = (m - torch.diag(m.diagonal()) for m in (k, l))  # noqa: E741
    rows = (k.sum(0) @ l.sum(0)).item()
    return (k * l).sum().item() + (k.sum() * l.sum()).item() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
