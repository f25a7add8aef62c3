"""CKA sketch: what of a network's layers is kept, so that they can be held against those of another network.

n images, p numbers of a layer for an image.
"""

import base64
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import require_images
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import named, without_layers
from vision_attn.probes.grams import ESTIMATORS, grams
from vision_attn.probes.lattice import chosen
from vision_attn.spec import spec

AT_ONCE = 2**22
"""Random numbers drawn at once."""


@spec
class CKASketch(Probe):
    """The layers of a network as `bits` signs each, from which the figure `CrossCKA` has the CKA with another network.

    The centred Gram matrix of a layer for the same `images` test images is a vector, and linear CKA (Kornblith et al.
    2019, arXiv:1905.00414) the cosine of two of them: "biased" where it is centred as usual, "unbiased" where it is
    U-centred, its diagonal being 0 (HSIC_1 of Song et al. 2012; Szekely and Rizzo 2014, arXiv:1310.2926). `signs` says
    on which side of each of `bits` random planes through 0, the same for all networks, the vector lies, as base64. The
    share of signs that two vectors have in common tells their angle (Charikar 2002), with a standard error of at most
    pi / (2 sqrt(bits)) of CKA, 0.035 for 2,048, and less the more alike they are.

    `hsic`, with `layer` 1, 2, ... (the first is the patch embedding or stem), `estimator` and `signs`: the squared
    length of the vector over (n - 1)^2 for "biased", and over n (n - 3). Layers that do not vary have no rows.
    """

    images: int = 256
    bits: int = 2048
    layers: tuple[str, ...] | None = None

    def check(self) -> None:
        self.require("images", self.images >= 4, "at least 4")
        self.require("bits", self.bits >= 8 and self.bits % 8 == 0, "a positive multiple of 8")
        self.require("layers", self.layers != (), "None or at least one name")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def require_fit(self, data: Data) -> None:
        require_images(self, data, 4)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        test = chosen(data, split="test", images=self.images)
        found = grams(model, data.normalise(test.images), named(model, self.layers), what="CKASketch")
        n = len(test)
        vectors = {
            (number, estimator): _vector(u_centred(gram) if estimator == "unbiased" else centred(gram))
            for number, gram in enumerate(found, start=1)
            for estimator in ESTIMATORS
        }
        kept = {key: vector for key, vector in vectors.items() if vector.any()}
        if not kept:
            return
        for (key, vector), own in zip(kept.items(), signs(torch.stack([*kept.values()]), self.bits), strict=True):
            layer, estimator = key
            scale = n * (n - 3) if estimator == "unbiased" else (n - 1) ** 2
            text = base64.b64encode(np.packbits(own.numpy()).tobytes()).decode()
            at = {"layer": layer, "estimator": estimator, "signs": text}
            yield {"metric": "hsic", **at, "value": vector.square().sum().item() / scale}


def centred(gram: Tensor) -> Tensor:
    """A Gram matrix (n, n) of features less their means."""
    return gram - gram.mean(0, keepdim=True) - gram.mean(1, keepdim=True) + gram.mean()


def u_centred(gram: Tensor) -> Tensor:
    """A matrix (n, n) of which the products with others are n (n - 3) times the unbiased HSIC; rows add up to 0."""
    n = len(gram)
    hollow = gram - torch.diag(gram.diagonal())
    rows = hollow.sum(0, keepdim=True) / (n - 2)
    out = hollow - rows - rows.T + hollow.sum() / ((n - 1) * (n - 2))
    return out - torch.diag(out.diagonal())


def signs(vectors: Tensor, bits: int) -> Tensor:
    """Whether each of the vectors (L, D) lies on the far side of each of `bits` fixed random planes: (L, bits)."""
    generator = torch.Generator().manual_seed(0)
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).float().cpu()
    few, parts = max(1, AT_ONCE // unit.shape[1]), []
    for start in range(0, bits, few):
        planes = torch.randn(min(few, bits - start), unit.shape[1], generator=generator)
        parts.append(unit @ planes.T > 0)
    return torch.cat(parts, dim=1)


def _vector(matrix: Tensor) -> Tensor:
    """A symmetric matrix (n, n) as a vector of n (n + 1) / 2 numbers whose products are those of the matrices."""
    down, across = torch.triu_indices(len(matrix), len(matrix), offset=1, device=matrix.device)
    return torch.cat([matrix.diagonal(), math.sqrt(2) * matrix[down, across]])
