"""A convolution of cells that lie side by side in a grid of tokens.

B batch, C and O channels, a grid of R rows and S columns, cells of r rows and s columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.precision import product_dtype
from vision_attn.layers.shapes import Float
from vision_attn.layers.symbolic import covering, recorded, traced


def filled(image: Float[Tensor, "B C R S"], cell: tuple[int, int], grid: tuple[int, int]) -> Float[Tensor, "B C P Q"]:
    """An image of a grid with zeros below and right, so that cells cover it."""
    below, right = (covering(side, size) * size - side for side, size in zip(grid, cell, strict=True))
    return F.pad(image, (0, right, 0, below))


class CellConv(nn.Conv2d):
    """A convolution with stride = kernel: a linear map of every cell. Those at the border, cut, are filled with zeros.

    On a CPU it is computed as that linear map, of which zeros are left out: for the few cells of a grid of tokens that
    takes a third to a fifth of the time, but for float32 and small cells, where PyTorch's convolution is as fast.
    """

    def forward(self, input: Float[Tensor, "B C R S"]) -> Float[Tensor, "B O P Q"]:
        simple = self.stride == self.kernel_size and self.groups == 1 and self.padding in ((0, 0), "valid")
        if traced(input) or not simple or self.dilation != (1, 1):
            return super().forward(input)
        if recorded() or input.device.type != "cpu":
            return super().forward(self._filled(input))
        few = self.weight.shape[0] * self.kernel_size[0] * self.kernel_size[1] <= input[:, 0].numel()
        cut = any(side % size for side, size in zip(input.shape[2:], self.kernel_size, strict=True))
        if few and not cut and product_dtype(input) == torch.float32:
            return super().forward(input)
        return self._mapped(input.movedim(1, -1), put_weights_in_order=few).movedim(-1, 1)

    def _filled(self, image: Float[Tensor, "B C R S"]) -> Float[Tensor, "B C P Q"]:
        rows, columns = self.kernel_size
        return filled(image, (rows, columns), (image.shape[2], image.shape[3]))

    def _mapped(self, tokens: Float[Tensor, "B R S C"], *, put_weights_in_order: bool) -> Float[Tensor, "B P Q O"]:
        """The linear map of whole cells, and by the part of the weights that meets them of those at the border.

        Cells hold their tokens one after the other, weights hold their channels one after the other: one of the two is
        put in the order of the other, the one that is smaller.
        """
        weight, bias = self.weight, self.bias
        rows = []
        for some, r in _whole_and_rest(tokens, self.kernel_size[0], axis=1):
            row = []
            for cells, s in _whole_and_rest(some, self.kernel_size[1], axis=2):
                own = weight[:, :, :r, :s]
                own = own.movedim(1, -1) if put_weights_in_order else own
                each = cells.unflatten(2, (-1, s)).unflatten(1, (-1, r)).transpose(2, 3).flatten(3, 4)
                each = each if put_weights_in_order else each.transpose(3, 4)
                row.append(F.linear(each.flatten(3), own.flatten(1), bias))
            rows.append(row[0] if len(row) == 1 else torch.cat(row, dim=2))
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def _whole_and_rest(t: Tensor, size: int, *, axis: int) -> list[tuple[Tensor, int]]:
    """What pieces of a size cover of an axis, and what is left, each with the size of its pieces."""
    rest = t.shape[axis] % size
    whole = t.shape[axis] - rest
    if not rest or not whole:
        return [(t, size if whole else rest)]
    return [(t.narrow(axis, 0, whole), size), (t.narrow(axis, whole, rest), rest)]
