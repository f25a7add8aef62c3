"""Attentions: the attention layers of this package in a model, and copies of them to compute exactly with."""

import copy
import hashlib

import torch
from torch import Tensor, nn

from vision_attn.layers import Attention, Pattern
from vision_attn.models import Model, SelfAttention, ViT
from vision_attn.models.fitted import FittedModel
from vision_attn.spec import InputError


def attention_layers(model: nn.Module, *, what: str) -> list[Attention]:
    """The attention layers in order of depth. Raises `InputError`, for the probe `what`, where there is none."""
    found = [module for module in model.modules() if isinstance(module, Attention)]
    if not found:
        allowed = "have attention layers of this package"
        raise InputError(f"model of {what} must {allowed}. Got {type(model).__name__} instead.")
    return found


def without_attention(model: Model) -> str | None:
    """Why a model has no attention layers of this package; None where it has some, or where that cannot be seen."""
    if isinstance(model, ViT):
        has_some = isinstance(model.mixer, SelfAttention)
        return None if has_some else f"{type(model.mixer).__name__} is not attention"
    reason = f"{type(model).__name__} has no attention layer of this package"
    if isinstance(model, FittedModel):
        return reason
    try:
        with torch.device("meta"):
            module = model.build(image_size=32, in_chans=3, num_classes=2)
    except (InputError, RuntimeError, NotImplementedError):
        return None
    return None if any(isinstance(part, Attention) for part in module.modules()) else reason


def not_plain(model: Model) -> str | None:
    """Why the attention of a model is not softmax(scale q k^T) v and no more; None where it is."""
    if (reason := without_attention(model)) is not None:
        return reason
    mixer = getattr(model, "mixer", None)
    if isinstance(mixer, SelfAttention):
        plain = mixer.similarity == "dot" and not mixer.qk_norm
        if not plain or mixer.position != "none" or mixer.pattern != "full":
            return "scores of its attention are more than products of queries and keys"
    return None


def exact_copy(layer: Attention) -> Attention:
    """A copy in float64 and eval mode, on the CPU, whose parameters take no gradients."""
    copied = copy.deepcopy(layer).cpu().double().eval()
    return copied.requires_grad_(False)


def require_plain(layer: Attention, *, what: str) -> None:
    """Raise `InputError`, for the probe `what`, unless the layer is softmax(scale q k^T) v and no more."""
    dot = type(layer.similarity).__name__ == "Dot" and isinstance(layer.q_norm, nn.Identity)
    if not dot or layer.position is not None or type(layer.pattern) is not Pattern:
        allowed = "the product of queries and keys alone"
        raise InputError(f"scores of a layer must be {allowed} for {what}. Got {layer} instead.")


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
