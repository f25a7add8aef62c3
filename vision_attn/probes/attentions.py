"""Attentions: the attention layers of this package in a model, and copies of them to compute exactly with."""

import functools
import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vision_attn.layers import Attention, Pattern
from vision_attn.layers.similarity import Dot
from vision_attn.models import Model
from vision_attn.models.copies import copied
from vision_attn.models.fitted import FittedModel
from vision_attn.spec import InputError

USUAL_SIZE = 224
"""The image size at which a planned model is looked through; most sizes of patches divide it."""


def attention_layers(model: nn.Module, *, what: str) -> list[Attention]:
    """The attention layers in order of depth. Raises `InputError`, for the probe `what`, where there is none."""
    found = [module for module in model.modules() if isinstance(module, Attention)]
    if not found:
        allowed = "have attention layers of this package"
        raise InputError(f"model of {what} must {allowed}. Got {type(model).__name__} instead.")
    return found


def without_attention(model: Model) -> str | None:
    """Why a model has no attention layers of this package; None where it has some, or where that cannot be seen."""
    found = _planned(model)
    if found is None or found:
        return None
    mixer = getattr(model, "mixer", None)
    return f"{type(model if mixer is None else mixer).__name__} has no attention layer of this package"


def unlike(model: Model, is_like: Callable[[Attention], bool], reason: str) -> str | None:
    """Why a model does not fit a probe of layers that are like this; None where all are, or where it cannot be seen."""
    if (lacking := without_attention(model)) is not None:
        return lacking
    return None if all(map(is_like, _planned(model) or [])) else reason


def is_plain(layer: Attention) -> bool:
    """Whether it is softmax(scale q k^T) v and no more."""
    dot = type(layer.similarity) is Dot and isinstance(layer.q_norm, nn.Identity)
    return dot and layer.position is None and type(layer.pattern) is Pattern


def not_plain(model: Model) -> str | None:
    """Why the attention of a model is not softmax(scale q k^T) v and no more; None where it is."""
    return unlike(model, is_plain, "scores of its attention are more than products of queries and keys")


@functools.lru_cache(maxsize=256)
def _planned(model: Model) -> tuple[Attention, ...] | None:
    """The attention layers of a planned model, built without memory; None where it cannot be."""
    if isinstance(model, FittedModel):
        return ()
    try:
        with torch.device("meta"):
            module = model.build(image_size=USUAL_SIZE, in_chans=3, num_classes=2)
    except (InputError, RuntimeError, NotImplementedError):
        return None
    return tuple(part for part in module.modules() if isinstance(part, Attention))


def exact_copy(layer: Attention) -> Attention:
    """A copy in float64 and eval mode, on the CPU, whose parameters take no gradients."""
    return copied(layer).cpu().double().eval().requires_grad_(False)


def plain_copy(layer: Attention, *, what: str) -> Attention:
    """An exact copy that takes any number of tokens, those of a prefix treated like all others, as they are there.

    Raises `InputError`, for the probe `what`, unless the layer is softmax(scale q k^T) v and no more.
    """
    if not is_plain(layer):
        allowed = "the product of queries and keys alone"
        raise InputError(f"scores of a layer must be {allowed} for {what}. Got {layer} instead.")
    plain = exact_copy(layer)
    plain.num_prefix_tokens = 0
    return plain


def biases_of(layer: Attention) -> dict[str, Tensor]:
    """Every bias of q, k and v as a view of the layer's own parameters: by name, (width,) each."""
    starts, at = {}, 0
    for name, width in layer.widths.items():
        starts[name], at = at, at + width
    bias = getattr(layer.qkv, "bias", None)
    if bias is not None:
        return {name: bias[at : at + layer.widths[name]] for name, at in starts.items()}
    own = {name: getattr(layer.qkv, f"{name}_bias", None) for name in starts}
    return {name: one for name, one in own.items() if one is not None}


def generator_of(model: nn.Module) -> torch.Generator:
    """A generator on the CPU whose seed is a function of the model's weights: other weights draw other numbers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().double().numpy().tobytes())
    return torch.Generator().manual_seed(int.from_bytes(digest.digest()[:8], "big") >> 1)
