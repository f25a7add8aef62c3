"""ReceptiveField: what each layer could see, by its architecture and as the module is."""

import dataclasses
from collections.abc import Iterator

from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.canvas import LARGEST, SHORTEST
from vision_attn.probes.capture import without_layers
from vision_attn.probes.gradients import Mode
from vision_attn.probes.support import Reach, Support, reach, support
from vision_attn.spec import spec


@spec
class ReceptiveField(Probe):
    """The theoretical receptive field of each layer, in both modes of `support`.

    `receptive_field` is the longer side in pixels, on an unbounded canvas where the model takes one and else within the
    image, and the side of the image where it has no end. `visible_fraction` is the part of the image that a unit sees,
    by `unit`; `reach` the number of cells of `patch_size` pixels, by `direction`: "any", or along the cell's own row or
    column.
    """

    patch_size: int = 4

    def check(self) -> None:
        self.require("patch_size", self.patch_size >= 1, "at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        side, chans, largest = data.image_size, data.in_chans, LARGEST
        modes: tuple[Mode, Mode] = ("architectural", "dependency")
        for mode in modes:
            fields = support(model, image_size=side, in_chans=chans, mode=mode, largest=largest)
            far = reach(model, image_size=side, in_chans=chans, patch_size=self.patch_size, mode=mode, draws=1)
            for layer, name in enumerate(fields):
                yield from _rows({"layer": layer, "mode": mode}, fields[name], far[name], side=side)
            longest = max(_extent(field, side=side) for field in fields.values())
            largest = 2 * max(SHORTEST, longest)


def _extent(field: Support, *, side: int) -> int:
    return side if field.is_global else max(field.height, field.width)


def _rows(at: Row, field: Support, far: Reach, *, side: int) -> Iterator[Row]:
    yield {"metric": "receptive_field", **at, "value": _extent(field, side=side)}
    for unit in ("centre", "edge", "corner"):
        yield {"metric": "visible_fraction", **at, "unit": unit, "value": getattr(field, unit)}
    for direction, cells in dataclasses.asdict(far).items():
        yield {"metric": "reach", **at, "direction": "any" if direction == "distance" else direction, "value": cells}
