"""timm's Muon on processors that are slow in bfloat16."""

from typing import Any

import torch
from torch import Tensor


def orthogonalise_in_float32() -> None:
    """Let the Newton-Schulz iteration of timm's Muon compute in float32 on a CPU; calling it again changes nothing.

    timm fixes bfloat16, in which a processor without units for it takes 20 times as long for matrices of this size:
    more than the forward and backward pass together. On a GPU it stays at bfloat16.
    """
    import timm.optim.muon

    theirs: Any = timm.optim.muon
    iterate = theirs.zeropower_via_newtonschulz
    if iterate.__module__ == __name__:
        return

    def zeropower_via_newtonschulz(matrix: Tensor, *settings: Any, **named: Any) -> Tensor:
        dtype = torch.float32 if matrix.device.type == "cpu" else torch.bfloat16
        return iterate(matrix, *settings, **{"dtype": dtype, **named})

    theirs.zeropower_via_newtonschulz = zeropower_via_newtonschulz
