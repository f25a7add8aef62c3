"""Saturation: how spread the scores of attention are, and how much of its slope the softmax has left.

B images or draws, H heads, N queries, M keys, D channels a head.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.layers import Attention, Pattern
from vision_attn.models.base import Model
from vision_attn.probes.attentions import attention_layers, generator_of, unlike
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import calls_of
from vision_attn.probes.lattice import chosen
from vision_attn.spec import InputError, spec
from vision_attn.training.evaluate import evaluating

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FLAT = 1e-3
"""Norm of the softmax's Jacobian below which a row of attention is called saturated."""
AT_ONCE = 64
"""Draws of queries and keys, or images, that are looked at at once."""


@spec
class Saturation(Probe):
    """The scores of every attention layer and what the softmax makes of them, over all rows (queries).

    With `inputs` "images" the queries and keys are those of test images; with "normal" they are standard normal, as
    the derivation of 1/sqrt(D) assumes (Vaswani et al. 2017, section 3.2.1), `draws` times `num_keys` of each, drawn
    anew for other weights. The layer's own scale, norms and similarity are used. Coordinates `inputs` and `layer`.

    `score_variance`        of all scores, as scaled
    `entropy_relative`      mean entropy of a row / log M: 1 is uniform, 0 one key alone; not where M is 1
    `largest_weight`        mean of the largest weight of a row
    `jacobian_norm`         |diag(p) - p p^T| (Frobenius) of a row p, by how much weights move with scores: a `quantile`
    `mean_jacobian_norm`    its mean
    `saturated_share`       share of the rows in which it is below 0.001
    """

    inputs: Literal["images", "normal"] = "images"
    images: int = 32
    draws: int = 256
    num_keys: int = 64

    def check(self) -> None:
        for field in ("images", "draws"):
            self.require(field, getattr(self, field) >= 1, "at least 1")
        self.require("num_keys", self.num_keys >= 2, "at least 2")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return unlike(model, _is_fit, "scores of its attention are not products of all queries and keys")

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        layers = attention_layers(model, what="Saturation")
        for layer in layers:
            if not _is_fit(layer):
                allowed = "products of all queries and keys"
                raise InputError(f"scores of a layer must be {allowed} for Saturation. Got {layer} instead.")
        found = self._of_draws(model, layers) if self.inputs == "normal" else self._of_images(model, layers, data)
        for number, (scores, weights) in enumerate(found, start=1):
            for row in statistics(scores, weights):
                yield {**row, "inputs": self.inputs, "layer": number}

    def _of_draws(self, model: nn.Module, layers: list[Attention]) -> Iterator[tuple[Tensor, Tensor]]:
        generator = generator_of(model)
        with torch.no_grad():
            for layer in layers:
                each = -(-self.draws // layer.num_heads)
                parts = [self._drawn(layer, min(AT_ONCE, each - at), generator) for at in range(0, each, AT_ONCE)]
                scores = torch.cat(parts)
                yield scores, scores.softmax(-1) * layer.after

    def _drawn(self, layer: Attention, number: int, generator: torch.Generator) -> Tensor:
        """Scores (number, H, N, N) of normal queries and keys, in float64."""
        shape = (number, layer.num_heads, self.num_keys, layer.head_dim)
        device = layer.proj.weight.device
        q, k = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
        q, k = layer.similarity(layer.q_norm(q), layer.k_norm(k))
        return _scores(layer, q * layer.scale if layer.scaling == "learned" else q, k)

    def _of_images(self, model: nn.Module, layers: list[Attention], data: Data) -> Iterator[tuple[Tensor, Tensor]]:
        images = data.normalise(chosen(data, split="test", images=self.images).images)
        named = {str(number): layer for number, layer in enumerate(layers)}
        with torch.no_grad(), evaluating(model):
            calls = calls_of(dict(named), lambda: model(images))
            for name, call in calls.items():
                q, k, _ = named[name].heads(call.tokens)
                yield _scores(named[name], q, k), named[name].weights(call.tokens).double()


def _is_fit(layer: Attention) -> bool:
    return type(layer.pattern) is Pattern and layer.similarity.folds


def _scores(layer: Attention, q: Tensor, k: Tensor) -> Tensor:
    """The scaled scores of folded queries and keys, before what a position adds, in float64."""
    scores: Tensor = layer.similarity(q, k, folded=True)
    return scores.double() * layer.factor


def statistics(scores: Tensor, weights: Tensor) -> Iterator[Row]:
    """The rows for scores and weights (B, H, N, M). Weights of a row sum to s (1, but for a scale after the softmax).

    With p = weights / s the entropy and the largest weight are those of p, the Jacobian is s (diag(p) - p p^T).
    """
    total = weights.sum(dim=-1, keepdim=True)
    p = weights / total
    square = p.square().sum(dim=-1)
    norm = (square - 2 * p.pow(3).sum(dim=-1) + square.square()).clamp(min=0).sqrt() * total[..., 0]
    yield {"metric": "score_variance", "value": scores.var(correction=0).item()}
    if p.shape[-1] > 1:
        entropy = torch.special.entr(p).sum(dim=-1) / math.log(p.shape[-1])
        yield {"metric": "entropy_relative", "value": entropy.mean().item()}
    yield {"metric": "largest_weight", "value": p.amax(dim=-1).mean().item()}
    ordered = norm.flatten().sort().values
    for quantile in QUANTILES:
        place = round(quantile * (len(ordered) - 1))
        yield {"metric": "jacobian_norm", "quantile": quantile, "value": ordered[place].item()}
    yield {"metric": "mean_jacobian_norm", "value": norm.mean().item()}
    yield {"metric": "saturated_share", "value": (norm < FLAT).double().mean().item()}
