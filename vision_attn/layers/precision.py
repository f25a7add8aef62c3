"""In which type things are computed that a smaller type would spoil."""

import contextlib

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


def product_dtype(t: Tensor) -> torch.dtype:
    """The type in which products of it are formed: that of autocast where it is on."""
    kind = t.device.type
    if t.dtype == torch.float64 or not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return t.dtype
    return torch.get_autocast_dtype(kind)


def most_exact(device: torch.device | None) -> torch.dtype:
    """The most precise type of a device: Apple's has no float64."""
    return torch.float32 if device is not None and device.type == "mps" else torch.float64


def left_alone(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Within, autocast leaves float32 as it is; nothing where a device has no autocast, as the meta device."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def scaled(q: Tensor, factor: float) -> Tensor:
    """q times a number, for `compared`; float16, which ends at 65,504, in float32."""
    return q if factor == 1 else _scaled(q, factor)


def _scaled(q: Tensor, factor: float) -> Tensor:
    return (q.float() if q.dtype == torch.float16 else q) * factor


def compared(q: Tensor, k: Tensor) -> Tensor:
    """q k^T (..., N, M) of (..., N, D) and (..., M, D); of float16 in float32."""
    return _compared(q, k)


def _compared(q: Tensor, k: Tensor) -> Tensor:
    if k.dtype != torch.float16:
        return q @ k.transpose(-2, -1)
    with left_alone(q.device):
        return q.float() @ k.float().transpose(-2, -1)


torch.fx.wrap("_scaled")
torch.fx.wrap("_compared")
