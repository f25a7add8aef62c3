"""States that say for which grid their learned numbers are: (4, 4) and (2, 8) have as many places, and others."""

import math
from typing import Any, ClassVar

from torch import nn

ENTRY = "grid"


class OfPlaces(nn.Module):
    """A module with learned numbers for places, whose shape does not tell of which grid.

    `state_dict()` notes the grid where PyTorch notes the version of a module, in `_metadata`, which `torch.save` keeps:
    no key is added, and states without the note, older ones and those of safetensors, load as ever. Loading raises
    `ValueError` for another grid with as many places; where their number differs, the shapes say so.
    """

    grid: tuple[int, int]
    placed_on: ClassVar[str] = "grid"
    """What the places are those of."""
    elsewhere: ClassVar[str] = "; set_grid brings it to another"
    """How numbers that are loaded come to another grid."""

    def places(self) -> tuple[int, ...] | None:
        """The sides of the grid; None where nothing that is stored belongs to its places."""
        return self.grid

    def numbers_of(self, grid: tuple[int, ...]) -> int:
        """How many numbers a grid has, those of one place and head counted once."""
        return math.prod(grid)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata, own = getattr(destination, "_metadata", {}).get(prefix[:-1]), self.places()
        if metadata is not None and own is not None:
            metadata[ENTRY] = own

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        own, noted = self.places(), local_metadata.get(ENTRY)
        stored = own if noted is None else tuple(noted)
        if own is not None and stored is not None and stored != own and self.numbers_of(stored) == self.numbers_of(own):
            allowed = f"{own}, that of the {type(self).__name__} at {prefix[:-1] or 'the top'}{self.elsewhere}"
            raise ValueError(f"{self.placed_on} of the state must be {allowed}. Got {stored} instead.")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)
