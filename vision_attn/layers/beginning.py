"""Beginnings: what is learned, drawn again as in a new module."""

import torch
from torch import nn


class Beginning(nn.Module):
    """A module whose parts PyTorch begins in one way and it, in `begin`, in its own."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Everything that is learned within as in a new module, also where memory was left unset (`to_empty`)."""
        for module in reversed(list(self.modules())):  # parts before what they are parts of
            reset = getattr(module, "reset_parameters", None)
            if module is not self and callable(reset):
                reset()
        self.begin()

    def begin(self) -> None:
        """Set what it has itself, and what it wants otherwise of parts that are as PyTorch began them."""
