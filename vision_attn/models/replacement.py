"""Our attention in the models of timm: every layer of a model, or none and a sentence that says why."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vision_attn.layers import Attention
from vision_attn.models.counterparts import in_windows, kinds, made, settings
from vision_attn.models.mixers import SelfAttention
from vision_attn.models.patterns import Full, TopK
from vision_attn.spec import InputError

NAMED = re.compile("attention|attn|mhsa", re.IGNORECASE)
CHILDREN = {"qkv", "kv", "q_proj", "k_proj", "attn_drop"}
REASONS = {
    "timm.models.eva.EvaAttention": "its model hands it the angles of every call",
    "timm.layers.attention.AttentionRope": "its model hands it the angles of every call",
    "timm.layers.diff_attention.DiffAttention": "it takes one softmax from another",
    "timm.models.swin_transformer_v2.WindowAttention": "a perceptron of the offsets makes its bias",
    "timm.models.cait.TalkingHeadAttn": "it mixes heads before and behind the softmax",
}
"""What attention of other classes does that no switch does."""


def replace_attention(model: nn.Module, **switches: Any) -> nn.Module:
    """Swap every `timm.layers.Attention`, and those of Swin and BEiT, for ours, in place; return the model.

    `switches` are the fields of `SelfAttention` other than num_heads: similarity, scale, position, pattern, ... What
    they leave as it was stays the same object, with its weights, hooks and requires_grad, so that without switches the
    model computes what it did. Parameters that come new have the type and device of the layer and are trainable;
    tables of positions and learned scales among them are in the model's `no_weight_decay()`. The training mode and the
    global generator are left as they are. Attention that pools the tokens for the head is no layer of the blocks and
    stays. The blocks of Swin go on cutting windows: positions are those inside of a window, "relative" unless another
    is asked for, and of the patterns only "full" and "top_k", inside of a window, can be had. The position of BEiT is
    "relative_with_prefix" unless another is asked for. After `set_input_size` positions and patterns are those of the
    new grid.

    Raises `InputError`, before anything is changed, where the model has no such attention or attention of another
    class beside it, where a switch does not fit it, and where position or pattern are asked of a model other than a
    `VisionTransformer` or `Beit` of timm with a fixed grid of tokens.
    """
    if not isinstance(model, nn.Module):
        allowed = "a module, such as timm.create_model gives"
        raise InputError(f"model of replace_attention must be {allowed}. Got a {type(model).__name__} instead.")
    _check_switches(switches)
    places = _places(model)
    layouts = {name: _layout(model, layer, settings(layer, name, switches)) for name, layer in places.items()}
    with torch.random.fork_rng(devices=[]):
        ours = {id(layer): made(layer, name, switches, *layouts[name]) for name, layer in places.items()}
    exempt = set()
    for name, layer in places.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, ours[id(layer)])
        tables = (inner for inner, _ in ours[id(layer)].named_parameters())
        exempt |= {f"{name}.{inner}" for inner in tables if inner.startswith(("position.", "logit_scale"))}
    told: Any = model
    if exempt:
        told.no_weight_decay = functools.partial(_undecayed, getattr(model, "no_weight_decay", set), exempt)
    if _on_one_grid(model) and any(layer.grid for layer in ours.values()):
        told.set_input_size = functools.partial(_resized, told.set_input_size)
    return model


def _check_switches(switches: dict[str, Any]) -> None:
    allowed = [field.name for field in dataclasses.fields(SelfAttention) if field.name != "num_heads"]
    unknown = ", ".join(sorted(set(switches) - set(allowed)))
    if unknown:
        raise InputError(f"switches must be among {', '.join(allowed)}. Got {unknown} instead.")


def _places(model: nn.Module) -> dict[str, Any]:
    """Every place of an attention that can be swapped; one that stands in two places has two."""
    found = {name: module for name, module in model.named_modules(remove_duplicate=False) if attends(module)}
    others = {name: module for name, module in found.items() if type(module) not in kinds()}
    if others:
        first = {_path(module): name for name, module in reversed(others.items())}
        counted = Counter(map(_path, others.values()))
        reasons = {path: f": {REASONS[path]}" if path in REASONS else "" for path in counted}
        given = ", ".join(
            f"{path} ({counted[path]} times, first at {first[path] or 'the top'}{reasons[path]})" for path in counted
        )
        allowed = "timm.layers.Attention, or that of Swin or BEiT, throughout"
        raise InputError(f"attention of the model must be {allowed}. Got {given} instead.")
    if not found or "" in found:
        given = "that layer itself" if found else f"a {type(model).__name__} without attention"
        raise InputError(f"model must have a timm.layers.Attention. Got {given} instead.")
    return found


def attends(module: nn.Module) -> bool:
    """Whether it is a layer of attention itself, by its name or its parts: none is inside it, and it does not pool."""
    name = type(module).__name__
    if "pool" in name.lower():
        return False
    named = isinstance(module, Attention) or NAMED.search(name) or CHILDREN & set(dict(module.named_children()))
    return bool(named) and not any(attends(child) for child in module.children())


def _path(module: nn.Module) -> str:
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"


def _layout(model: Any, theirs: Any, spec: SelfAttention) -> tuple[tuple[int, int] | None, int]:
    """The grid of a layer's tokens (None: not known and not needed) and the number of tokens before it."""
    if in_windows(theirs):
        if _is_placed(spec, "pattern"):
            allowed = "'full' or 'top_k' in the windows that the blocks of Swin cut"
            raise InputError(f"pattern must be {allowed}. Got {spec.pattern!r} instead.")
        rows, columns = theirs.window_size
        return (rows, columns), 0
    if spec.position == "relative_with_prefix" and getattr(theirs, "window_size", None):
        rows, columns = theirs.window_size
        return (rows, columns), 1  # BEiT, in another module, too
    placed = [f"{field} = {getattr(spec, field)!r}" for field in ("position", "pattern") if _is_placed(spec, field)]
    known = _on_one_grid(model)
    moving = [field for field in ("dynamic_img_size", "dynamic_img_pad") if known and _is_dynamic(model, field)]
    if known and not isinstance(getattr(model, "patch_drop", nn.Identity()), nn.Identity):
        moving.append("patch_drop_rate")
    if placed and (moving or not known):
        given = f"{moving[0]}" if moving else f"a {type(model).__name__}"
        allowed = "a VisionTransformer or Beit of timm with a fixed grid of tokens"
        raise InputError(f"model must be {allowed}, for {' and '.join(placed)}. Got {given} instead.")
    if not known or moving:
        return None, 0
    rows, columns = model.patch_embed.grid_size
    return (rows, columns), int(model.num_prefix_tokens)


def _on_one_grid(model: nn.Module) -> bool:
    """Whether all blocks of a model of timm get the prefix tokens and the grid of its patch embedding."""
    from timm.models import beit, vision_transformer

    return isinstance(model, vision_transformer.VisionTransformer | beit.Beit)


def _is_placed(spec: SelfAttention, field: str) -> bool:
    """Whether the setting asks where tokens lie."""
    given = getattr(spec, field)
    return not isinstance(given, Full | TopK) and given not in ("none", "full", "top_k")


def _is_dynamic(model: Any, field: str) -> bool:
    return bool(getattr(model, field, False) or getattr(model.patch_embed, field, False))


def _undecayed(before: Callable[[], set[str]], more: set[str]) -> set[str]:
    """What a model leaves undecayed, and more."""
    return set(before()) | more


def _resized(before: Callable[..., None], *given: Any, **options: Any) -> None:
    """A model's `set_input_size`, which tells our layers the new grid, too."""
    before(*given, **options)
    model: Any = before.__self__  # type: ignore[attr-defined]
    for module in model.modules():
        if isinstance(module, Attention) and module.grid is not None:
            module.set_grid(model.patch_embed.grid_size)
