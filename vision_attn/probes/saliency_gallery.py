"""Saliency gallery: some images with their maps, to be looked at."""

import base64
import zlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Split
from vision_attn.probes.altered import evenly_spaced
from vision_attn.probes.base import Row
from vision_attn.probes.explained import Explained, log_probabilities
from vision_attn.spec import spec

SAMPLE = 4000
"""Training images that the mean image of a class is taken of, at most."""


@spec
class SaliencyGallery(Explained):
    """Test images and maps of them for the class that the model gives, as texts (`encoded`) in the rows.

    The same images for all models of a data set: half of them evenly spaced, half hard ones, which are nearest, by
    squared distance, to the mean training image of another class than their own; a model is more likely wrong there.

    `gallery_probability`   of the class given, with `image` (its number among the test images), `label` and `given`
                            (classes by name) and `picture`, its pixels in the order in which the model gets them
    `gallery_peak`          the largest value of the map of a `method`, with `image` and `map`, the map from its lowest
                            to its largest value in 256 levels
    """

    methods: tuple[str, ...] | None = ("attention", "gradient x attention", "Grad-CAM", "integrated gradients")
    images: int = 8

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        places = gallery(data, self.images)
        split = Split(data.test.images[places], data.test.labels[places])
        images, pictures = data.normalise(split.images), split.images
        if data.order is not None:
            pictures = pictures.flatten(2).index_select(2, data.order).view_as(pictures)
        probability, classes = log_probabilities(model, images).exp().max(1)
        for i, place in enumerate(places.tolist()):
            names = {"label": data.classes[split.labels[i]], "given": _named(int(classes[i]), data.classes)}
            shown = {"image": place, **names, "picture": encoded(pictures[i])}
            yield {"metric": "gallery_probability", **shown, "value": probability[i].item()}
        for method, maps in self.maps(model, images, classes):
            low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
            levels = ((maps - low) / (high - low).where(high > low, 1.0) * 255).round().to(torch.uint8)
            for i, place in enumerate(places.tolist()):
                shown = {"image": place, "method": method, "map": encoded(levels[i])}
                yield {"metric": "gallery_peak", **shown, "value": high[i].item()}


def _named(number: int, classes: Sequence[str]) -> str:
    """The name of a class; its number where a model has more outputs than the images have classes."""
    return classes[number] if number < len(classes) else f"output {number}"


def gallery(data: Data, images: int) -> Tensor:
    """The places of so many test images, in order: half evenly spaced, the others those that a mean image misleads."""
    count = len(data.test)
    sample = evenly_spaced(data.train_sample, SAMPLE)
    known = data.normalise(sample.images).flatten(1)
    sums = torch.zeros(data.num_classes, known.shape[1], device=known.device).index_add_(0, sample.labels, known)
    means = sums / sample.labels.bincount(minlength=data.num_classes).clamp(min=1)[:, None]
    away = torch.cat([torch.cdist(data.normalise(part).flatten(1), means) for part in data.test.images.split(1024)])
    own = away.gather(1, data.test.labels[:, None])[:, 0]
    nearest_other = away.scatter(1, data.test.labels[:, None], torch.inf).amin(1)
    hardest = (nearest_other - own).argsort(stable=True).tolist()
    number = min(images, count)
    chosen = [place * count // (number - number // 2) for place in range(number - number // 2)]
    chosen += [place for place in hardest if place not in chosen][: number // 2]
    return torch.tensor(sorted(chosen), device=data.test.labels.device)


def encoded(levels: Tensor) -> str:
    """Numbers from 0 to 255, of any shape, as a text: base64 of their zlib-compressed bytes."""
    return base64.b64encode(zlib.compress(levels.cpu().contiguous().numpy().tobytes(), 9)).decode()
