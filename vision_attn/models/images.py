"""What images a model takes."""

from typing import Any

from vision_attn.layers import inputs
from vision_attn.layers.symbolic import traced
from vision_attn.models.input_size import both_sides
from vision_attn.spec import InputError


def require_images(images: Any, model: Any, *, size: int | tuple[int, int] | None = None) -> None:
    """Raise `InputError` unless they are (B, in_chans, H, W) of a floating type, or stand for such in a graph.

    With `size` they must have it.
    """
    name = type(model).__name__
    try:
        inputs.images(images, name, model.in_chans, field="images")
    except ValueError as error:
        raise InputError(str(error)) from None
    if size is None or traced(images):
        return
    height, width = both_sides(size)
    if tuple(images.shape[2:]) != (height, width):
        given = tuple(images.shape)
        raise InputError(f"images of {name} must be of {height} x {width} pixels. Got {given} instead.")
