"""ReceptiveField: what each layer could see, by its architecture and as the module is."""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import named, without_layers
from vision_attn.probes.hidden import require_gradients
from vision_attn.probes.lattice import lattice_side
from vision_attn.probes.placement import placements
from vision_attn.probes.reach import Reach, reached
from vision_attn.probes.replacing import Mode
from vision_attn.probes.support import Support, fields
from vision_attn.spec import spec


@spec
class ReceptiveField(Probe):
    """The theoretical receptive field of each layer, in both modes of `support`.

    `receptive_field` is the longer side in pixels, also where that is more than the image; its coordinate `extent` says
    whether it is "exact", "cut" at the image, or "global", and then the side of the image. `visible_fraction` is the
    part of the image that a unit sees, by `unit`; `reach` the number of cells of `patch_size` pixels, by `direction`:
    "any", or along the cell's own row or column. `layers` names modules of the model, `layer` being the place among
    them; None: its stem or patch embedding, which is layer 0, and its blocks.
    """

    version: ClassVar[int] = 2

    patch_size: int = 4
    layers: tuple[str, ...] | None = None

    def check(self) -> None:
        self.require("patch_size", self.patch_size >= 1, "at least 1")
        self.require("layers", self.layers != (), "None or at least one name")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def require_fit(self, data: Data) -> None:
        lattice_side(self.patch_size, data.image_size, what="ReceptiveField")

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        side, chans, names = data.image_size, data.in_chans, named(model, self.layers)
        where = placements(model, names=names, image_size=side, in_chans=chans)
        require_gradients(model, names=names, image_size=side, in_chans=chans, seed=0)
        modes: tuple[Mode, Mode] = ("architectural", "dependency")
        for mode in modes:
            seen = fields(model, where, image_size=side, in_chans=chans, mode=mode)
            far = reached(model, where, image_size=side, in_chans=chans, mode=mode, patch_size=self.patch_size)
            for layer, name in enumerate(seen):
                yield from _rows({"layer": layer, "mode": mode}, seen[name], far[name], side=side)


def _rows(at: Row, field: Support, far: Reach, *, side: int) -> Iterator[Row]:
    longest = side if field.is_global else max(field.height, field.width)
    yield {"metric": "receptive_field", **at, "extent": field.extent, "value": longest}
    for unit in ("centre", "edge", "corner"):
        yield {"metric": "visible_fraction", **at, "unit": unit, "value": getattr(field, unit)}
    for direction, cells in dataclasses.asdict(far).items():
        yield {"metric": "reach", **at, "direction": "any" if direction == "distance" else direction, "value": cells}
