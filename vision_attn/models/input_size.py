"""Another image size for a network that is built: new grids, positions interpolated, all other weights as they are."""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vision_attn.layers import IdentityMixing, LearnedPosition, Position, RelativeBias, ZeroMixing, sincos2d
from vision_attn.layers.positions import interpolated
from vision_attn.spec import InputError

POSITIONS = "pos_embed"
PLACELESS = (IdentityMixing, ZeroMixing)
"""Mixers to which the grid is of no matter."""


def resize(network: Any, img_size: int | tuple[int, int]) -> None:
    """Let the network take images of that size, in place: `grid`s and positions change.

    The network of the spec at that size, built without memory, says how. Raises `InputError` where it cannot be built
    or has other weights than positions of another shape.
    """
    size = a_size(img_size, "img_size of set_input_size")
    with torch.device("meta"):
        fresh: Any = network.spec.build(image_size=size, in_chans=network.in_chans, num_classes=network.num_classes)
    for name in _bound(network, fresh):
        allowed = f"{network.image_size}, as {name} belongs to the places of its grid"
        raise InputError(f"img_size of set_input_size must be {allowed}. Got {size} instead.")
    if getattr(network, POSITIONS, None) is not None:
        _interpolate(network, fresh.grid)
    for name, module in fresh.named_modules():
        own = network.get_submodule(name)
        if isinstance(own, Position):
            own.set_grid(module.grid)
        elif hasattr(module, "grid"):
            own.grid = module.grid
    network.image_size = size
    if hasattr(network, "grids"):
        network.grids = fresh.grids


def allow_any_size(network: Any) -> None:
    """Let every forward pass of a `VisionTransformer` take images of a size of its own, as timm's `dynamic_img_size`.

    Raises `InputError` where the head lays logits on the grid, and for a mixer that cannot be told a grid.
    """
    if not hasattr(network, "dynamic_img_size"):
        allowed = f"left out for a {type(network).__name__}, whose convolutions take any size"
        raise InputError(f"dynamic_img_size must be {allowed}. Got True instead.")
    if network.pool == "none":
        raise InputError("dynamic_img_size must be False with pool = 'none', a grid of logits. Got True instead.")
    sides = both_sides(network.image_size)
    with torch.device("meta"):
        shape = {"in_chans": network.in_chans, "num_classes": network.num_classes}
        larger = network.spec.build(image_size=(2 * sides[0], 2 * sides[1]), **shape)
    mixers = {f"blocks.{number}.mixer": block.mixer for number, block in enumerate(network.blocks)}
    unknown = [name for name, mixer in mixers.items() if not isinstance(mixer, PLACELESS) and not _takes_grid(mixer)]
    for name in (*_bound(network, larger), *unknown):
        given = f"True with {name} of a {type(network).__name__} with {type(mixers[next(iter(mixers))]).__name__}"
        raise InputError(
            f"dynamic_img_size must be False where a mixer or the stem belongs to one grid. Got {given} instead."
        )
    network.dynamic_img_size = True


def _takes_grid(mixer: nn.Module) -> bool:
    """Whether a forward pass can be told how its tokens lie."""
    return hasattr(mixer, "grid") and "grid" in inspect.signature(mixer.forward).parameters


def _bound(network: nn.Module, other: nn.Module) -> Iterator[str]:
    """The weights whose shape is another at another size, but for positions: these are interpolated."""
    learned = LearnedPosition | RelativeBias
    places = tuple(f"{name}." for name, module in network.named_modules() if isinstance(module, learned))
    new = {name: tensor.shape for name, tensor in other.state_dict().items()}
    for name, tensor in network.state_dict().items():
        if name != POSITIONS and not name.startswith(("head.", *places)) and new[name] != tensor.shape:
            yield name


def a_size(img_size: Any, what: str) -> int | tuple[int, int]:
    """The size of images, one number where they are squares. Raises `InputError` where it is none."""
    sides = (img_size, img_size) if isinstance(img_size, int) else img_size
    pair = isinstance(sides, tuple | list) and len(sides) == 2
    if not pair or not all(type(side) is int and side >= 1 for side in sides):
        allowed = "a whole number, at least 1, or two, (height, width)"
        raise InputError(f"{what} must be {allowed}. Got {img_size!r} instead.")
    return sides[0] if sides[0] == sides[1] else (sides[0], sides[1])


def both_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


def _interpolate(network: Any, grid: tuple[int, int]) -> None:
    """Learned positions (1, N, C) by bicubic interpolation with antialiasing; fixed ones by their formula."""
    before: Tensor = network.pos_embed
    if not isinstance(before, nn.Parameter):
        network.pos_embed = sincos2d(grid, before.shape[2]).to(before)
    elif grid != network.grid:
        places = interpolated(before.detach(), network.grid, grid)
        network.pos_embed = nn.Parameter(places, requires_grad=before.requires_grad)
