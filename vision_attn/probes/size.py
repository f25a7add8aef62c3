"""Size: the parameters of a model and the work of one forward pass."""

from collections.abc import Iterator

from torch import nn

from vision_attn.data.base import Data
from vision_attn.models.size import flops
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec


@spec
class Size(Probe):
    """Parameters and forward FLOPs of one image: twice the multiplications of linear maps, convolutions, attention.

    Parameters that are frozen count too.
    """

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        yield {"metric": "params", "value": sum(each.numel() for each in model.parameters())}
        yield {"metric": "flops", "value": flops(model, image_size=data.image_size, in_chans=data.in_chans)}
