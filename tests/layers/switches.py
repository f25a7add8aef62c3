"""Every legal setting of the attention layer's switches, generated."""

import itertools

import torch

from vision_attn.layers import (
    Attention,
    Axial,
    ConvPosition,
    Dilated,
    LearnedPosition,
    Neighbourhood,
    RelativeBias,
    Rotary,
    Segmented,
    SinCosPosition,
    SpatialReduction,
    TopK,
    Window,
)

DIM, HEADS, GRID = 8, 2, (3, 4)
SIMILARITIES = ("dot", "cosine", "bilinear", "additive", "perceptron", "gaussian")
SCALES = ("sqrt", "none", "inverse", "learned", "after_softmax")
POSITIONS = {
    "none": lambda grid: None,
    "learned": lambda grid: LearnedPosition(grid, DIM),
    "sincos2d": lambda grid: SinCosPosition(grid, DIM),
    "convolution": lambda grid: ConvPosition(grid, DIM),
    "rotary": lambda grid: Rotary(grid, DIM // HEADS),
    "relative": lambda extent: RelativeBias(extent, HEADS),
}
PATTERNS = {
    "full": lambda: None,
    "window": lambda: Window(2),
    "shifted window": lambda: Window(2, shift=1),
    "neighbourhood": lambda: Neighbourhood(1),
    "dilated": lambda: Dilated(2),
    "segmented": lambda: Segmented(5),
    "axial": lambda: Axial(),
    "reduced": lambda: SpatialReduction(DIM, 2),
    "top-k": lambda: TopK(3),
}


def made(similarity="dot", scale=None, position="none", pattern="full", *, grid=GRID, seed=0, **options):
    """The layer in double precision, every parameter random."""
    torch.manual_seed(seed)
    parts = PATTERNS[pattern]()
    extent = grid if parts is None or position != "relative" else parts.extent(grid)
    layer = Attention(
        DIM,
        HEADS,
        similarity=similarity,
        scale=scale,
        position=POSITIONS[position](extent),
        pattern=parts,
        grid=grid,
        **options,
    ).double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "logit_scale" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.5)
    return layer.eval()


def kernel(similarity, pattern):
    """The path that is "fused" where there is a kernel."""
    return "auto" if similarity in ("additive", "perceptron") or pattern == "top-k" else "fused"


def image_tokens(number=GRID[0] * GRID[1], *, batch=2, dim=DIM, seed=1):
    return torch.randn(batch, number, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def legal():
    """(similarity, scale, position, pattern, prefix tokens) of every layer that can be made."""
    every = itertools.product(SIMILARITIES, SCALES, POSITIONS, PATTERNS, (0, 2))
    for similarity, scale, position, pattern, prefix in every:
        try:
            made(similarity, scale, position, pattern, num_prefix_tokens=prefix)
        except ValueError:
            continue
        yield similarity, scale, position, pattern, prefix
