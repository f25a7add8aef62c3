"""States that say for which grid their learned numbers are: (4, 4) and (2, 8) have as many places, and others."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

ENTRY = "grid"


class OfPlaces(nn.Module):
    """A module with learned numbers for places, whose shape does not tell of which grid.

    `state_dict()` notes the grid where PyTorch notes the version of a module, in `_metadata`, which `torch.save` keeps:
    no key is added. Loading raises `ValueError` for another grid with as many places; where their number differs, the
    shapes say so. A state without the note, as those of safetensors and dictionaries made by hand, is taken to be of a
    square, as timm takes it, where as many places can lie so: a module on another grid loads it `with grid_known`.
    Where they cannot, it is taken to be of the grid of the module.
    """

    grid: tuple[int, int]
    placed_on: ClassVar[str] = "grid"
    """What the places are those of."""
    elsewhere: ClassVar[str] = "; set_grid brings it to another"
    """How numbers that are loaded come to another grid."""
    known = False
    """Whether states without a note are of this grid: `grid_known`."""

    def places(self) -> tuple[int, ...] | None:
        """The sides of the grid; None where nothing that is stored belongs to its places."""
        return self.grid

    def numbers_of(self, grid: tuple[int, ...]) -> int:
        """How many numbers a grid has, those of one place and head counted once."""
        return math.prod(grid)

    def square(self, grid: tuple[int, ...]) -> tuple[int, ...] | None:
        """The square grid with as many numbers; None where there is none."""
        if len(grid) != 2:
            return None
        number = self.numbers_of(grid)
        side = next(side for side in range(1, number + 1) if self.numbers_of((side, side)) >= number)
        return (side, side) if self.numbers_of((side, side)) == number else None

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata, own = getattr(destination, "_metadata", {}).get(prefix[:-1]), self.places()
        if metadata is not None and own is not None:
            metadata[ENTRY] = own

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        own, noted = self.places(), local_metadata.get(ENTRY)
        stored = None if noted is None else tuple(noted)
        if noted is None and own is not None and not self.known:
            stored = self.square(own)
        if own is not None and stored is not None and stored != own and self.numbers_of(stored) == self.numbers_of(own):
            allowed = f"{own}, that of the {type(self).__name__} at {prefix[:-1] or 'the top'}{self.elsewhere}"
            silent = f"no note of it, which is read as {stored}; `with vision_attn.layers.grid_known(module)` says it"
            given = silent if noted is None else f"{stored} instead"
            raise ValueError(f"{self.placed_on} of the state must be {allowed}. Got {given}.")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


@contextlib.contextmanager
def grid_known(module: nn.Module) -> Iterator[None]:
    """Within, states that note no grid, as those of safetensors, are of the grids that the module's positions have."""
    own = [part for part in module.modules() if isinstance(part, OfPlaces)]
    for part in own:
        part.known = True
    try:
        yield
    finally:
        for part in own:
            part.known = False
