"""Stored weights of timm's Swin and BEiT attention under the names that they have here.

H heads, C channels; T offsets of a relative bias.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vision_attn.layers.projection import PackedProjection
from vision_attn.layers.relative import PREFIX_OFFSETS, RelativeBias

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

TABLE = "relative_position_bias_table"


def rename(layer: "Attention", state: dict[str, Any], prefix: str) -> None:
    """Give the entries of the state that begin with `prefix` our names, in place; those of this package stay.

    Raises `ValueError` for numbers that the layer has no place for.
    """
    if prefix + TABLE in state and isinstance(layer.position, RelativeBias):
        table = state.pop(prefix + TABLE)
        state[f"{prefix}position.{TABLE}"] = _of_the_grid(table, layer.position)
        _check_index(state.pop(f"{prefix}relative_position_index", None), layer.position)
    biases = {name: state[f"{prefix}{name}_bias"] for name in "qkv" if f"{prefix}{name}_bias" in state}
    qkv = getattr(layer, "qkv", None)
    if not biases or not (isinstance(qkv, PackedProjection) or getattr(qkv, "bias", None) is not None):
        return
    for name in biases:
        del state[f"{prefix}{name}_bias"]
    if isinstance(qkv, PackedProjection):
        _unpacked(qkv, state, biases, prefix)
    else:
        like = next(iter(biases.values()))
        parts = [biases.get(name, like.new_zeros(width)) for name, width in layer.widths.items()]
        state[f"{prefix}qkv.bias"] = torch.cat(parts)


def _check_index(index: Tensor | None, position: RelativeBias) -> None:
    """The index that older files hold is computed here, from where tokens lie; it tells of which window a table is."""
    if index is None or index.is_meta:
        return
    (rows, columns), number = position.grid, position.grid[0] * position.grid[1]
    y, x = (place.flatten() for place in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    first = (rows - 1 - y) * (2 * columns - 1) + columns - 1 - x  # what the first token takes from each
    if len(index) < number or not torch.equal(index[len(index) - number, len(index) - number :].cpu(), first):
        allowed = f"of the grid {position.grid}, that of RelativeBias"
        raise ValueError(f"relative_position_index of the state must be {allowed}. Got one of another instead.")


def _unpacked(qkv: PackedProjection, state: dict[str, Any], biases: dict[str, Tensor], prefix: str) -> None:
    """The biases that the layer has; those that it has not may be there if they are 0, as BEiT's of the keys."""
    for name, bias in biases.items():
        if name in qkv.biased:
            state[f"{prefix}qkv.{name}_bias"] = bias
        elif bias.any():
            raise ValueError(f"{name}_bias of Attention must be True for a state with that bias. Got False instead.")


def _of_the_grid(table: Tensor, position: RelativeBias) -> Tensor:
    """The rows of a table (T, H) for the offsets within the grid."""
    offsets = len(position.relative_position_bias_table)
    if position.places_prefix or len(table) != offsets + PREFIX_OFFSETS:
        return table  # of another grid it is refused as any tensor of another shape
    if table[offsets:].any():
        allowed = "0 for offsets to and from the class token, without prefix=True of RelativeBias"
        given = table[offsets:].abs().amax().item()
        raise ValueError(f"{TABLE} of the state must be {allowed}. Got up to {given:.3g} instead.")
    return table[:offsets]
