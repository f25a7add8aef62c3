"""Our attention with the arguments by which the blocks of timm's Swin and BEiT call theirs.

B batch, W windows of an image, n tokens of a window, H heads, N tokens, C channels.
"""

from typing import Any

from torch import Tensor, nn

from vision_attn.layers import Attention, RelativeBias


class BlockAttention(Attention):
    """Attention whose tokens lie as the model says by `set_window_size`, as its `set_input_size` does.

    Where it has a relative table, that and its window are read by timm's names: its `checkpoint_filter_fn` interpolates
    the tables of a state to them.
    """

    @property
    def relative_position_bias_table(self) -> Tensor:
        if not isinstance(self.position, RelativeBias):
            raise AttributeError(f"{type(self).__name__} has no relative_position_bias_table")
        return self.position.relative_position_bias_table

    @property
    def window_size(self) -> tuple[int, int]:
        if not isinstance(self.position, RelativeBias):
            raise AttributeError(f"{type(self).__name__} has no window_size")
        return self.position.grid

    def set_window_size(self, window_size: tuple[int, int]) -> None:
        """Take tokens of another grid. A relative table is interpolated as timm does, other positions as they say."""
        from timm.layers import resize_rel_pos_bias_table

        position, extent = self.position, self.pattern.extent(window_size)
        if not isinstance(position, RelativeBias) or position.grid == extent:
            self.set_grid(window_size)
            return
        before, old = position.relative_position_bias_table, position.grid
        self.set_grid(window_size)
        shape = tuple(position.relative_position_bias_table.shape)
        table = resize_rel_pos_bias_table(before.detach(), extent, shape, old_window_size=old)
        position.relative_position_bias_table = nn.Parameter(table, requires_grad=before.requires_grad)


class WindowsAttention(BlockAttention):
    """Attention inside of windows that the caller cuts, with the arguments of timm's `WindowAttention` of Swin.

    `grid` is the window: positions are places in it. `mask` (W, n, n) is added to the scores of the windows of every
    image, as Swin tells apart what shifting brought together.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None, *more: Any, **options: Any) -> Tensor:
        return super().forward(x, *more, attn_mask=_of_every_image(mask, x), **options)

    def weights(self, x: Tensor, mask: Tensor | None = None, *more: Any, **options: Any) -> Tensor:
        return super().weights(x, *more, attn_mask=_of_every_image(mask, x), **options)


class BeitAttention(BlockAttention):
    """Attention over a class token and the grid, with the arguments of timm's `Attention` of BEiT.

    `shared_rel_pos_bias` (H, N, N), which all blocks of a model may share, is added to the scores.
    """

    def forward(self, x: Tensor, shared_rel_pos_bias: Tensor | None = None, *more: Any, **options: Any) -> Tensor:
        return super().forward(x, *more, attn_mask=_of_every_sample(shared_rel_pos_bias), **options)

    def weights(self, x: Tensor, shared_rel_pos_bias: Tensor | None = None, *more: Any, **options: Any) -> Tensor:
        return super().weights(x, *more, attn_mask=_of_every_sample(shared_rel_pos_bias), **options)


def _of_every_sample(bias: Tensor | None) -> Tensor | None:
    """(H, N, N) to (1, H, N, N)."""
    return bias[None] if bias is not None and bias.ndim == 3 else bias


def _of_every_image(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """(W, n, n) to (B W, n, n)."""
    return None if mask is None else mask.expand(x.shape[0] // len(mask), *mask.shape).flatten(0, 1)
