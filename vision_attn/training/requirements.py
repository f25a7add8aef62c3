"""Requirements: what a recipe and a model must be for the data they are to be trained on."""

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
    require_recipe(recipe, model, data=data)
    device = next(model.parameters()).device
    with evaluating(model), torch.inference_mode():
        require_places(model(data.normalise(data.test.images[:1].to(device))), data=data)


def require_recipe(recipe: Recipe, model: nn.Module, *, data: Data) -> None:
    """Raise `InputError` where the recipe does to the images, or to the model, what they are not made for."""
    where = f"on {data.name}, where it matters what lies where"
    may_move = data.crop and data.farthest is None
    recipe.require("crop_padding", not recipe.crop_padding or data.crop, f"0 {where}")
    if data.farthest is not None:
        recipe.require("crop_padding", recipe.crop_padding <= data.farthest, f"at most {data.farthest} {where}")
    recipe.require("rand_augment", recipe.rand_augment is None or may_move, f"None {where}")
    for field in ("mixup", "cutmix", "patch_drop"):
        is_off = not getattr(recipe, field)
        recipe.require(field, is_off or not data.label_shape, f"0 on {data.name}, whose labels lie on a grid")
    fits = not recipe.patch_drop or data.image_size % recipe.patch_drop_size == 0
    recipe.require("patch_drop_size", fits, f"a divisor of the image size {data.image_size}")
    if isinstance(model, FittedClassifier) and isinstance(data.train, Stream):
        allowed = f"one that is trained by updates on {data.name}, whose training images are drawn anew"
        raise InputError(f"model must be {allowed}. Got {type(model.spec).__name__} instead.")


def require_places(scores: torch.Tensor, *, data: Data) -> None:
    """Raise `InputError` where predictions, logits (B, classes, ...), are not where the labels are."""
    found = tuple(scores.shape[2:])
    if found != data.label_shape:
        allowed = _place(data.label_shape)
        raise InputError(f"predictions of the model must be {allowed} on {data.name}. Got {_place(found)} instead.")


def _place(shape: tuple[int, ...]) -> str:
    return "one a cell of a grid of " + " x ".join(map(str, shape)) if shape else "one an image"
