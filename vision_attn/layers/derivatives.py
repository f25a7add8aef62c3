"""Derivatives that the fused kernels lack: forward mode, and gradients of gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from vision_attn.layers.symbolic import recorded


def beyond_first_gradients(*tensors: Tensor) -> bool:
    """Whether forward mode runs, or a gradient of `torch.func` inside another: fused kernels know neither."""
    if recorded():
        return False
    kinds = _transforms()
    if "Jvp" in kinds or kinds.count("Grad") > 1:
        return True
    if forward_ad._current_level < 0:
        return False
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def asked_again() -> bool:
    """Inside a backward pass: whether the gradient will itself be differentiated.

    Within `torch.func` gradients always keep their graph; there the number of gradients inside each other tells.
    """
    kinds = _transforms()
    return beyond_first_gradients() if kinds else torch.is_grad_enabled()


def stands_for_several(grad: Tensor) -> bool:
    """Whether a gradient is several at once (`is_grads_batched`), which knows few operations and none in place."""
    return torch._C._functorch.is_legacy_batchedtensor(grad)


def may_be_asked(t: Tensor) -> bool:
    """Whether a tensor's numbers can be looked at, at no cost: not while a graph is made, under vmap, or on a GPU."""
    return type(t) is Tensor and t.device.type == "cpu" and not recorded() and not _transforms()


def transformed() -> bool:
    """Whether a transform of `torch.func` runs."""
    return not recorded() and bool(_transforms())


def _transforms() -> list[str]:
    stack = torch._C._functorch.get_interpreter_stack()
    return [interpreter.key().name for interpreter in stack] if stack else []


class TwiceDifferentiable(torch.autograd.Function):
    """The result of a kernel that has a gradient, but no gradient of the gradient.

    `plain` computes the same from `tensors` in operations that have both; it is called only where a gradient with
    `create_graph=True` is asked for.
    """

    @staticmethod
    def forward(ctx: Any, result: Tensor, plain: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        ctx.plain = plain
        ctx.save_for_backward(*tensors)
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return grad, None, *[None] * len(ctx.saved_tensors)
        tensors = ctx.saved_tensors
        wanted = [tensor for tensor in tensors if tensor.requires_grad]
        found = iter(torch.autograd.grad(ctx.plain(*tensors), wanted, grad, create_graph=True))
        return None, None, *[next(found) if tensor.requires_grad else None for tensor in tensors]
