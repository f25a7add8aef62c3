"""Models that are fitted to the training images at once instead of trained by updates, and how they choose.

N images, K classes, F features.
"""

import abc
import contextlib
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor, nn

from vision_attn.models.base import Model
from vision_attn.models.classifier import Classifier
from vision_attn.models.images import require_images
from vision_attn.spec import InputError, spec

BATCH_SIZE = 125
"""Images, or features, at once."""
FOLDS = 5
ALL_FOLDS = 2000
"""Up to so many training images each fold is held out in turn; of more, one fold is enough."""
Setting = TypeVar("Setting", int, float)

logger = logging.getLogger("vision_attn")


@spec
class FittedModel(Model, abc.ABC):
    """A model without gradient steps: its run needs a recipe of 0 updates, and `build` gives a `FittedClassifier`."""


class FittedClassifier(Classifier):
    """An image classifier that `fit` fits to all training images; before that every class is as likely as the next.

    It computes in float32 whatever autocast says.
    """

    def fit(self, images: Tensor, labels: Tensor, *, seed: int) -> None:
        """Fit to normalised images (N, C, H, W) and their classes (N,), the same to the last bit for a seed.

        Settings are chosen on parts of these images that are held out, and the fit is repeated with all of them.
        Raises `InputError` where a class has fewer than two images.
        """
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """Normalised float32 images (B, C, H, W) to features (B, F)."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, image_size, image_size) to features (B, F). Raises `InputError` for anything else."""
        require_images(x, self, size=self.image_size)
        with _without_autocast(x):
            return self.features(x.float())

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        with _without_autocast(x):
            return x if pre_logits else self.head(x)

    def make_head(self, num_classes: int) -> nn.Module:
        return _unfitted(super().make_head(num_classes))

    def begin(self) -> None:
        _unfitted(self.head)

    def all_features(self, images: Tensor) -> Tensor:
        """The features (N, F) of all images, on the CPU, from batches."""
        with torch.no_grad():
            return torch.cat([self.forward_features(batch).cpu() for batch in images.split(BATCH_SIZE)])


def _unfitted(head: nn.Module) -> nn.Module:
    """The head, for which all classes are alike."""
    if isinstance(head, nn.Linear):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return head


def _without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Products in float32; tensors without storage, whose operations are counted, know no autocast."""
    return contextlib.nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def folds(labels: Tensor, *, what: str, num_classes: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Places (to fit to, held out) of each fold: a fifth of every class, at random, is held out.

    Of more than `ALL_FOLDS` images only the first fold is given. Every class is in every part to fit to.
    """
    counts = labels.bincount(minlength=num_classes)
    if counts.min() < 2:
        allowed = "at least two images of every class, one of which to choose its settings by"
        raise InputError(f"training images of {what} must be {allowed}. Got {int(counts.min())} of one class instead.")
    generator = torch.Generator().manual_seed(seed)
    fold = torch.empty_like(labels)
    for label in range(num_classes):
        members = (labels == label).nonzero().flatten()
        fold[members] = torch.randperm(len(members), generator=generator) % FOLDS
    found = [((fold != one).nonzero().flatten(), (fold == one).nonzero().flatten()) for one in range(FOLDS)]
    return found if len(labels) <= ALL_FOLDS else found[:1]


def choose(
    settings: Sequence[Setting], hits: Callable[[Setting, Tensor, Tensor], int], parts: list[tuple[Tensor, Tensor]]
) -> Setting:
    """The setting with most hits on held-out images; of equals the first. `hits(setting, fitted to, held out)`."""
    scores = [sum(hits(setting, *part) for part in parts) for setting in settings]
    best = settings[scores.index(max(scores))]
    held = sum(len(held_out) for _, held_out in parts)
    logger.info("chosen on %d held-out training images: %g of %s, with hits %s", held, best, settings, scores)
    return best


def fit_linear(
    head: nn.Linear, features: Tensor, labels: Tensor, *, strengths: Sequence[float], what: str, seed: int
) -> None:
    """Fit the head by multinomial logistic regression on features (N, F), both on the CPU.

    It minimises |W|^2 / 2 + C x (sum of cross-entropies) by at most 300 steps of L-BFGS, C chosen among `strengths`.
    """
    num_classes = head.out_features

    def fitted(strength: float, places: Tensor) -> tuple[Tensor, Tensor]:
        return _logistic(features[places], labels[places], strength=strength, num_classes=num_classes)

    def hits(strength: float, places: Tensor, held_out: Tensor) -> int:
        weight, bias = fitted(strength, places)
        found = (features[held_out] @ weight.T + bias).argmax(1)
        return int((found == labels[held_out]).sum())

    parts = folds(labels, what=what, num_classes=num_classes, seed=seed)
    weight, bias = fitted(choose(strengths, hits, parts), torch.arange(len(labels)))
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def _logistic(features: Tensor, labels: Tensor, *, strength: float, num_classes: int) -> tuple[Tensor, Tensor]:
    """Weights (K, F) and biases (K,). With two classes scikit-learn has one row: for the second, against the first."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(features.numpy(), labels.numpy())
    weight, bias = torch.from_numpy(found.coef_).float(), torch.from_numpy(found.intercept_).float()
    if num_classes == 2:
        return torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return weight, bias
