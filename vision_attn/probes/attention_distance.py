"""Attention distance: how far a token's attention reaches, head by head.

B batch, H heads, N tokens of the grid, P prefix tokens, M keys of the grid; distances in pixels.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models import Model, SelfAttention, ViT
from vision_attn.models.replacement import attends
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import NUMBERS
from vision_attn.probes.lattice import chosen
from vision_attn.probes.maps import AttentionMap, attention_maps, each_map
from vision_attn.spec import InputError, spec

USUAL_SIZE = 224
"""The image size at which a model is looked through for attention, without weights; most sizes of patches divide it."""
QUERY_POOLS = ("pool_q", "query.down_pool", "q.down")
"""Names of what makes fewer queries of tokens: in MViT, MobileNetV4 and LeViT of timm."""
KEY_POOLS = ("pattern.sr", "sr", "pool_k", "key.down_conv")
"""Names of what makes fewer keys of tokens: in ours, PVT and Twins, MViT and MobileNetV4 of timm."""
GEOMETRY = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
"""What says where a convolution or pooling looks, and its usual values."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Distances of the tokens of the grid to the keys of the grid (N, M), and how many prefix tokens come before."""

    distance: Tensor
    prefix: int


@spec
class AttentionDistance(Probe):
    """The mean attention distance of every head (Dosovitskiy et al. 2021, appendix D.7).

        mean over images and tokens i of sum_j A_ij |place_i - place_j|    in pixels

    from the true inputs of each attention layer of `attention_maps`: those of this package, timm's, windows of Swin
    included, and `nn.MultiheadAttention`. Prefix tokens (class token, registers) have no grid position: their rows and
    columns are dropped, and what is left of a row is normalised again. `layer` is 1 for the first attention whose
    tokens lie on the image. Raises `InputError`, naming the class, where an attention is of another form, and where
    heads are mixed behind the softmax, as in CaiT.

    `attention_distance`            of `images` "true", or "shuffled": their patches in random order, as a control
    `attention_entropy`             of the same rows, in nats
    `prefix_share`                  the attention of the grid's tokens that prefix tokens draw, where there are any
    `attention_distance_uniform`    of a layer with uniform attention over the tokens of the grid
    """

    images: int = 128
    seed: int = 0
    split: Literal["train", "test"] = "test"

    def check(self) -> None:
        self.require("images", self.images >= 1, "at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        if isinstance(model, ViT):
            has_weights = isinstance(model.mixer, SelfAttention)
            return None if has_weights else f"{type(model.mixer).__name__} has no attention weights"
        return _unreadable(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        images = data.normalise(chosen(data, split=self.split, images=self.images).images)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            geometries: dict[str, Geometry] = {}
            grids, largest = [], 1
            for name, found in each_map(model, images[:1]):
                _require_shares(found, name)
                largest = max(largest, found.weights.numel())
                if found.grid is not None and found.key_grid is not None:
                    geometries[name] = geometry(found, model.get_submodule(name), image_size=data.image_size)
                    grids.append(found.grid)
            if not geometries:
                allowed = "have attention between places of the image"
                raise InputError(f"model of AttentionDistance must {allowed}. Got {type(model).__name__} instead.")
            for layer, one in enumerate(geometries.values(), start=1):
                yield {"metric": "attention_distance_uniform", "layer": layer, "value": one.distance.mean().item()}
            shuffled = shuffled_patches(images, grids[0], generator=torch.Generator().manual_seed(self.seed))
            for kind, shown in (("true", images), ("shuffled", shuffled)):
                batches = shown.split(max(1, NUMBERS // (8 * largest)))
                yield from _measured(model, batches, geometries, {"images": kind})


def statistics(weights: Tensor, geometry: Geometry) -> dict[str, Tensor]:
    """Distance, entropy and share of the prefix of attention (B, H, P + N, P + M): (H,) each, mean over B and N."""
    rows = weights[:, :, geometry.prefix :].double()
    on_grid = rows[..., geometry.prefix :]
    share = 1 - on_grid.sum(dim=-1) / rows.sum(dim=-1)
    on_grid = on_grid / on_grid.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    found = {
        "attention_distance": (on_grid * geometry.distance.to(on_grid.device)).sum(dim=-1),
        "attention_entropy": torch.special.entr(on_grid).sum(dim=-1),
    }
    if geometry.prefix:
        found["prefix_share"] = share
    return {metric: values.mean(dim=(0, 2)) for metric, values in found.items()}


def geometry(one: AttentionMap, module: nn.Module, *, image_size: int) -> Geometry:
    """Where the queries and keys of an attention, both on a grid, lie on the image.

    Tokens lie evenly; queries or keys that the layer pools from them, where the middle of what it looks at lies.
    """
    assert one.grid is not None
    assert one.key_grid is not None
    parts = dict(module.named_modules())
    pools = [next((parts[name] for name in names if name in parts), None) for names in (QUERY_POOLS, KEY_POOLS)]
    lines = [_lines(*sides, *pools) for sides in zip(one.grid, one.key_grid, strict=True)]
    queries, keys = (torch.cartesian_prod(*axes).view(-1, 2) * image_size for axes in zip(*lines, strict=True))
    return Geometry(torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist"), one.prefix)


def _lines(queries: int, keys: int, query_pool: nn.Module | None, key_pool: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Where so many queries and keys lie along a side of the image, in parts of it."""
    fewer, fewer_keys = _number(query_pool, "stride", 1), _number(key_pool, "stride", 1)
    tokens = queries if fewer == 1 else keys if fewer_keys == 1 else queries * fewer
    return _middles(queries, query_pool, tokens), _middles(keys, key_pool, tokens)


def _middles(side: int, pool: nn.Module | None, tokens: int) -> Tensor:
    """The middles of what a convolution or pooling looks at of a line of tokens, without what it pads behind it alone.

    Evenly spread where it does not make so many of them.
    """
    kernel, stride, padding, dilation = (_number(pool, name, usual) for name, usual in GEOMETRY.items())
    if side not in (tokens // stride, -(-tokens // stride)):
        return (torch.arange(side, dtype=torch.float64) + 0.5) / side
    first = torch.arange(side, dtype=torch.float64) * stride - padding
    last = first + dilation * (kernel - 1) + 1
    return (first + (last if padding else last.clamp(max=tokens))) / 2 / tokens


def _number(pool: nn.Module | None, name: str, usual: int) -> int:
    """A number of a convolution or pooling, of those down and across the first; the usual one where it has none."""
    given = getattr(pool, name, usual)
    return int(given[0] if isinstance(given, tuple | list) else given)


def shuffled_patches(images: Tensor, grid: tuple[int, int], *, generator: torch.Generator) -> Tensor:
    """Images (B, C, S, S) cut into as many patches as the grid has cells, which change places, in each its own way."""
    (rows, columns), (height, width) = grid, images.shape[2:]
    if height % rows or width % columns:
        raise InputError(
            f"image size of AttentionDistance must be a multiple of the grid {grid}. Got {height} instead."
        )
    patches = images.unflatten(3, (columns, -1)).unflatten(2, (rows, -1)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    orders = torch.stack([torch.randperm(rows * columns, generator=generator) for _ in images]).to(images.device)
    mixed = patches[torch.arange(len(images), device=images.device)[:, None], orders]
    return mixed.unflatten(1, grid).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _require_shares(one: AttentionMap, name: str) -> None:
    """Raise `InputError` where the rows of an attention are no shares."""
    if one.mixed:
        allowed = "shares of 1 for AttentionDistance"
        raise InputError(f"weights of {name} must be {allowed}. Got heads that are mixed behind the softmax instead.")


def _measured(
    model: nn.Module, batches: tuple[Tensor, ...], geometries: dict[str, Geometry], coordinates: dict[str, Any]
) -> Iterator[Row]:
    totals: dict[tuple[str, str], Tensor] = {}
    number = sum(map(len, batches))
    for batch in batches:
        for name, one in each_map(model, batch):
            if name in geometries:
                for metric, values in statistics(one.weights, geometries[name]).items():
                    totals[name, metric] = totals.get((name, metric), 0) + values * (len(batch) / number)
    layers = {name: layer for layer, name in enumerate(geometries, start=1)}
    for (name, metric), values in totals.items():
        for head, value in enumerate(values.tolist()):
            yield {"metric": metric, "layer": layers[name], "head": head, **coordinates, "value": value}


@functools.lru_cache(maxsize=64)
def _unreadable(model: Model) -> str | None:
    """Why the attention of a model cannot be read, from a look without weights; None where that shows no reason."""
    try:
        with torch.device("meta"):
            module = model.build(image_size=USUAL_SIZE, in_chans=3, num_classes=2)
            images = torch.empty(1, 3, USUAL_SIZE, USUAL_SIZE)
    except InputError:
        return None  # it cannot be built at that size
    if not any(attends(part) for part in module.modules()):
        return f"{type(model).__name__} has no attention whose weights can be read"
    try:
        for name, one in attention_maps(module, images).items():
            _require_shares(one, name)
    except InputError as error:
        return f"{type(model).__name__} has attention whose weights cannot be read: {error}"
    except (NotImplementedError, RuntimeError):
        return None  # it does not run without weights
    return None
