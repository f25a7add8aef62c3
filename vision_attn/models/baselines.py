"""Baselines without a network: what logistic regression, neighbours and a dictionary of patches make of the images.

B batch, N training images, F features, M centroids, L patches of an image, D pixels of a patch.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.places import OfPlaces
from vision_attn.models.fitted import BATCH_SIZE, FittedClassifier, FittedModel, choose, fit_linear, folds
from vision_attn.spec import InputError, spec

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
PATCHES = 50_000
"""Patches that teach a dictionary."""


@spec
class LogisticRegression(FittedModel):
    """Multinomial logistic regression on pixels, by scikit-learn: |W|^2 / 2 + C x (sum of cross-entropies).

    C is the one of `strengths` with the best accuracy on held-out training images.
    """

    strengths: tuple[float, ...] = STRENGTHS

    def check(self) -> None:
        _require_rising(self, "strengths", self.strengths)

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        return LogisticRegressor(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


@spec
class NearestNeighbours(FittedModel):
    """The classes of the k nearest training images, by Euclidean distance of their first `components` (PCA).

    k is the one of `neighbours` with the best accuracy on held-out training images. The stored components have
    float16, so that the weights stay small.
    """

    neighbours: tuple[int, ...] = (1, 3, 10, 30)
    components: int = 64

    def check(self) -> None:
        _require_rising(self, "neighbours", self.neighbours)
        self.require("components", self.components >= 1, "at least 1")

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        return NeighbourClassifier(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


@spec
class KMeansFeatures(FittedModel):
    """Logistic regression on what k-means finds in patches (Coates, Lee and Ng 2011, AISTATS): no gradient, no depth.

    Patches of `patch_size` pixels, one pixel apart, each with its mean taken off, divided by its standard deviation and
    whitened (ZCA), are compared with `centroids` centroids: z_m is the distance to centroid m, and
    max(0, mean(z) - z_m) is summed over each quadrant of the image. C is chosen as in `LogisticRegression`.
    """

    centroids: int = 256
    patch_size: int = 6
    strengths: tuple[float, ...] = STRENGTHS

    def check(self) -> None:
        self.require("centroids", self.centroids >= 2, "at least 2")
        self.require("patch_size", self.patch_size >= 2, "at least 2")
        _require_rising(self, "strengths", self.strengths)

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        self.require("patch_size", self.patch_size < image_size, f"less than the image size {image_size}")
        return KMeansClassifier(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


class OfPixels(OfPlaces, FittedClassifier):
    """A classifier with numbers for every pixel of images, or of patches, of a side."""

    placed_on = "(channels, rows, columns)"
    elsewhere = ""
    pixels_a_side: int

    def places(self) -> tuple[int, int, int]:
        return self.in_chans, self.pixels_a_side, self.pixels_a_side


class LogisticRegressor(OfPixels):
    """The module of `LogisticRegression`."""

    def __init__(self, spec: LogisticRegression, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        self.strengths, self.pixels_a_side = spec.strengths, image_size
        self.num_features = in_chans * image_size**2
        self.head = self.make_head(num_classes)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def fit(self, images: Tensor, labels: Tensor, *, seed: int) -> None:
        features = images.flatten(1).float().cpu()
        assert isinstance(self.head, nn.Linear)
        fit_linear(self.head, features, labels.cpu(), strengths=self.strengths, what="LogisticRegression", seed=seed)


class NeighbourClassifier(OfPixels):
    """The module of `NearestNeighbours`: principal components, then the votes of the nearest."""

    def __init__(self, spec: NearestNeighbours, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        self.neighbours, self.pixels_a_side = spec.neighbours, image_size
        pixels = in_chans * image_size**2
        self.num_features = min(spec.components, pixels)
        self.projection = nn.Linear(pixels, self.num_features)
        self.head = self.make_head(num_classes)

    def make_head(self, num_classes: int) -> nn.Module:
        return Votes(self.num_features, num_classes) if num_classes else nn.Identity()

    def features(self, x: Tensor) -> Tensor:
        return self.projection(x.flatten(1))

    @torch.no_grad()
    def fit(self, images: Tensor, labels: Tensor, *, seed: int) -> None:
        from sklearn.decomposition import PCA

        assert isinstance(self.head, Votes)
        parts = folds(labels.cpu(), what="NearestNeighbours", num_classes=self.num_classes, seed=seed)
        pixels = images.flatten(1).float().cpu()
        number = min(self.num_features, len(pixels))
        found = PCA(number, svd_solver="randomized", random_state=seed).fit(pixels.numpy())
        weight = F.pad(torch.from_numpy(found.components_).float(), (0, 0, 0, self.num_features - number))
        self.projection.weight.copy_(weight)
        self.projection.bias.copy_(-weight @ torch.from_numpy(found.mean_).float())
        features, votes = self.all_features(images).to(labels.device), self.head

        def hits(neighbours: int, places: Tensor, held_out: Tensor) -> int:
            places, held_out = places.to(labels.device), held_out.to(labels.device)
            votes.remember(features[places], labels[places], neighbours=neighbours)
            found = torch.cat([votes(part).argmax(1) for part in features[held_out].split(BATCH_SIZE)])
            return int((found == labels[held_out]).sum())

        fewest = min(len(places) for places, _ in parts)
        fitting = [neighbours for neighbours in self.neighbours if neighbours <= fewest]
        if not fitting:
            allowed = f"at most {fewest}, the number of images that are not held out, for one"
            raise InputError(f"neighbours of NearestNeighbours must be {allowed}. Got {self.neighbours} instead.")
        votes.remember(features, labels, neighbours=choose(fitting, hits, parts))


class Votes(nn.Module):
    """Features (B, F) to log-shares of votes (B, K): each of the k nearest stored features has a vote for its class.

    Of classes with equally many votes the one with the nearest image wins. Each class has one vote beforehand, so that
    none is impossible.
    """

    stored: Tensor
    classes: Tensor
    weights: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("stored", torch.empty(0, num_features, dtype=torch.float16))
        self.register_buffer("classes", torch.empty(0, dtype=torch.int64))
        self.register_buffer("weights", torch.empty(0))

    def remember(self, features: Tensor, labels: Tensor, *, neighbours: int) -> None:
        """Store features (N, F) and their classes (N,); `neighbours` vote, the nearer by a hair the more."""
        self.stored, self.classes = features.half(), labels
        self.weights = 1 - 1e-4 * torch.arange(neighbours, device=labels.device) / neighbours

    def forward(self, x: Tensor) -> Tensor:
        stored = self.stored.to(x.dtype)
        distances = stored.pow(2).sum(1) - 2 * x @ stored.T
        nearest = self.classes[distances.topk(len(self.weights), largest=False).indices]
        is_class = nearest[..., None] == torch.arange(self.num_classes, device=x.device)
        votes = (is_class * self.weights[:, None]).sum(1) + 1
        return (votes / (len(self.weights) + self.num_classes)).log()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """How many images are stored, and how many vote, is what the state says."""
        for name in ("stored", "classes", "weights"):
            if (found := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(found, device=self.stored.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class KMeansClassifier(OfPixels):
    """The module of `KMeansFeatures`."""

    mean: Tensor
    whitening: Tensor
    centroids: Tensor

    def __init__(self, spec: KMeansFeatures, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        self.strengths, self.patch_size, self.pixels_a_side = spec.strengths, spec.patch_size, spec.patch_size
        self.side, pixels = image_size - spec.patch_size + 1, in_chans * spec.patch_size**2
        self.num_features = 4 * spec.centroids
        self.register_buffer("mean", torch.empty(pixels))
        self.register_buffer("whitening", torch.empty(pixels, pixels))
        self.register_buffer("centroids", torch.empty(spec.centroids, pixels))
        self.head = self.make_head(num_classes)
        self.begin()

    def begin(self) -> None:
        super().begin()
        for unfitted in (self.mean, self.centroids):
            unfitted.zero_()
        nn.init.eye_(self.whitening)

    def features(self, x: Tensor) -> Tensor:
        patches = self._whitened(_evened(F.unfold(x, self.patch_size).transpose(1, 2)))
        squares = patches.pow(2).sum(2, keepdim=True) + self.centroids.pow(2).sum(1)
        distances = (squares - 2 * patches @ self.centroids.T).clamp(min=0).sqrt()
        codes = (distances.mean(2, keepdim=True) - distances).relu()
        half = self.side // 2
        grid = codes.unflatten(1, (self.side, self.side))
        halves = (grid[:, :half].sum(1), grid[:, half:].sum(1))
        return torch.cat([part for row in halves for part in (row[:, :half].sum(1), row[:, half:].sum(1))], dim=1)

    @torch.no_grad()
    def fit(self, images: Tensor, labels: Tensor, *, seed: int) -> None:
        from sklearn.cluster import KMeans

        patches = _evened(self._drawn(images, seed=seed))
        self.mean.copy_(patches.mean(0))
        values, vectors = torch.linalg.eigh((patches - self.mean).T @ (patches - self.mean) / len(patches))
        self.whitening.copy_(vectors * (values + 0.1).rsqrt() @ vectors.T)
        found = KMeans(len(self.centroids), n_init=1, max_iter=50, random_state=seed)
        self.centroids.copy_(torch.from_numpy(found.fit(self._whitened(patches).cpu().numpy()).cluster_centers_))
        features, head = self.all_features(images), self.head
        mean, deviation = features.mean(0), (features.var(0, correction=0) + 0.01).sqrt()
        features = features.sub_(mean).div_(deviation)
        assert isinstance(head, nn.Linear)
        fit_linear(head, features, labels.cpu(), strengths=self.strengths, what="KMeansFeatures", seed=seed)
        head.weight.div_(deviation.to(head.weight))
        head.bias.sub_(head.weight @ mean.to(head.weight))

    def _whitened(self, patches: Tensor) -> Tensor:
        return (patches - self.mean) @ self.whitening

    def _drawn(self, images: Tensor, *, seed: int) -> Tensor:
        """`PATCHES` patches (PATCHES, D) from random places of random images, in the order of F.unfold."""
        generator, size = torch.Generator().manual_seed(seed), self.patch_size
        image = torch.randint(len(images), (PATCHES, 1, 1, 1), generator=generator)
        top, left = (torch.randint(self.side, (PATCHES, 1), generator=generator) + torch.arange(size) for _ in range(2))
        channel = torch.arange(images.shape[1])[:, None, None]
        places = (image, channel, top[:, None, :, None], left[:, None, None, :])
        return images[tuple(place.to(images.device) for place in places)].float().flatten(1)


def _evened(patches: Tensor) -> Tensor:
    """Patches (..., D) with their means taken off, divided by their standard deviations where they have any."""
    patches = patches - patches.mean(-1, keepdim=True)
    return patches / (patches.var(-1, correction=0, keepdim=True) + 0.0025).sqrt()


def _require_rising(owner: FittedModel, field: str, values: tuple[float, ...]) -> None:
    rising = bool(values) and values[0] > 0 and all(a < b for a, b in itertools.pairwise(values))
    owner.require(field, rising, "one or more rising numbers above 0")
