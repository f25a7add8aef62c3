"""Fitting: what a recipe and a model must be for the data they are to be trained on."""

import torch
from torch import nn

from vision_attn.data.base import Data, Stream
from vision_attn.models.fitted import FittedClassifier
from vision_attn.spec import InputError
from vision_attn.training.evaluate import evaluating
from vision_attn.training.recipe import Recipe


def require_fit(recipe: Recipe, model: nn.Module, *, data: Data) -> None:
    """Raise `InputError` where images may not be moved (so far) but are, or predictions are not where the labels are.

    One image goes through the model, in eval mode and outside of its random numbers.
    """
    if recipe.crop_padding and not data.crop:
        allowed = f"0 on {data.name}, where it matters what lies where"
        raise InputError(f"crop_padding of Recipe must be {allowed}. Got {recipe.crop_padding} instead.")
    if data.farthest is not None and recipe.crop_padding > data.farthest:
        allowed = f"at most {data.farthest} on {data.name}, where it matters what lies where"
        raise InputError(f"crop_padding of Recipe must be {allowed}. Got {recipe.crop_padding} instead.")
    if recipe.rand_augment is not None and not (data.crop and data.farthest is None):
        allowed = f"None on {data.name}, where it matters what lies where"
        raise InputError(f"rand_augment of Recipe must be {allowed}. Got {recipe.rand_augment} instead.")
    if (recipe.mixup or recipe.cutmix) and data.label_shape:
        allowed = f"0 on {data.name}, whose labels lie on a grid"
        field = "mixup" if recipe.mixup else "cutmix"
        raise InputError(f"{field} of Recipe must be {allowed}. Got {getattr(recipe, field)} instead.")
    if recipe.patch_drop:
        _require_patches(recipe, data)
    if isinstance(model, FittedClassifier) and isinstance(data.train, Stream):
        allowed = f"one that is trained by updates on {data.name}, whose training images are drawn anew"
        raise InputError(f"model must be {allowed}. Got {type(model.spec).__name__} instead.")
    device = next(model.parameters()).device
    with evaluating(model), torch.inference_mode():
        found = model(data.normalise(data.test.images[:1].to(device))).shape[2:]
    if tuple(found) != data.label_shape:
        allowed = _place(data.label_shape)
        raise InputError(
            f"predictions of the model must be {allowed} on {data.name}. Got {_place(tuple(found))} instead."
        )


def _require_patches(recipe: Recipe, data: Data) -> None:
    if data.label_shape:
        allowed = f"0 on {data.name}, whose labels lie on a grid"
        raise InputError(f"patch_drop of Recipe must be {allowed}. Got {recipe.patch_drop} instead.")
    if data.image_size % recipe.patch_drop_size:
        allowed = f"a divisor of the image size {data.image_size}"
        raise InputError(f"patch_drop_size of Recipe must be {allowed}. Got {recipe.patch_drop_size} instead.")


def _place(shape: tuple[int, ...]) -> str:
    return "one a cell of a grid of " + " x ".join(map(str, shape)) if shape else "one an image"
