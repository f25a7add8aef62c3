"""States that say for which grid their learned numbers are: (4, 4) and (2, 8) have as many places, and others."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

ENTRY = "grid"


class OfPlaces(nn.Module):
    """A module with learned numbers for places, whose shape does not tell of which grid.

    `state_dict()` notes the grid where PyTorch notes the version of a module, in `_metadata`, which `torch.save` keeps:
    no key is added. Loading raises `ValueError` for another grid with as many places; where their number differs, the
    shapes say so. A state may be without the note, as those of safetensors, dictionaries made by hand and what timm's
    loaders make of any: a module whose grid is no square, where as many places could lie in one, loads it with a
    warning, and `with grid_known` without.
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
            place = f"the {type(self).__name__} at {prefix[:-1] or 'the top'}"
            if noted is not None:
                allowed = f"{own}, that of {place}{self.elsewhere}"
                raise ValueError(f"{self.placed_on} of the state must be {allowed}. Got {stored} instead.")
            says = "`with vision_attn.layers.grid_known(module)` says that they are"
            known = f"The state notes no {self.placed_on} for {place}: its numbers, as many as those of {stored}"
            warnings.warn(f"{known}, are taken to be those of {own}. {says}.", stacklevel=2)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


@contextlib.contextmanager
def grid_known(module: nn.Module) -> Iterator[None]:
    """Within, states that note no grid, as those of safetensors, are of the grids that the module's positions have."""
    own = {part: part.known for part in module.modules() if isinstance(part, OfPlaces)}
    for part in own:
        part.known = True
    try:
        yield
    finally:
        for part, known in own.items():
            part.known = known
