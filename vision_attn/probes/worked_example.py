"""Worked example: the attention that a layer makes of a few given products of a query with keys."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.layers import Attention
from vision_attn.models.base import Model
from vision_attn.probes.attentions import attention_layers, biases_of, not_plain, plain_copy
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec


@spec
class WorkedExample(Probe):
    """What every attention layer makes of the products q . k_1, q . k_2, ... = `products`, computed by the layer.

    A copy of the layer in float64 gets weights and tokens with these products; its number of heads, widths and
    scaling stay. `score` is the product as the layer scales it before the softmax, `attention_weight` what the query
    takes from the key; coordinates `layer` and `key` count from 1. With 112 and 96 in a head of 64 the layer of
    Vaswani et al. (2017) gives the scores 14 and 12 and the weights 0.88 and 0.12. Trained weights play no part, but
    for a learned scale.
    """

    products: tuple[float, ...] = (112.0, 96.0)

    def check(self) -> None:
        usable = len(self.products) >= 1 and self.products[0] > 0
        self.require("products", usable, "one or more numbers, the first above 0")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return not_plain(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        for number, layer in enumerate(attention_layers(model, what="WorkedExample"), start=1):
            scale = torch.as_tensor(layer.scale).flatten()[0].item()
            weights = _attention(plain_copy(layer, what="WorkedExample"), self.products)
            for key, (product, weight) in enumerate(zip(self.products, weights.tolist(), strict=True), start=1):
                yield {"metric": "score", "layer": number, "key": key, "value": scale * product}
                yield {"metric": "attention_weight", "layer": number, "key": key, "value": weight}


def _attention(layer: Attention, products: tuple[float, ...]) -> Tensor:
    """What the first token takes from each, in the first head: (N,).

    In every head q and k are the first channel of the token, which is product / a with a^2 the first product. The
    layer's numbers are written over.
    """
    layer.qkv.weight.zero_()
    for bias in biases_of(layer).values():
        bias.zero_()
    for start in (0, layer.widths["q"]):
        layer.qkv.weight[start : start + layer.widths["q"] : layer.head_dim, 0] = 1
    tokens = torch.zeros(1, len(products), layer.dim, dtype=torch.float64)
    tokens[0, :, 0] = torch.tensor(products, dtype=torch.float64) / products[0] ** 0.5
    return layer.weights(tokens)[0, 0, 0]
