"""Copies of modules, also of those that keep what they computed in a forward pass, such as their last attention."""

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module) -> Module:
    """A deep copy. What the module has computed and keeps is copied without its graph, which PyTorch copies of none."""
    with _Detaching():
        return copy.deepcopy(module)


class _Detaching(TorchFunctionMode):
    """Inside, tensors that were computed are copied as numbers alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and args[0].grad_fn is not None:
            return args[0].detach().clone()
        return func(*args, **(kwargs or {}))
