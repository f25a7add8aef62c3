"""Attention maps: what every token takes from every token, in every layer of a model.

B batch, H heads, N tokens of the grid, P prefix tokens, M keys of the grid; W windows of n tokens.
"""

import copy
import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vision_attn.layers import Attention
from vision_attn.models.replacement import attends
from vision_attn.probes.capture import CLASS_TOKEN, Call, calls_of, declared_prefix, token_grid
from vision_attn.spec import InputError
from vision_attn.training.evaluate import evaluating

COMPILED = "_orig_mod"
"""The name of a module in what `torch.compile` makes of it."""
SOFTMAXES = (torch.softmax, Tensor.softmax, F.softmax)
LINEAR = (F.linear, F.conv2d)
OF_CHANNELS = re.compile("channel|covariance|xca", re.IGNORECASE)
"""Names of attention whose softmax is over pairs of channels, of which a head may have as many as there are tokens."""


@dataclasses.dataclass(frozen=True)
class AttentionMap:
    """The attention of one layer: `weights` (B, H, P + N, P + M), row i says how much token i takes from each.

    `prefix` tokens (class token, registers) come first; behind them queries lie on `grid` (rows, columns) and keys on
    `key_grid`. None: no query, or no key, lies on a grid. With `mixed` heads are added up with learned factors behind
    the softmax, as in CaiT: weights may be below 0 and rows need not add up to 1.
    """

    weights: Tensor
    prefix: int
    grid: tuple[int, int] | None
    key_grid: tuple[int, int] | None
    mixed: bool = False

    def __repr__(self) -> str:
        shape = tuple(self.weights.shape)
        return f"AttentionMap(weights of {shape}, prefix={self.prefix}, grid={self.grid}, key_grid={self.key_grid})"

    @property
    def on_grid(self) -> Tensor:
        """From the places of the image to the places of the image: (B, H, rows, columns, key rows, key columns)."""
        if self.grid is None or self.key_grid is None:
            raise InputError("on_grid needs queries and keys on a grid. Got a layer whose tokens lie on none.")
        inner = self.weights[:, :, self.prefix :, self.prefix :]
        return inner.unflatten(3, self.key_grid).unflatten(2, self.grid)

    @property
    def from_prefix(self) -> Tensor:
        """What class token and registers take from the places of the image: (B, H, P, key rows, key columns)."""
        if self.key_grid is None:
            raise InputError("from_prefix needs keys on a grid. Got a layer whose keys lie on none.")
        return self.weights[:, :, : self.prefix, self.prefix :].unflatten(3, self.key_grid)


def attention_maps(model: nn.Module, images: Tensor) -> dict[str, AttentionMap]:
    """The attention of every layer of a model of this package or of timm for images (B, C, H, W), by module name.

    As the forward pass in eval mode uses it, before dropout: fused kernels are computed again with their mask, and
    windows that batch the tokens (Swin, Swin V2) are put back, so that a row has a column for every token of the
    image; tokens of other windows get 0, and what padding draws is left out. Attention that pools tokens for the head
    has no map. The model is left as it is.

    Raises `InputError` where images have another shape, the model has no attention, or the attention of a layer is not
    one weight for every pair of tokens.
    """
    if images.ndim != 4:
        raise InputError(f"images of attention_maps must be (B, C, H, W). Got {tuple(images.shape)} instead.")
    maps = dict(each_map(model, images))
    if not maps:
        raise InputError(f"model of attention_maps must have attention. Got {type(model).__name__} instead.")
    return maps


def each_map(model: nn.Module, images: Tensor) -> Iterator[tuple[str, AttentionMap]]:
    """The maps of `attention_maps`, one after the other, so that not all have to be kept; none where there is none.

    The model is in eval mode until the last one is taken.
    """
    layers = {name: module for name, module in model.named_modules() if attends(module)}
    blocks = {name: model.get_submodule(_place(name)[0]) for name in layers}
    watched = {**layers, **{f"{name} in": block for name, block in blocks.items()}}
    with evaluating(model), torch.no_grad():
        calls = calls_of(watched, lambda: model(images))
        for name in (name for name in calls if name in layers):
            weights, mixed = _weights(layers[name], name, calls[name])
            if hasattr(blocks[name], "_attn") or len(weights) != len(images):
                one = _put_back(weights, name, blocks[name], calls.get(f"{name} in"), len(images))
            else:
                one = _placed(weights, model, layers[name], images)
            yield name, dataclasses.replace(one, mixed=mixed)


def _place(name: str) -> tuple[str, str]:
    """The block that a layer stands in and its name there; a layer that is compiled by itself stands in a wrapper."""
    block, _, own = name.removesuffix(f".{COMPILED}").rpartition(".")
    return block, own


class _Weights(TorchFunctionMode):
    """Inside, keeps the attention of softmaxes, fused kernels, and of what is dropped out in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self.mixed = self._linear = False
        """Whether what takes the place of a softmax has gone through a linear layer since."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.found.append(_of_kernel(*args, **kwargs))
        out = func(*args, **kwargs)
        if func in SOFTMAXES and _dim(*args, **kwargs) in (-1, out.ndim - 1):
            self.found.append(out)
            self._linear = False
        elif func in LINEAR:
            self._linear = True
        elif func is F.dropout and self.found and args[0].shape == self.found[-1].shape:
            self.found, self.mixed = [args[0]], self._linear
        return out


def _dim(scores: Tensor, dim: int | None = None, *others: Any, **options: Any) -> int | None:
    """The dimension over which a softmax with these arguments is taken."""
    return dim


def _of_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights of `torch.nn.functional.scaled_dot_product_attention`, which has these arguments."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(dim=-1)


def _weights(layer: nn.Module, name: str, call: Call) -> tuple[Tensor, bool]:
    """The attention (B, H, N, M) of a layer for what it was called with, and whether its heads are mixed."""
    if isinstance(layer, Attention):
        options = {key: value for key, value in call.options.items() if value is not None and value is not False}
        return layer.weights(call.tokens, **options), False
    if isinstance(layer, nn.MultiheadAttention):
        options = {**call.options, "need_weights": True, "average_attn_weights": False}
        return layer(*call.inputs, **options)[1], False
    with _Weights() as mode:
        out = layer.forward(*call.inputs, **call.options)
    shapes = [tuple(found.shape) for found in mode.found]
    sides = (out[0] if isinstance(out, tuple) else out).shape[1:]
    numbers = {sides[0]} if len(sides) == 2 else {sides[0] * sides[1], sides[-2] * sides[-1]}
    of_channels = OF_CHANNELS.search(type(layer).__name__)
    one = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][2] in numbers  # a row for every token that comes out
    if not one or of_channels:
        allowed = "one softmax over pairs of tokens (B, heads, N, M)"
        given = (", ".join(map(str, shapes)) or "none") + (" over pairs of channels" if of_channels else "")
        raise InputError(f"attention of {name}, a {type(layer).__name__}, must be {allowed}. Got {given} instead.")
    return mode.found[0], mode.mixed


def _placed(weights: Tensor, model: nn.Module, layer: nn.Module, images: Tensor) -> AttentionMap:
    """With the number of tokens that come before a grid shaped as the image."""
    declared = declared_prefix(model)
    own = layer.num_prefix_tokens if isinstance(layer, Attention) else declared
    ratio, (queries, keys) = images.shape[2] / images.shape[3], weights.shape[2:]
    for prefix in dict.fromkeys((declared, own, CLASS_TOKEN, 0)):
        grid, key_grid = token_grid(queries - prefix, ratio), token_grid(keys - prefix, ratio)
        if key_grid is not None and (grid is not None or queries == prefix or queries == 1):
            return AttentionMap(weights, prefix, grid, key_grid)
    return AttentionMap(weights, declared, None, None)


class _Keep(nn.Module):
    """Stands for a layer and keeps the tokens that it gets."""

    def forward(self, x: Tensor, *others: Any, **options: Any) -> Tensor:
        self.tokens = x
        return x


def _put_back(weights: Tensor, name: str, block: nn.Module, outer: Call | None, batch: int) -> AttentionMap:
    """Windows (B x W, H, n, n) as one map of the image: the block cuts an image of the tokens' numbers as it does x."""
    if not hasattr(block, "_attn") or outer is None or outer.tokens.ndim != 4:
        given = f"a {type(block).__name__} with {len(weights) // batch} maps an image"
        raise InputError(f"block of {name} must keep an image together or cut it as Swin does. Got {given} instead.")
    rows, columns = outer.tokens.shape[1:3]
    numbers = torch.arange(1, rows * columns + 1, device=weights.device, dtype=torch.float64)
    stub: Any = copy.copy(block)
    stub._modules = {**block._modules, _place(name)[1]: _Keep()}
    stub._attn(numbers.reshape(1, rows, columns, 1))
    seen = stub.attn.tokens[..., 0].long()
    windows = weights.unflatten(0, (batch, -1)).transpose(1, 2)
    out = weights.new_zeros(batch, weights.shape[1], rows * columns + 1, rows * columns + 1)
    out[:, :, seen[:, :, None], seen[:, None, :]] = windows
    return AttentionMap(out[:, :, 1:, 1:], 0, (rows, columns), (rows, columns))
