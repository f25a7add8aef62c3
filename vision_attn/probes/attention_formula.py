"""Attention formula: does a layer compute what the equation says, of one source of tokens and of two?

B batch, N queries, M keys, H heads, D channels a head of q and k, E of v.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.layers import Attention
from vision_attn.models.base import Model
from vision_attn.probes.attentions import (
    attention_layers,
    biases_of,
    generator_of,
    not_plain,
    plain_copy,
)
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec

SHAPE = (2, 9, 5)
"""Batch, tokens, tokens of the second source."""


@spec
class AttentionFormula(Probe):
    """The largest difference, over outputs in float64, between a layer and other ways to compute the same.

    Tokens are standard normal, of one source (`sources` 1, self-attention) or with keys and values of another
    (`sources` 2, general or cross-attention); biases, which start at 0, are drawn.

    `formula_difference`    to softmax(scale Q_h K_h^T) V_h, head by head, joined and projected, written out
    `torch_difference`      to `torch.nn.MultiheadAttention` with the same weights, where it has such a layer: keys and
                            values as wide as the tokens, scale 1/sqrt(D)
    """

    def skip(self, model: Model, data: Dataset) -> str | None:
        return not_plain(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        layers = attention_layers(model, what="AttentionFormula")
        generator = generator_of(model)
        batch, number, others = SHAPE
        for place, original in enumerate(layers, start=1):
            layer = plain_copy(original, what="AttentionFormula")
            for bias in [*biases_of(layer).values(), *([] if layer.proj.bias is None else [layer.proj.bias])]:
                bias.copy_(_normal(bias.shape, generator))
            x, context = (_normal((batch, length, layer.dim), generator) for length in (number, others))
            for sources, source in ((1, None), (2, context)):
                found = layer(x, context=source)
                keys = x if source is None else source
                at = {"layer": place, "sources": sources}
                yield {"metric": "formula_difference", **at, "value": _apart(found, formula(layer, x, keys))}
                if _is_torchs(layer):
                    yield {"metric": "torch_difference", **at, "value": _apart(found, _of_torch(layer, x, keys))}


def formula(layer: Attention, x: Tensor, source: Tensor) -> Tensor:
    """The equation, head by head, for queries of x (B, N, C), keys and values of `source` (B, M, C)."""
    parts = dict(zip("qkv", layer.qkv.weight.split(list(layer.widths.values())), strict=True))
    biases = {name: torch.zeros(width, dtype=x.dtype) for name, width in layer.widths.items()} | biases_of(layer)
    q, k, v = ((x if name == "q" else source) @ parts[name].T + biases[name] for name in "qkv")
    scales = torch.as_tensor(layer.scale, dtype=x.dtype).flatten().expand(layer.num_heads)
    heads = []
    for number, (queries, keys, values) in enumerate(
        zip(*(t.chunk(layer.num_heads, dim=2) for t in (q, k, v)), strict=True)
    ):
        scores = scales[number] * torch.einsum("bnd,bmd->bnm", queries, keys)
        shares = scores.exp() / scores.exp().sum(dim=2, keepdim=True)
        heads.append(layer.after * torch.einsum("bnm,bme->bne", shares, values))
    out = torch.cat(heads, dim=2) @ layer.proj.weight.T
    return out if layer.proj.bias is None else out + layer.proj.bias


def _of_torch(layer: Attention, x: Tensor, source: Tensor) -> Tensor:
    """The output of PyTorch's layer with the same weights, all pairs formed."""
    with torch.random.fork_rng(devices=[]):
        other = nn.MultiheadAttention(layer.dim, layer.num_heads, batch_first=True, dtype=x.dtype).eval()
    biases = {name: torch.zeros(width, dtype=x.dtype) for name, width in layer.widths.items()} | biases_of(layer)
    with torch.no_grad():
        other.in_proj_weight.copy_(layer.qkv.weight)
        other.in_proj_bias.copy_(torch.cat([biases[name] for name in "qkv"]))
        other.out_proj.weight.copy_(layer.proj.weight)
        other.out_proj.bias.copy_(torch.zeros(layer.dim) if layer.proj.bias is None else layer.proj.bias)
        return other(x, source, source)[0]


def _is_torchs(layer: Attention) -> bool:
    return set(layer.widths.values()) == {layer.dim} and layer.scaling == "sqrt"


def _normal(shape: tuple[int, ...] | torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _apart(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()
