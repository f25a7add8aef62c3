"""Sizes that stay free while a graph is made: asking about them must not fix them."""

from typing import Any

import torch
from torch.fx import Proxy


def traced(x: Any) -> bool:
    """Whether x stands for a tensor in `torch.fx.symbolic_trace`: then nothing may be asked of it."""
    return isinstance(x, Proxy)


def surely(holds: bool) -> bool:
    """Whether a comparison of sizes holds; while a graph is made, whether it does for every size that they can take."""
    if not torch.compiler.is_compiling():
        return bool(holds)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(holds)


def least(first: int, second: int) -> int:
    """The lesser of a constant and a size; the constant where a free size may be either side of it."""
    return second if surely(second < first) else first
