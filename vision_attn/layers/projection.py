"""Queries, keys and values as one linear map, packed as in timm.

B batch, N tokens, C channels, H heads, D channels a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.shapes import Float


class PackedProjection(nn.Linear):
    """Linear maps of the same tokens, their weights one below the other, such as q, k and v.

    `widths` gives each its output width, `biases` says whether it has a bias. Where all have one or none has, the
    parameters are `weight` and `bias`; otherwise the biases are `q_bias`, `v_bias` and so on, as in timm's BEiT.
    """

    def __init__(self, dim: int, *, widths: dict[str, int], biases: dict[str, bool]) -> None:
        alike = len({biases[name] for name in widths}) == 1
        super().__init__(dim, sum(widths.values()), bias=alike and all(biases[name] for name in widths))
        self.widths, self.mixed = widths, not alike
        if self.mixed:
            for name, width in widths.items():
                self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(width)) if biases[name] else None)

    def all_biases(self) -> Tensor | None:
        """The biases one below the other, 0 for those that are not there; None where there is none at all."""
        if not self.mixed:
            return self.bias
        found = ((getattr(self, f"{name}_bias"), width) for name, width in self.widths.items())
        return torch.cat([self.weight.new_zeros(width) if bias is None else bias for bias, width in found])

    def heads(self, x: Float[Tensor, "B N C"], num_heads: int, *, names: str) -> tuple[Tensor, ...]:
        """The maps called `names`, neighbours such as "kv", each split into heads (B, H, N, D)."""
        order, bias, weight = "".join(self.widths), self.all_biases(), self.weight
        widths = [self.widths[name] for name in names]
        if names != order:
            start = sum(self.widths[name] for name in order[: order.index(names)])
            weight = weight[start : start + sum(widths)]
            bias = None if bias is None else bias[start : start + sum(widths)]
        mapped = F.linear(x, weight, bias)
        if len(set(widths)) == 1:
            return mapped.unflatten(-1, (len(widths), num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return tuple(part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in mapped.split(widths, dim=-1))
