"""Sizes: what counts as one; those that stay free while a graph is made, which asking must not fix."""

from numbers import Integral
from typing import Any

import torch
import torch.fx
from torch.fx import Proxy


def traced(x: Any) -> bool:
    """Whether x stands for a tensor in `torch.fx.symbolic_trace`: then nothing may be asked of it."""
    return isinstance(x, Proxy)


def taped() -> bool:
    """Whether torch.jit.trace runs, which runs again without gradients and compares what it has recorded."""
    return torch._C._get_tracing_state() is not None


def recorded() -> bool:
    """Whether a graph is made of what runs, by torch.compile, torch.export or torch.jit.trace."""
    return torch.compiler.is_compiling() or taped()


def is_integer(size: Any) -> bool:
    """Whether it is an integer, numpy's too; True is none, nor is a free size of a graph."""
    return isinstance(size, Integral) and not isinstance(size, bool)


def surely(holds: bool) -> bool:
    """Whether a comparison of sizes holds; while a graph is made, whether it does for every size that they can take."""
    if not torch.compiler.is_compiling():
        return bool(holds)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(holds)


def least(first: int, second: int) -> int:
    """The lesser of a constant and a size; the constant where a free size may be either side of it."""
    return second if surely(second < first) else first


def covering(side: int, size: int) -> int:
    """How many pieces of a size cover a side; a plain quotient where a graph knows that none is cut."""
    return side // size if surely(side % size == 0) else -(-side // size)


def alone(x: Any, *others: Any) -> Any:
    """x, where nothing else was given: all that a graph of `torch.fx.symbolic_trace` takes, which knows no masks."""
    if any(other is not None and other is not False and other not in ({}, ()) for other in others):
        raise ValueError("x of Attention must be the only argument of a graph that torch.fx.symbolic_trace made of it.")
    return x


torch.fx.wrap("alone")
