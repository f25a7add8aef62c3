"""Replacing: functions of torch exchanged by name, so that a gradient is 0 only where there is no path.

Where nonlinearities only rise, norms are constant factors and weights are positive, no two paths cancel. What chooses,
such as a maximum, depends on all it chooses from.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_attn.probes.capture import Counting

Mode = Literal["architectural", "dependency"]
AnyMode = Literal["architectural", "dependency", "own", "unscaled"]
"""In the mode "own" no path leads from one place to all others, through attention, recurrence or a mean over places.
"unscaled" is "architectural" with norms that bound every number by itself: their constant factors hang on everything,
and without any scores grow so large that keys masked by a sum are seen."""

LOWEST = -1e30
"""Lower numbers stand for nothing: paddings of a maximum, keys that are masked."""
UNSEEN = -50.0
"""A key whose score is pushed this far down is not attended to: e^-50 is lost in single precision."""
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm")
RISING = (
    *("relu", "leaky_relu", "rrelu", "prelu", "gelu", "silu", "elu", "selu", "celu", "mish", "softplus"),
    *("hardswish", "hardshrink", "softshrink", "tanhshrink", "logsigmoid"),
)
STEPS = ("sign", "sgn", "round", "floor", "ceil", "trunc", "heaviside")
BOUNDED = ("sigmoid", "tanh", "hardsigmoid", "hardtanh", "relu6")
CLAMPS = ("clamp", "clip", "clamp_min", "clamp_max", "clamp_", "threshold", "_threshold")
SATURATING = ("lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward")


def _same(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x


def _sum(x: Tensor, other: Tensor | float, *args: Any, **kwargs: Any) -> Tensor:
    return x + other


def _scaled(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x over its mean size, which is taken as given: what a norm does to sizes, without its dependencies."""
    return x / x.detach().abs().mean().clamp(min=1e-6)


def _bounded(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x / (1 + |x|): bounded like a sigmoid, but its slope never underflows."""
    return F.softsign(x)


def _present(x: Tensor) -> Tensor:
    """x with 0 in the place of numbers so low that a maximum never chooses them, such as the -inf of a padding."""
    return x.masked_fill(x < LOWEST, 0.0)


def _unclamped(func: Callable[..., Any]) -> Callable[..., Any]:
    """Clamping, left out of what gradients pass through; indices are clamped all the same."""

    def unclamped(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return x if x.requires_grad else func(x, *args, **kwargs)

    return unclamped


def _straight(func: Callable[..., Any]) -> Callable[..., Any]:
    """A function that rises in steps, with the gradient of what lies under the steps."""

    def straight(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        found = func(x.detach(), *args, **kwargs)
        return found + (x - x.detach()) if x.requires_grad else found

    return straight


def _compared(func: Callable[..., Any], *, place: int, default: Any = None, keeps: bool = False) -> Callable[..., Any]:
    """A choice among values along a dimension, such as a maximum, that also depends on those it does not choose.

    The dimension is argument `place`, its absence means `default`; `keeps` where it is still there in the result.
    """

    def compared(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not x.requires_grad:
            return func(x, *args, **kwargs)
        dim = kwargs.get("dim", args[place - 1] if len(args) >= place else default)
        if isinstance(dim, Tensor) or "other" in kwargs:
            return x + (dim if isinstance(dim, Tensor) else kwargs["other"])
        keepdim = keeps or bool(kwargs.get("keepdim", args[place] if len(args) > place else False))
        mean = _present(x).mean() if dim is None or dim == () else _present(x).mean(dim, keepdim=keepdim)
        found = func(x, *args, **kwargs)
        if isinstance(found, Tensor):
            return found + (mean - mean.detach())
        values, indices = found
        return type(found)((values + (mean - mean.detach()), indices))

    return compared


def _norm(func: Callable[..., Any], *, default: Any = None) -> Callable[..., Any]:
    """A norm; that of the largest or smallest number, or sum in a matrix, is a choice."""
    chosen = _compared(func, place=2, default=default)

    def norm(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        order = kwargs.get("ord", kwargs.get("p", args[0] if args else 2))
        return (chosen if order in (math.inf, -math.inf, 1, -1) else func)(x, *args, **kwargs)

    return norm


def _each_largest(func: Callable[..., Any]) -> Callable[..., Any]:
    """A running maximum or minimum that also depends on what it does not choose of those before."""

    def running(x: Tensor, dim: int) -> Any:
        values, indices = found = func(x, dim)
        total = _present(x).cumsum(dim)
        return type(found)((values + (total - total.detach()), indices)) if x.requires_grad else found

    return running


def _smallest_and_largest(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    found = torch.aminmax(x, dim=dim, keepdim=keepdim)
    mean = x.mean() if dim is None else x.mean(dim, keepdim=keepdim)
    straight = mean - mean.detach()
    return type(found)((found.min + straight, found.max + straight))


def _each(sides: int | Sequence[int], places: int) -> tuple[int, ...]:
    """One number for every axis."""
    found = (sides,) if isinstance(sides, int) else tuple(sides)
    return found * places if len(found) == 1 else found


def _cropped(x: Tensor, sides: Sequence[int]) -> Tensor:
    """The first places along the last axes."""
    for axis, side in enumerate(sides, start=-len(sides)):
        x = x.narrow(axis, 0, side)
    return x


def _pair(sides: int | Sequence[int]) -> tuple[int, int]:
    high, wide = _each(sides, 2)
    return high, wide


def _mean_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    places: int = 2,
) -> Tensor:
    """The mean over the pixels that max-pooling compares. Dilated pooling is a depthwise convolution by ones."""
    x, stride = _present(x), stride or kernel_size
    mean, largest, convolve = {
        2: (F.avg_pool2d, F.max_pool2d, F.conv2d),
        3: (F.avg_pool3d, F.max_pool3d, F.conv3d),
    }[places]
    kernel, steps, apart = (_each(sizes, places) for sizes in (kernel_size, stride, dilation))
    if set(apart) == {1}:
        return mean(x, kernel_size, stride, padding, ceil_mode)
    size = largest(x.detach(), kernel_size, stride, padding, dilation, ceil_mode).shape[-places:]
    before = _each(padding, places)
    x = F.pad(x, [side for low, more in zip(before[::-1], apart[::-1], strict=True) for side in (low, low + more)])
    channels = x.shape[-places - 1]
    ones = x.new_ones(channels, 1, *kernel)
    found: Tensor = convolve(x, ones / ones[0].numel(), None, steps, 0, apart, channels)
    return _cropped(found, size)


def _mean_pool1d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    kernel, step, beside, apart = (_pair(size)[0] for size in (kernel_size, stride or kernel_size, padding, dilation))
    return _mean_pool(x.unsqueeze(-2), (1, kernel), (1, step), (0, beside), (1, apart), ceil_mode).squeeze(-2)


def _spread(
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    places: int = 2,
) -> Tensor:
    """Unpooling that puts every value at all places of its window, any of which may have been the largest."""
    unpool, spread = {2: (F.max_unpool2d, F.conv_transpose2d), 3: (F.max_unpool3d, F.conv_transpose3d)}[places]
    sides = unpool(x.detach(), indices, kernel_size, stride, padding, output_size).shape[-places:]
    channels = x.shape[-places - 1]
    ones = x.new_ones(channels, 1, *_each(kernel_size, places))
    found: Tensor = spread(x, ones, None, stride or kernel_size, groups=channels)
    for axis, before in enumerate(_each(padding, places), start=-places):
        found = found.narrow(axis, before, found.shape[axis] - before)
    missing = [max(0, side - own) for side, own in zip(sides, found.shape[-places:], strict=True)]
    found = F.pad(found, [more for side in reversed(missing) for more in (0, side)])
    return _cropped(found, sides)


def _adaptive(mean: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The mean over the pixels that adaptive max-pooling compares."""

    def pooled(x: Tensor, output_size: Any, *args: Any, **kwargs: Any) -> Tensor:
        return mean(_present(x), output_size)

    return pooled


def _with_indices(mean: Callable[..., Tensor], largest: Callable[..., Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The mean over what pooling compares, with the places of the largest."""

    def both(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        kwargs = {**kwargs, "return_indices": True}
        return mean(x, *args, **kwargs), largest(x.detach(), *args, **kwargs)[1]

    return both


def _visible(mask: Tensor | None) -> Tensor | None:
    """The mask of an attention, its low numbers so low that their weight is exactly 0."""
    if mask is None or mask.dtype == torch.bool:
        return mask
    return mask.masked_fill(mask <= UNSEEN, torch.finfo(mask.dtype).min / 2)


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, _visible(attn_mask), *args, **kwargs)


def _even_attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    return _attention(F.softsign(q), F.softsign(k), v, attn_mask, *args, **kwargs)


def _own_attention(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Every token its own value, where it has one."""
    return v if q.shape[-2] == v.shape[-2] else v.new_zeros(*q.shape[:-1], v.shape[-1])


def _softmax(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    dim = kwargs.get("dim", args[0] if args else -1)
    lowest = x.detach().amax(dim, keepdim=True) + UNSEEN
    return x.masked_fill(x < lowest, torch.finfo(x.dtype).min / 2).softmax(dim)


def _even_softmax(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    dim = kwargs.get("dim", args[0] if args else -1)
    return F.softsign(x).masked_fill(x <= UNSEEN, torch.finfo(x.dtype).min / 2).softmax(dim)


def _own_softmax(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """All weight on the token itself, where queries and keys are the same tokens; else none."""
    dim = kwargs.get("dim", args[0] if args else -1)
    if x.ndim < 2 or dim % x.ndim != x.ndim - 1:
        return x.detach().softmax(dim)
    rows, columns = x.shape[-2:]
    own = torch.eye(columns, dtype=x.dtype) if rows == columns else x.new_zeros(())
    return own.expand(x.shape)


def _cut(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function of inputs that are taken as given: no path leads through it."""

    def cut(*args: Any, **kwargs: Any) -> Any:
        return func(*(arg.detach() if isinstance(arg, Tensor) else arg for arg in args), **kwargs)

    return cut


def _local_mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The mean, cut where it goes over places: over tokens, over rows and columns, or over everything."""
    dim = kwargs.get("dim", args[0] if args else None)
    dims = {axis % x.ndim for axis in ((dim,) if isinstance(dim, int) else dim or range(x.ndim))}
    over_places = len(dims) > 1 or (x.ndim == 3 and dims == {1})
    return (x.detach() if over_places else x).mean(*args, **kwargs)


_mean_pool3d = functools.partial(_mean_pool, places=3)
ADAPTIVE = {f"adaptive_max_pool{n}d": _adaptive(getattr(F, f"adaptive_avg_pool{n}d")) for n in (1, 2, 3)}
STRAIGHT = {name: _straight(getattr(torch, name)) for name in STEPS}
AS_IT_IS: dict[str, Callable[..., Any]] = {
    **STRAIGHT,
    "softmax": _softmax,
    "scaled_dot_product_attention": _attention,
}
POSITIVE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(NORMS, _scaled),
    **dict.fromkeys(RISING, _same),
    **{f"{name}_": _same for name in RISING},
    **dict.fromkeys(BOUNDED, _bounded),
    **{f"{name}_": _bounded for name in BOUNDED},
    **STRAIGHT,
    **{name: _unclamped(getattr(torch, name, F.threshold)) for name in CLAMPS},
    **{f"linalg_{name}": _norm(getattr(torch.linalg, name)) for name in ("norm", "vector_norm")},
    "linalg_matrix_norm": _norm(torch.linalg.matrix_norm, default=(-2, -1)),
    "norm": _norm(torch.norm),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _sum),
    **{name: _compared(getattr(torch, name), place=1) for name in ("max", "min", "amax", "amin", "median")},
    "logsumexp": _compared(torch.logsumexp, place=1),
    "sort": _compared(torch.sort, place=1, default=-1, keeps=True),
    "topk": _compared(torch.topk, place=2, default=-1, keeps=True),
    "kthvalue": _compared(torch.kthvalue, place=2, default=-1),
    "nanmedian": _compared(torch.nanmedian, place=1),
    "mode": _compared(torch.mode, place=1, default=-1),
    **{name: _compared(getattr(torch, name), place=2) for name in ("quantile", "nanquantile")},
    "aminmax": _smallest_and_largest,
    "cummax": _each_largest(torch.cummax),
    "cummin": _each_largest(torch.cummin),
    "max_pool1d": _mean_pool1d,
    "max_pool2d": _mean_pool,
    "max_pool3d": _mean_pool3d,
    "max_pool1d_with_indices": _with_indices(_mean_pool1d, F.max_pool1d),
    "max_pool2d_with_indices": _with_indices(_mean_pool, F.max_pool2d),
    "max_pool3d_with_indices": _with_indices(_mean_pool3d, F.max_pool3d),
    "max_unpool2d": _spread,
    "max_unpool3d": functools.partial(_spread, places=3),
    **ADAPTIVE,
    **{f"{name}_with_indices": _with_indices(mean, getattr(F, name)) for name, mean in ADAPTIVE.items()},
    "softmax": _even_softmax,
    "scaled_dot_product_attention": _even_attention,
}
OWN: dict[str, Callable[..., Any]] = {
    **POSITIVE,
    "softmax": _own_softmax,
    "scaled_dot_product_attention": _own_attention,
    "mean": _local_mean,
    "adaptive_avg_pool2d": _cut(F.adaptive_avg_pool2d),
    "adaptive_max_pool2d": _cut(F.adaptive_max_pool2d),
    "multi_head_attention_forward": _cut(F.multi_head_attention_forward),
    **{name: _cut(getattr(torch, name)) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
}
UNSCALED: dict[str, Callable[..., Any]] = {**POSITIVE, **dict.fromkeys(NORMS, _bounded)}
TABLES = {"architectural": POSITIVE, "dependency": AS_IT_IS, "own": OWN, "unscaled": UNSCALED}


class Replacing(Counting):
    """While it is on, functions of torch are replaced by name."""

    def __init__(self, mode: AnyMode) -> None:
        super().__init__()
        self.table, self.bounded = TABLES[mode], mode in ("architectural", "unscaled")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if self.bounded and name in SATURATING:
            tensors = 3 if name == "multi_head_attention_forward" else 1
            args = (*(F.softsign(x) for x in args[:tensors]), *args[tensors:])
        return super().__torch_function__(self.table.get(name, func), types, args, kwargs)
