"""Building: the module of a model, whole and without its numbers."""

import itertools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from vision_attn.spec import InputError, short

T = TypeVar("T")

TRIED = 2
"""Images that a module is tried on: dimensions of size 1 may get lost in it."""


class Builds(Protocol):
    """A model as a spec has it."""

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module: ...


def made(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
    """The module of a model. Parameters that get their shape from the first images, as of `nn.LazyLinear`, have it."""
    _require_builder(model)
    module = model.build(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
    if isinstance(module, nn.Module) and any(map(is_lazy, itertools.chain(module.parameters(), module.buffers()))):
        modes = {part: part.training for part in module.modules()}
        _outputs(module, in_chans, image_size)
        for part, mode in modes.items():
            part.training = mode
    return module


def empty(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
    """The module of a model on the device `meta`, without its numbers; with them where it is built by reading some."""
    shape = {"image_size": image_size, "in_chans": in_chans, "num_classes": num_classes}
    module: object = _without_numbers(lambda: made(model, **shape))
    if not isinstance(module, nn.Module):
        raise InputError(f"build of {type(model).__name__} must return a module. Got {short(module)} instead.")
    return module


def _require_builder(model: Any) -> None:
    """Raise `InputError` where a model is none that builds a module, such as a module, or the class of a model."""
    if isinstance(model, type) or not callable(getattr(model, "build", None)):
        given = f"the module {type(model).__name__}" if isinstance(model, nn.Module) else short(model)
        raise InputError(f"model must be one that builds a module, such as ViT(). Got {given} instead.")


def tried(model: Builds, *, image_size: int, in_chans: int, num_classes: int) -> tuple[nn.Module, Any]:
    """The module of a model, and what it gives for two images: without numbers, where they are not read."""

    def trial() -> tuple[nn.Module, Any]:
        module = made(model, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        return module, _outputs(module, in_chans, image_size)

    return _without_numbers(trial)


def _without_numbers(call: Callable[[], T]) -> T:
    """What a call gives on the device `meta`, or else on the default device."""
    try:
        with torch.device("meta"):
            return call()
    except Exception:  # what is wrong on the other device too is told by that one
        with torch.random.fork_rng(devices=[]):
            return call()


def _outputs(module: nn.Module, in_chans: int, image_size: int) -> Any:
    """What a module gives in eval mode for two images, on the default device."""
    with torch.no_grad():
        return module.eval()(torch.zeros(TRIED, in_chans, image_size, image_size))
