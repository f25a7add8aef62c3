"""Ranks of saliency maps, image by image, so that the maps of two runs can be compared."""

from collections.abc import Iterator

from torch import nn

from vision_attn.data.base import Data
from vision_attn.probes.base import Row
from vision_attn.probes.explained import Explained, ranks
from vision_attn.spec import spec


@spec
class MapRanks(Explained):
    """`map_rank` of each patch in the map of an image, for the class that the image has: 0 is the least salient.

    Coordinates `method`, `image` and `patch`, both counted from 0; equal patches share their mean rank. The images and
    their classes are the same for all models of a data set, so that `CorrelationVerdict` can say how alike the maps of
    two runs are: of a network and of one that learned permuted labels (Adebayo et al. 2018, arXiv:1810.03292).
    """

    images: int = 20

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        shown = self.shown(data)
        for method, maps in self.maps(model, data.normalise(shown.images), shown.labels):
            for image, places in enumerate(ranks(maps).tolist()):
                for patch, rank in enumerate(places):
                    yield {"metric": "map_rank", "method": method, "image": image, "patch": patch, "value": rank}
