"""The size of a model: parameters, and floating-point operations of one image forward.

Operations are counted by PyTorch's counter. A module of one's own may state its multiply-adds instead, as it must where
it has operations that the counter does not know, such as Fourier transforms: by a method

    def multiply_adds(self, x) -> int

that is called with what `forward` is called with, on the device `meta`, for a batch of one. None: they are counted.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from vision_attn.models.building import Builds, empty
from vision_attn.models.copies import copied
from vision_attn.sources import fault
from vision_attn.spec import InputError, Spec, short

HEAVY = re.compile(
    "fft|conv|mm$|matmul|dot$|_mv$|::mv$|linear|bilinear|einsum|cdist|lstm|gru|rnn|attention|transformer|linalg|svd|"
    "cholesky|triangular_solve|baddbmm|addmv|addr$|addbmm|grid_sampler|embedding_bag|pdist|kron"
)
"""Names of operations of PyTorch's own that multiply; those of other libraries are all taken to."""


def count_params(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> int:
    """The number of trainable parameters."""
    return params_of(empty(model, image_size=image_size, in_chans=in_chans, num_classes=num_classes))


def count_bytes(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> int:
    """The bytes of all that is stored of a model: of every parameter, trained or frozen, and of its buffers."""
    module = empty(model, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
    return sum(stored.numel() * stored.element_size() for stored in module.state_dict().values())


def count_flops(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> int:
    """The floating-point operations of one image forward, two for each multiply-and-add of matrix products.

    Counted on the `meta` device, where every path of attention is seen; on a CPU the counter of PyTorch gives the
    fused kernel no operations at all.
    """
    module = empty(model, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
    return flops_of(module.to("meta"), (in_chans, image_size, image_size))


def params_of(module: nn.Module) -> int:
    """The number of trainable parameters of a module."""
    _require_module(module, "params_of")
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def flops_of(module: nn.Module, shape: tuple[int, ...]) -> int:
    """The forward operations of a module on the `meta` device, for one image of `shape` (C, H, W).

    Modules with a method `multiply_adds` are taken at their word. Raises `InputError` naming the operations that
    multiply and that the counter of PyTorch does not know, such as Fourier transforms and recurrent kernels: a zero for
    them would be wrong. So it does where the module cannot be run without its numbers.
    """
    _require_module(module, "flops_of")
    name = type(module).__name__
    uncounted, counter = _Uncounted(), FlopCounterMode(display=False)
    with torch.no_grad(), uncounted, counter, _stated(module, counter, uncounted) as surplus:
        try:
            # the counter watches gradients, and fails where a part gives back a parameter of its own
            module.eval().requires_grad_(False)(torch.empty(1, *shape, device="meta"))
        except InputError:
            raise
        except Exception as error:  # of a module of one's own, whatever it is
            allowed = "possible without numbers, on the device meta"
            raise InputError(f"forward of {name} must be {allowed}. Got {fault(error)} instead.") from error
    if uncounted.names:
        names = ", ".join(sorted(uncounted.names))
        allowed = "ones whose FLOPs are known, or stated by a method multiply_adds of their module"
        raise InputError(f"operations of {name} must be {allowed}. Got {names}.")
    return counter.get_total_flops() + sum(surplus)


def flops(module: nn.Module, *, image_size: int, in_chans: int) -> int:
    """The floating-point operations of one image forward of any module, on whatever device it is.

    Two for each multiply-and-add of matrix products, convolutions and attention, fused or not. The module is left as it
    is: a copy without storage is counted. Raises `InputError` as `flops_of`, and where the module cannot be copied.
    """
    _require_module(module, "flops")
    try:
        empty = copied(module).to("meta")
    except (RuntimeError, TypeError) as error:
        raise InputError(f"module of flops must be one that can be copied: {error}") from error
    return flops_of(empty, (in_chans, image_size, image_size))


def _require_module(given: Any, function: str) -> None:
    if not isinstance(given, nn.Module):
        counter = "count_params" if function == "params_of" else "count_flops"
        hint = f" {counter} counts those of what it builds." if isinstance(given, Spec) else ""
        raise InputError(f"module of {function} must be a module that is built. Got {short(given)} instead.{hint}")


@contextlib.contextmanager
def _stated(module: nn.Module, counter: FlopCounterMode, uncounted: "_Uncounted") -> Iterator[list[int]]:
    """Take the modules that state their multiply-adds at their word: what is to be added to the operations counted.

    What such a module holds, others that state theirs included, is a part of what it states.
    """
    surplus: list[int] = []
    within: list[tuple[nn.Module, int, int]] = []

    def before(one: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not within and (stated := _multiply_adds(one, args, kwargs)) is not None:
            within.append((one, 2 * stated, counter.get_total_flops()))
            uncounted.is_asked = False

    def after(one: Any, args: tuple[Any, ...], out: Any) -> None:
        if within and within[0][0] is one:
            _, stated, counted = within.pop()
            surplus.append(stated - (counter.get_total_flops() - counted))
            uncounted.is_asked = True

    telling = [one for one in module.modules() if callable(getattr(one, "multiply_adds", None))]
    hooks: list[Any] = [one.register_forward_pre_hook(before, with_kwargs=True) for one in telling]
    hooks += [one.register_forward_hook(after) for one in telling]
    try:
        yield surplus
    finally:
        for hook in hooks:
            hook.remove()


def _multiply_adds(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    stated = module.multiply_adds(*args, **kwargs)
    if stated is None or (isinstance(stated, int) and not isinstance(stated, bool) and stated >= 0):
        return stated
    name = type(module).__name__
    raise InputError(f"multiply_adds of {name} must give an integer of at least 0, or None. Got {stated!r} instead.")


class _Uncounted(TorchDispatchMode):
    """Collects the operations that multiply and have no formula."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.is_asked = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = getattr(func, "overloadpacket", func)
        name = str(getattr(packet, "_qualified_op_name", packet))
        if self.is_asked and packet not in flop_registry and (not name.startswith("aten::") or HEAVY.search(name)):
            self.names.add(name)
        return func(*args, **(kwargs or {}))
