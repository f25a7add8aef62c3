"""Which pixels units depend on, by gradients of a copy of the model, and copies in which no path cancels.

Where nonlinearities only rise, norms are constant factors and weights are positive, a derivative is 0 exactly where
there is no path: the support of the gradient is that of the architecture. The replacements are made by name, whether a
module, a function or a method is called.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vision_attn.probes import capture

Mode = Literal["architectural", "dependency"]
Unit = tuple[slice, slice]

UNSEEN = -50.0
"""A key whose score is pushed this far down is not attended to: e^-50 is lost in single precision."""
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm")
RISING = ("relu", "leaky_relu", "rrelu", "prelu", "gelu", "silu", "elu", "selu", "celu", "mish", "softplus")
BOUNDED = ("sigmoid", "tanh", "hardsigmoid", "hardtanh", "relu6")
SATURATING = ("lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward")


def _same(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x


def _scaled(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x over its mean size, which is taken as given: what a norm does to sizes, without its dependencies."""
    return x / x.detach().abs().mean().clamp(min=1e-6)


def _bounded(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x / (1 + |x|): bounded like a sigmoid, but its slope never underflows."""
    return F.softsign(x)


def _mean_pool(
    x: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The mean over the pixels that max-pooling compares. Dilated pooling is a depthwise convolution by ones."""
    if dilation in (1, (1, 1)):
        return F.avg_pool2d(x, kernel_size, stride or kernel_size, padding, ceil_mode)
    sides = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    ones, channels = x.new_ones(x.shape[-3], 1, *sides), x.shape[-3]
    return F.conv2d(x, ones / ones[0].numel(), None, stride or kernel_size, padding, dilation, channels)


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


def _softmax(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    dim = kwargs.get("dim", args[0] if args else -1)
    lowest = x.detach().amax(dim, keepdim=True) + UNSEEN
    return x.masked_fill(x < lowest, torch.finfo(x.dtype).min / 2).softmax(dim)


def _even_softmax(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    dim = kwargs.get("dim", args[0] if args else -1)
    return F.softsign(x).masked_fill(x <= UNSEEN, torch.finfo(x.dtype).min / 2).softmax(dim)


AS_IT_IS: dict[str, Callable[..., Tensor]] = {"softmax": _softmax, "scaled_dot_product_attention": _attention}
POSITIVE: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(NORMS, _scaled),
    **dict.fromkeys(RISING, _same),
    **{f"{name}_": _same for name in RISING},
    **dict.fromkeys(BOUNDED, _bounded),
    **{f"{name}_": _bounded for name in BOUNDED},
    "max_pool2d": _mean_pool,
    "hardswish": _same,
    "adaptive_max_pool2d": lambda x, output_size, *args: F.adaptive_avg_pool2d(x, output_size),
    "softmax": _even_softmax,
    "scaled_dot_product_attention": _even_attention,
}


class Replacing(TorchFunctionMode):
    """While it is on, functions of torch are replaced by name; recurrent cells read bounded inputs if `positive`."""

    def __init__(self, *, positive: bool) -> None:
        super().__init__()
        self.positive, self.table = positive, POSITIVE if positive else AS_IT_IS

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.table:
            return self.table[name](*args, **(kwargs or {}))
        if self.positive and name in SATURATING:
            tensors = 3 if name == "multi_head_attention_forward" else 1
            args = (*(F.softsign(x) for x in args[:tensors]), *args[tensors:])
        return func(*args, **(kwargs or {}))


def twin(model: nn.Module, *, positive: bool, generator: torch.Generator) -> nn.Module:
    """A copy on the CPU in float64 and eval mode. Parameters are drawn anew: all if `positive`, else weights all 0.

    They are |N(0, 1)|, matrices over the mean sum of a row, so that neither values nor gradients run away. Weights of
    zeros, such as the last norm of a residual branch at initialisation, hide what the first update will show.
    """
    copied = copy.deepcopy(model).cpu().double().eval().requires_grad_(False)
    for name, parameter in copied.named_parameters():
        if positive or not (parameter.any() or name.endswith("bias")):
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).abs_()
            parameter.copy_(drawn / (0.8 * parameter[0].numel()) if parameter.ndim > 1 else drawn)
    return copied


class Gradients:
    """Which pixels the units of a copy of the model depend on."""

    def __init__(self, model: nn.Module, *, in_chans: int, mode: Mode, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.positive, self.in_chans = mode == "architectural", in_chans
        self.model = twin(model, positive=self.positive, generator=self.generator)

    def images(self, number: int, shape: tuple[int, int]) -> Tensor:
        """Random images: U(1/2, 3/2) for positive networks, else N(0, 1)."""
        size, double = (number, self.in_chans, *shape), torch.float64
        draw = torch.rand if self.positive else torch.randn
        return draw(size, generator=self.generator, dtype=double).add_(0.5 * self.positive).requires_grad_()

    def maps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """The layers' outputs (B, C, R, Q), graph kept."""
        with Replacing(positive=self.positive):
            return capture.grids(self.model, x, list(names))

    def seen(self, x: Tensor, output: Tensor, units: Sequence[Unit], *, draws: int = 1) -> Tensor:
        """The pixels (units, H, W) that the units depend on, in any draw: unit i reads images i, i + units, ..."""
        total = output.new_zeros(())
        for image, (rows, columns) in enumerate(list(units) * draws):
            part = output[image, :, rows, columns]
            weights = torch.rand(part.shape, generator=self.generator, dtype=torch.float64) + 0.5
            total = total + (weights * part).sum()
        (gradient,) = torch.autograd.grad(total, x, retain_graph=True)
        assert gradient.isfinite().all()
        return (gradient != 0).any(dim=1).unflatten(0, (draws, len(units))).any(dim=0)
