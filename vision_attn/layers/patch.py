"""An image to tokens, and tokens to fewer tokens.

B batch, N tokens in raster order, C channels.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.arguments import require, whole
from vision_attn.layers.beginning import Beginning
from vision_attn.layers.inputs import images
from vision_attn.layers.positions import a_grid, on_grid
from vision_attn.layers.symbolic import is_integer, traced


class PatchEmbed(Beginning):
    """Non-overlapping patches, each mapped linearly to a token: (B, in_chans, H, W) to (B, N, dim), raster order.

    The weights have timm's layout, that of a convolution with stride = kernel = patch_size (Dosovitskiy et al. 2021).
    Pixels beyond the last whole patch are left out, as by any such convolution. Raises `ValueError` for images of
    another shape or not of a floating type.
    """

    def __init__(self, *, patch_size: int, in_chans: int, dim: int) -> None:
        super().__init__()
        _require_sizes("PatchEmbed", patch_size=patch_size, in_chans=in_chans, dim=dim)
        self.in_chans = in_chans
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(images(x, "PatchEmbed", self.in_chans)).flatten(2).transpose(1, 2)


class ConvEmbed(Beginning):
    """Tokens from overlapping convolutions: (B, in_chans, H, W) to (B, N, dim), raster order, N = H W / patch_size^2.

    log2(patch_size) times: a 3x3 convolution without bias, ReLU, 3x3 max pooling of stride 2. Channels double up to
    `dim` (halves are rounded down). A side that patch_size does not divide has one token more than whole patches. This
    is the tokeniser of the compact convolutional transformer, with its initialisation (Hassani et al. 2021,
    arXiv:2104.05704). Raises `ValueError` where `patch_size` is no power of two from 2 on, and for images of another
    shape or not of a floating type.
    """

    def __init__(self, *, patch_size: int, in_chans: int, dim: int) -> None:
        super().__init__()
        power = is_integer(patch_size) and patch_size >= 2 and int(patch_size).bit_count() == 1
        require(power, "patch_size", "ConvEmbed", "a power of two, at least 2", patch_size)
        _require_sizes("ConvEmbed", in_chans=in_chans, dim=dim)
        self.in_chans = in_chans
        steps = int(patch_size).bit_length() - 1
        widths = [in_chans, *(max(1, dim >> (steps - 1 - step)) for step in range(steps))]
        convs = [nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in itertools.pairwise(widths)]
        self.convs = nn.ModuleList(convs)
        self.begin()

    def begin(self) -> None:
        for weight in self.convs.parameters():
            nn.init.kaiming_normal_(weight)

    def forward(self, x: Tensor) -> Tensor:
        images(x, "ConvEmbed", self.in_chans)
        for conv in self.convs:
            x = F.max_pool2d(F.relu(conv(x)), 3, stride=2, padding=1)
        return x.flatten(2).transpose(1, 2)


class LocalEmbed(Beginning):
    """Non-overlapping patches, each mapped linearly by weights of its own: (B, in_chans, H, W) to (B, N, dim).

    `PatchEmbed` without the sharing of weights: a locally connected layer, in raster order over `grid` = (H, W) /
    patch_size. The weights lie as (rows, columns, in_chans patch_size^2, dim) and start as those of `PatchEmbed`,
    uniform in ±1 / sqrt(in_chans patch_size^2). Raises `ValueError` for images of another shape or not of a floating
    type.
    """

    def __init__(self, *, patch_size: int, in_chans: int, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        _require_sizes("LocalEmbed", patch_size=patch_size, in_chans=in_chans, dim=dim)
        self.in_chans, self.patch_size, self.grid = in_chans, patch_size, a_grid(grid, "LocalEmbed")
        pixels = in_chans * patch_size**2
        self.weight = nn.Parameter(torch.empty(*self.grid, pixels, dim))
        self.bias = nn.Parameter(torch.empty(*self.grid, dim))
        self.begin()

    def begin(self) -> None:
        largest = self.weight.shape[2] ** -0.5
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -largest, largest)

    def forward(self, x: Tensor) -> Tensor:
        sides = tuple(side * self.patch_size for side in self.grid)
        if not traced(images(x, "LocalEmbed", self.in_chans)) and x.shape[2:] != sides:
            allowed = f"(B, {self.in_chans}, {sides[0]}, {sides[1]}), as each place of the grid has its weights"
            raise ValueError(f"x of LocalEmbed must be {allowed}. Got {tuple(x.shape)} instead.")
        patches = F.unfold(x, self.patch_size, stride=self.patch_size)
        tokens = torch.einsum("bpn,npc->bnc", patches, self.weight.flatten(0, 1))
        return tokens + self.bias.flatten(0, 1).to(tokens.dtype)


class TokenMerging(Beginning):
    """Each 2 x 2 tokens become one of twice the width: (B, N, C) to (B, N / 4, 2 C), raster order.

    The four are joined, normed, and mapped linearly without bias (Liu et al. 2021, arXiv:2103.14030). Raises
    `ValueError` where a side of the grid is odd.
    """

    def __init__(self, dim: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = a_grid(grid, "TokenMerging")
        if grid[0] % 2 or grid[1] % 2:
            raise ValueError(f"grid of TokenMerging must have even sides. Got {grid!r} instead.")
        whole("dim", "TokenMerging", dim)
        self.norm = nn.LayerNorm(4 * dim, eps=1e-6)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor, *, grid: tuple[int, int] | None = None) -> Tensor:
        """`grid` is how the tokens of this call lie, if not as stated; its sides are even."""
        rows, columns = grid or self.grid
        x = on_grid(x, (rows, columns), "TokenMerging")
        cells = x.unflatten(1, (rows // 2, 2, columns // 2, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(cells.flatten(3).flatten(1, 2)))


def _require_sizes(what: str, **sizes: int) -> None:
    for field, size in sizes.items():
        whole(field, what, size)
