"""Queries, keys and values as one linear map, packed as in timm.

B batch, N tokens, C channels, H heads, D channels a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all_modules
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from vision_attn.layers.shapes import Float
from vision_attn.layers.symbolic import traced


class PackedProjection(nn.Linear):
    """Linear maps of the same tokens, their weights one below the other, of which some have a bias and some have none.

    `widths` gives each its output width; `biases` names those that have a bias. These are the parameters `q_bias`,
    `v_bias` and so on, as in timm's BEiT; the module adds 0 for the others.
    """

    def __init__(self, dim: int, *, widths: dict[str, int], biases: set[str]) -> None:
        self.widths, self.biased = widths, biases
        super().__init__(dim, sum(widths.values()), bias=False)
        for name, width in widths.items():
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(width)) if name in biases else None)

    def reset_parameters(self) -> None:
        """The weights drawn as those of a linear map, the biases 0."""
        super().reset_parameters()
        for name in self.biased:
            if hasattr(self, f"{name}_bias"):
                nn.init.zeros_(getattr(self, f"{name}_bias"))

    def all_biases(self) -> Tensor:
        """The biases one below the other, 0 for those that are not there."""
        biases = {name: getattr(self, f"{name}_bias") for name in self.widths}
        like = next((bias for bias in biases.values() if bias is not None), self.weight)
        widths = self.widths.items()
        return torch.cat([like.new_zeros(width) if biases[name] is None else biases[name] for name, width in widths])

    def forward(self, x: Float[Tensor, "*B C"]) -> Float[Tensor, "*B K"]:
        return F.linear(x, self.weight, self.all_biases())


def packed(dim: int, *, widths: dict[str, int], biases: dict[str, bool]) -> nn.Linear:
    """The linear maps as one module: a plain `nn.Linear` where all have a bias or none has."""
    biased = {name for name in widths if biases[name]}
    if biased and biased != widths.keys():
        return PackedProjection(dim, widths=widths, biases=biased)
    return nn.Linear(dim, sum(widths.values()), bias=bool(biased))


def heads(
    linear: nn.Module, x: Float[Tensor, "B N C"], *, widths: dict[str, int], names: str, num_heads: int
) -> tuple[Tensor, ...]:
    """The maps called `names`, neighbours such as "kv" in `widths`, each split into heads (B, H, N, D)."""
    sizes = [widths[name] for name in names]
    mapped = linear(x) if len(names) == len(widths) else _some(linear, x, widths=widths, names=names)
    if sizes.count(sizes[0]) == len(sizes):
        parts = mapped.unflatten(-1, (len(sizes), num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return tuple(parts[number] for number in range(len(sizes))) if traced(parts) else parts
    parts = mapped.split(sizes, dim=-1)
    return tuple(parts[i].unflatten(-1, (num_heads, -1)).transpose(1, 2) for i in range(len(sizes)))


def _some(
    linear: nn.Module, x: Float[Tensor, "B N C"], *, widths: dict[str, int], names: str
) -> Float[Tensor, "B N K"]:
    """Neighbouring maps of several, the others not computed where that is the same."""
    order = "".join(widths)
    start = sum(widths[name] for name in order[: order.index(names)])
    rows = slice(start, start + sum(widths[name] for name in names))
    if not _bare(linear):
        return linear(x)[..., rows]
    assert isinstance(linear, nn.Linear)
    bias = linear.all_biases() if isinstance(linear, PackedProjection) else linear.bias
    return F.linear(x, linear.weight[rows], None if bias is None else bias[rows])


def _bare(linear: nn.Module) -> bool:
    """Whether its weights are all that a call of it means, so that a part of them may be applied alone.

    Not so with hooks, parametrisations, wrappers, quantised weights, which may be a tensor of a class of their own, or
    a forward of the instance's own.
    """
    hooked = (linear._forward_hooks, linear._forward_pre_hooks, linear._backward_hooks, linear._backward_pre_hooks)
    own = type(linear) not in (nn.Linear, PackedProjection) or "forward" in vars(linear)
    if own or any(hooked) or hooks_of_all_modules._has_any_global_hook():
        return False
    return not is_traceable_wrapper_subclass(linear.weight)
