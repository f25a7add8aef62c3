"""Size: the parameters of a model and the work of one forward pass."""

from collections.abc import Iterator

from torch import nn

from vision_attn.data.base import Data
from vision_attn.models.size import params_of
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec
from vision_attn.training.compiling import forward_flops


@spec
class Size(Probe):
    """Parameters, and forward FLOPs of one image: twice the multiplications of linear maps, convolutions, attention."""

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        yield {"metric": "params", "value": params_of(model)}
        yield {"metric": "flops", "value": forward_flops(model, data=data)}
