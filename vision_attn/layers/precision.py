"""In which type things are computed that a smaller type would spoil."""

import torch
import torch.fx
from torch import Tensor


def wide(t: Tensor) -> Tensor:
    """In float32, or in double precision if it is in that."""
    return _widened(t)


def _widened(t: Tensor) -> Tensor:
    return t.to(wide_dtype(t))


torch.fx.wrap("_widened")  # what the type is, is asked when the graph runs


def wide_dtype(t: Tensor) -> torch.dtype:
    return torch.float64 if t.dtype == torch.float64 else torch.float32


def most_exact(device: torch.device | None) -> torch.dtype:
    """The most precise type of a device: Apple's has no float64."""
    return torch.float32 if device is not None and device.type == "mps" else torch.float64
