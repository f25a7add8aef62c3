"""Our attention in the blocks of timm's Swin: these cut the image into windows and call it for the tokens of each.

B batch, W windows of an image, n tokens of a window, C channels.
"""

from typing import Any

from torch import Tensor

from vision_attn.layers import Attention
from vision_attn.layers.positions import a_grid


class WindowsAttention(Attention):
    """Attention inside of windows that the caller cuts, with the arguments of timm's `WindowAttention`.

    `grid` is the window: positions are places in it. `mask` (W, n, n) is added to the scores of the windows of every
    image, as Swin tells apart what shifting brought together.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        return super().forward(x, attn_mask=_of_every_image(mask, x), **options)

    def weights(self, x: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        return super().weights(x, attn_mask=_of_every_image(mask, x), **options)

    def set_window_size(self, window_size: tuple[int, int]) -> None:
        """Take windows of another size, as the model's `set_input_size` asks; positions are interpolated as they say.

        That is not timm's rule for the tables of Swin (layers.RelativeBias).
        """
        if self.grid is not None:
            self.grid = a_grid(window_size, "WindowsAttention")
        if self.position is not None:
            self.position.set_grid(window_size)


def _of_every_image(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """(W, n, n) to (B W, n, n)."""
    return None if mask is None else mask.expand(x.shape[0] // len(mask), *mask.shape).flatten(0, 1)
