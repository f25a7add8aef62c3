"""Another image size for a network that is built: new grids, positions interpolated, all other weights as they are."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers import Position, sincos2d
from vision_attn.spec import InputError

POSITIONS = "pos_embed"


def resize(network: Any, img_size: int | tuple[int, int]) -> None:
    """Let the network take images of that size, in place: `grid`s and `pos_embed` change.

    The network of the spec at that size, built without memory, says how. Positions inside of mixers keep the grid they
    were built for, and bring themselves to that of their tokens. Raises `InputError` where it cannot be built
    or has other weights than positions of another shape.
    """
    size = a_size(img_size, "img_size of set_input_size")
    with torch.device("meta"):
        fresh: Any = network.spec.build(image_size=size, in_chans=network.in_chans, num_classes=network.num_classes)
    old = {name: tensor.shape for name, tensor in network.state_dict().items() if not name.startswith("head.")}
    new = {name: tensor.shape for name, tensor in fresh.state_dict().items()}
    bound = [name for name, shape in old.items() if name != POSITIONS and new[name] != shape]
    if bound:
        allowed = f"{network.image_size}, as {bound[0]} belongs to the places of its grid"
        raise InputError(f"img_size of set_input_size must be {allowed}. Got {size} instead.")
    if getattr(network, POSITIONS, None) is not None:
        _interpolate(network, fresh.grid)
    for name, module in fresh.named_modules():
        if hasattr(module, "grid") and not isinstance(module, Position):
            network.get_submodule(name).grid = module.grid
    network.image_size = size
    if hasattr(network, "grids"):
        network.grids = fresh.grids


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
        image = before.detach().transpose(1, 2).unflatten(2, network.grid)
        image = F.interpolate(image.float(), grid, mode="bicubic", antialias=True).to(before.dtype)
        network.pos_embed = nn.Parameter(image.flatten(2).transpose(1, 2), requires_grad=before.requires_grad)
