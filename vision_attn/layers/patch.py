"""An image to tokens, and tokens to fewer tokens.

B batch, N tokens in raster order, C channels.
"""

from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Non-overlapping patches, each mapped linearly to a token: (B, in_chans, H, W) to (B, N, dim), raster order.

    The weights have timm's layout, that of a convolution with stride = kernel = patch_size (Dosovitskiy et al. 2021).
    """

    def __init__(self, *, patch_size: int, in_chans: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class TokenMerging(nn.Module):
    """Each 2 x 2 tokens become one of twice the width: (B, N, C) to (B, N / 4, 2 C), raster order.

    The four are joined, normed, and mapped linearly without bias (Liu et al. 2021, arXiv:2103.14030). Raises
    `ValueError` where a side of the grid is odd.
    """

    def __init__(self, dim: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        if grid[0] % 2 or grid[1] % 2:
            raise ValueError(f"grid of TokenMerging must have even sides. Got {grid!r} instead.")
        self.grid = grid
        self.norm = nn.LayerNorm(4 * dim, eps=1e-6)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.grid
        cells = x.unflatten(1, (rows // 2, 2, columns // 2, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(cells.flatten(3).flatten(1, 2)))
