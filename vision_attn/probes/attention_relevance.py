"""Saliency from attention: what its weights, alone or with gradients, say of the places of an image.

B images, H heads, T tokens with those of the prefix; maps are (B, rows, columns) on the grid of the keys.
All take a model, normalised images (B, C, height, width) and a class for each, (B,), and leave the model as it is.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vision_attn.layers import Attention
from vision_attn.models.replacement import attends
from vision_attn.probes.capture import calls_of, frozen, tokens_read
from vision_attn.probes.gradients import twin
from vision_attn.probes.maps import SOFTMAXES, AttentionMap, attention_maps, each_map
from vision_attn.spec import InputError
from vision_attn.training.evaluate import at_least_float32, evaluating


def last_attention(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The attention of the last layer, mean over heads, the same for all classes.

    Of the class token where the model reads that, else the mean over the tokens of the grid, as the head takes it.
    """
    return read(model, list(attention_maps(model, images).values())[-1], images)


def rollout(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928), the same for all classes.

    The product over layers of (A + I) / 2, with A the mean over heads and rows made to sum to 1. Raises `InputError`
    where not all layers have attention among the same tokens.
    """
    found = list(attention_maps(model, images).values())
    joint = unit = _eye(found[-1].weights)
    for one in found:
        _require_square(model, one.weights, like=joint)
        mixed = (at_least_float32(one.weights).mean(dim=1) + unit) / 2
        joint = mixed / mixed.sum(dim=-1, keepdim=True) @ joint
    return read(model, dataclasses.replace(found[-1], weights=joint[:, None]), images)


def gradient_attention(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Gradient x attention (Chefer et al. 2021, arXiv:2103.15679, equations 5 and 6).

    R = I, then layer by layer R <- R + A R, with A the mean over heads of the positive part of the attention times the
    gradient of the class's logit with respect to it. Raises `InputError` as `rollout`, and where a layer keeps its
    weights to itself, having no `attn_drop`.
    """
    weights: list[Tensor] = []
    with _by_products(model) as drops:
        score = _score(model, images, classes, drops, weights)
        gradients = torch.autograd.grad(score, weights)
    last = list(attention_maps(model, images[:1]).values())[-1]
    joint = _eye(weights[-1])
    for own, slope in zip(weights, gradients, strict=True):
        _require_square(model, own, like=joint)
        mixed = at_least_float32(own * slope).clamp(min=0).mean(dim=1).detach()
        joint = joint + mixed @ joint
    return read(model, dataclasses.replace(last, weights=joint[:, None]), images)


def relevance(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Layer-wise relevance propagation through attention (Ali et al. 2022, arXiv:2202.07304), by pixel.

    Weights of attention, what LayerNorm and RMSNorm divide by, the slope from 0 of GELU and its like, and gates by a
    sigmoid are taken as given, and of a product of two parts, as in SwiGLU, each counts half; gradient x input of the
    class's logit is then a propagation that keeps the sum: what is left of the logit is due to biases and positions.
    Negative where a pixel speaks against the class.
    """
    images = images.detach().requires_grad_()
    with _by_products(model), evaluating(model), frozen(model), torch.enable_grad(), _Propagating():
        score = model(images).gather(1, classes[:, None]).sum()
    (slope,) = torch.autograd.grad(score, images)
    return (slope * images).detach().sum(dim=1)


def read(model: nn.Module, found: AttentionMap, images: Tensor) -> Tensor:
    """The row of an attention that the model's head reads, mean over heads: (B, rows, columns)."""
    if found.prefix and reads_class_token(model, images):
        return found.from_prefix[:, :, 0].mean(dim=1)
    return found.on_grid.mean(dim=(1, 2, 3))


def reads_class_token(model: nn.Module, images: Tensor) -> bool:
    """Whether the class is read from a token of its own.

    As this package and timm say it, in `pool` or `global_pool`; of models without their methods, such as those of
    torchvision, whether the first of the tokens before the grid moves the output and none of the grid does, for the
    first of the images.
    """
    said = [pool for pool in (getattr(model, "pool", None), getattr(model, "global_pool", None)) if type(pool) is str]
    if said or hasattr(model, "forward_features"):
        return "token" in said
    found = dict(each_map(model, images[:1]))
    if not found:
        return False
    name, last = list(found.items())[-1]
    if not last.prefix:
        return False
    moving = tokens_read(model, name, images[:1])
    if not moving.any():  # as in torchvision, whose heads are 0 at first
        drawn = twin(model, positive=False, generator=torch.Generator().manual_seed(0))
        moving = tokens_read(drawn, name, images[:1].cpu().double())
    return bool(moving[0]) and not bool(moving[last.prefix :].any())


GIVEN = (*SOFTMAXES, torch.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, F.hardsigmoid)
SLOPES = (F.gelu, F.silu, F.hardswish, F.mish)
PRODUCTS = (torch.mul, Tensor.mul, Tensor.__mul__)


class _Propagating(TorchFunctionMode):
    """Inside, softmaxes, sigmoids, what norms divide by and slopes pass no gradients, and products half of them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in GIVEN:
            return func(*args, **kwargs).detach()
        if func is F.layer_norm:
            return _linear_norm(*args, **kwargs)
        if func is F.rms_norm:
            return _linear_rms_norm(*args, **kwargs)
        if func in SLOPES:
            x, form = args[0], {name: value for name, value in kwargs.items() if name == "approximate"}
            return x * torch.where(x == 0, 0.5, func(x, **form) / x).detach()
        if func in PRODUCTS and all(isinstance(each, Tensor) and each.requires_grad for each in args):
            one, other = args
            return (func(one.detach(), other) + func(one, other.detach())) / 2
        return func(*args, **kwargs)


def _linear_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """`torch.nn.functional.layer_norm`, which has these arguments, with its deviation taken as given."""
    dims = tuple(range(-len(shape), 0))
    centred = x - x.mean(dim=dims, keepdim=True)
    out = centred / (x.var(dim=dims, keepdim=True, correction=0) + eps).sqrt().detach()
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def _linear_rms_norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """`torch.nn.functional.rms_norm`, which has these arguments, with what it divides by taken as given."""
    small = torch.finfo(x.dtype).eps if eps is None else eps
    size = x.square().mean(dim=tuple(range(-len(shape), 0)), keepdim=True)
    out = x / (size + small).sqrt().detach()
    return out if weight is None else out * weight


@contextlib.contextmanager
def _by_products(model: nn.Module) -> Iterator[dict[str, nn.Module]]:
    """Inside, attention is computed by products, its weights pass through its dropout, which is given by layer."""
    layers = {name: module for name, module in model.named_modules() if attends(module)}
    drops = {name: getattr(layer, "attn_drop", None) for name, layer in layers.items()}
    lacking = [name for name, drop in drops.items() if not isinstance(drop, nn.Module)]
    if lacking or not layers:
        given = f"{lacking[0]}, a {type(layers[lacking[0]]).__name__}" if lacking else type(model).__name__
        raise InputError(f"model must have attention whose weights pass through attn_drop. Got {given} instead.")
    before: list[tuple[nn.Module, str, Any]] = []
    for layer in layers.values():
        name, value = ("path", "math") if isinstance(layer, Attention) else ("fused_attn", False)
        if hasattr(layer, name):
            before.append((layer, name, getattr(layer, name)))
            setattr(layer, name, value)
    try:
        yield {name: drop for name, drop in drops.items() if drop is not None}
    finally:
        for layer, name, value in before:
            setattr(layer, name, value)


def _score(
    model: nn.Module, images: Tensor, classes: Tensor, drops: dict[str, nn.Module], weights: list[Tensor]
) -> Tensor:
    """The sum of the classes' logits, its graph kept; `weights` are filled with the attention (B, H, T, T) by layer."""
    scores: list[Tensor] = []
    with evaluating(model), frozen(model), torch.enable_grad():
        calls = calls_of(drops, lambda: scores.append(model(images.detach().requires_grad_())))
    for name, call in calls.items():
        if call.tokens.ndim != 4 or len(call.tokens) != len(images):
            given = f"{name} with {tuple(call.tokens.shape)}"
            raise InputError(f"attention must be among all tokens of an image, (B, H, T, T). Got {given} instead.")
        weights.append(call.tokens)
    return scores[0].gather(1, classes[:, None]).sum()


def _eye(like: Tensor) -> Tensor:
    """Every token from itself, (B, T, T)."""
    return at_least_float32(torch.eye(like.shape[-1], device=like.device, dtype=like.dtype)).expand(len(like), -1, -1)


def _require_square(model: nn.Module, weights: Tensor, *, like: Tensor) -> None:
    if weights.shape[2:] != like.shape[1:]:
        given = f"{tuple(weights.shape[2:])} and {tuple(like.shape[1:])} of {type(model).__name__}"
        raise InputError(f"attention must be among the same tokens in all layers to be joined. Got {given} instead.")
