"""The size of a model: parameters, and floating-point operations of one image forward."""

import copy
import re
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from vision_attn.spec import InputError

HEAVY = re.compile(
    "fft|conv|mm$|matmul|dot$|_mv$|::mv$|linear|bilinear|einsum|cdist|lstm|gru|rnn|attention|transformer|linalg|svd|"
    "cholesky|triangular_solve|baddbmm|addmv|addr$|addbmm|grid_sampler|embedding_bag|pdist|kron"
)
"""Names of operations of PyTorch's own that multiply; those of other libraries are all taken to."""


class Builds(Protocol):
    """A model as a spec has it."""

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module: ...


def count_params(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> int:
    """The number of trainable parameters."""
    with torch.device("meta"):
        module = model.build(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
    return params_of(module)


def count_flops(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> int:
    """The floating-point operations of one image forward, two for each multiply-and-add of matrix products.

    Counted on the `meta` device, where every path of attention is seen; on a CPU the counter of PyTorch gives the
    fused kernel no operations at all.
    """
    with torch.device("meta"):
        module = model.build(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
    return flops_of(module, (in_chans, image_size, image_size))


def params_of(module: nn.Module) -> int:
    """The number of trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def flops_of(module: nn.Module, shape: tuple[int, ...]) -> int:
    """The forward operations of a module on the `meta` device, for one image of `shape` (C, H, W).

    Raises `InputError` naming the operations that multiply and that the counter of PyTorch does not know, such as
    Fourier transforms and recurrent kernels: a zero for them would be wrong.
    """
    with torch.no_grad(), _Uncounted() as uncounted, FlopCounterMode(display=False) as counter:
        module.eval()(torch.empty(1, *shape, device="meta"))
    if uncounted.names:
        names = ", ".join(sorted(uncounted.names))
        raise InputError(f"operations of {type(module).__name__} must be ones whose FLOPs are known. Got {names}.")
    return counter.get_total_flops()


def flops(module: nn.Module, *, image_size: int, in_chans: int) -> int:
    """The floating-point operations of one image forward of any module, on whatever device it is.

    Two for each multiply-and-add of matrix products, convolutions and attention, fused or not. The module is left as it
    is: a copy without storage is counted. Raises `InputError` where an operation that multiplies is not known to the
    counter, or the module cannot be run without its numbers.
    """
    try:
        copied = copy.deepcopy(module).to("meta")
    except (RuntimeError, TypeError) as error:
        raise InputError(f"module of flops must be one that can be copied: {error}") from error
    return flops_of(copied, (in_chans, image_size, image_size))


class _Uncounted(TorchDispatchMode):
    """Collects the operations that multiply and have no formula."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = getattr(func, "overloadpacket", func)
        name = str(getattr(packet, "_qualified_op_name", packet))
        if packet not in flop_registry and (not name.startswith("aten::") or HEAVY.search(name)):
            self.names.add(name)
        return func(*args, **(kwargs or {}))
