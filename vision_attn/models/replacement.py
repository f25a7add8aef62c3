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
from vision_attn.layers.projection import PackedProjection
from vision_attn.models.mixers import SelfAttention
from vision_attn.models.patterns import Full, TopK
from vision_attn.models.windows import WindowsAttention
from vision_attn.spec import InputError

NAMED = re.compile("attention|attn|mhsa", re.IGNORECASE)
CHILDREN = {"qkv", "kv", "q_proj", "k_proj", "attn_drop"}
TABLE = "relative_position_bias_table"
REASONS = {
    "timm.models.beit.Attention": "its relative bias places the class token, too",
    "timm.models.eva.EvaAttention": "its model hands it the angles of every call",
    "timm.models.swin_transformer_v2.WindowAttention": "a perceptron of the offsets makes its bias",
    "timm.models.cait.TalkingHeadAttn": "it mixes heads before and behind the softmax",
}
"""What attention of other classes does that no switch does."""
PROJECTED = ("qkv_bias", "q_bias", "k_bias", "v_bias", "key_dim", "value_dim")


def replace_attention(model: nn.Module, **switches: Any) -> nn.Module:
    """Swap every `timm.layers.Attention` and every `WindowAttention` of Swin for ours, in place; return the model.

    `switches` are the fields of `SelfAttention` other than num_heads: similarity, scale, position, pattern, ... What
    they leave as it was stays the same object, with its weights, hooks and requires_grad, so that without switches the
    model computes what it did. Parameters that come new have the type and device of the layer and are trainable;
    tables of positions and learned scales among them are in the model's `no_weight_decay()`. The training mode and the
    global generator are left as they are. Attention that pools the tokens for the head is no layer of the blocks and
    stays. The blocks of Swin go on cutting windows: positions are those inside of a window, "relative" unless another
    is asked for, and of the patterns only "full" and "top_k", inside of a window, can be had.

    Raises `InputError`, before anything is changed, where the model has no such attention or attention of another
    class beside it, where a switch does not fit it, and where position or pattern are asked of a model other than a
    `VisionTransformer` of timm with a fixed grid of tokens.
    """
    _check_switches(switches)
    places = _places(model)
    layouts = {name: _layout(model, layer, _spec(layer, name, switches)) for name, layer in places.items()}
    with torch.random.fork_rng(devices=[]):
        made = {id(layer): _made(layer, name, switches, *layouts[name]) for name, layer in places.items()}
    exempt = set()
    for name, layer in places.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, made[id(layer)])
        tables = (inner for inner, _ in made[id(layer)].named_parameters())
        exempt |= {f"{name}.{inner}" for inner in tables if inner.startswith(("position.", "logit_scale"))}
    if exempt:
        before: Any = getattr(model, "no_weight_decay", set)
        model.no_weight_decay = functools.partial(_undecayed, before, exempt)  # type: ignore[assignment]
    return model


def _check_switches(switches: dict[str, Any]) -> None:
    allowed = [field.name for field in dataclasses.fields(SelfAttention) if field.name != "num_heads"]
    unknown = ", ".join(sorted(set(switches) - set(allowed)))
    if unknown:
        raise InputError(f"switches must be among {', '.join(allowed)}. Got {unknown} instead.")


def _places(model: nn.Module) -> dict[str, Any]:
    """Every place of an attention that can be swapped; one that stands in two places has two."""
    from timm.layers import Attention as TimmAttention
    from timm.models.swin_transformer import WindowAttention

    found = {name: module for name, module in model.named_modules(remove_duplicate=False) if attends(module)}
    others = {name: module for name, module in found.items() if type(module) not in (TimmAttention, WindowAttention)}
    if others:
        first = {_path(module): name for name, module in reversed(others.items())}
        counted = Counter(map(_path, others.values()))
        reasons = {path: f": {REASONS[path]}" if path in REASONS else "" for path in counted}
        given = ", ".join(
            f"{path} ({counted[path]} times, first at {first[path] or 'the top'}{reasons[path]})" for path in counted
        )
        allowed = "timm.layers.Attention or the WindowAttention of Swin throughout"
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
    from timm.models.vision_transformer import VisionTransformer

    if _in_windows(theirs):
        if _is_placed(spec, "pattern"):
            allowed = "'full' or 'top_k' in the windows that the blocks of Swin cut"
            raise InputError(f"pattern must be {allowed}. Got {spec.pattern!r} instead.")
        rows, columns = theirs.window_size
        return (rows, columns), 0
    placed = [f"{field} = {getattr(spec, field)!r}" for field in ("position", "pattern") if _is_placed(spec, field)]
    known = isinstance(model, VisionTransformer)
    moving = [field for field in ("dynamic_img_size", "dynamic_img_pad") if known and _is_dynamic(model, field)]
    if known and not isinstance(model.patch_drop, nn.Identity):
        moving.append("patch_drop_rate")
    if placed and (moving or not known):
        given = f"{moving[0]}" if moving else f"a {type(model).__name__}"
        allowed = "a VisionTransformer of timm with a fixed grid of tokens"
        raise InputError(f"model must be {allowed}, for {' and '.join(placed)}. Got {given} instead.")
    if not known or moving:
        return None, 0
    rows, columns = model.patch_embed.grid_size
    return (rows, columns), int(model.num_prefix_tokens)


def _in_windows(theirs: Any) -> bool:
    """Whether it is the attention of Swin, which is called for windows."""
    return hasattr(theirs, "window_size")


def _is_placed(spec: SelfAttention, field: str) -> bool:
    """Whether the setting asks where tokens lie."""
    given = getattr(spec, field)
    return not isinstance(given, Full | TopK) and given not in ("none", "full", "top_k")


def _is_dynamic(model: Any, field: str) -> bool:
    return bool(getattr(model, field, False) or getattr(model.patch_embed, field, False))


def _spec(theirs: Any, where: str, switches: dict[str, Any]) -> SelfAttention:
    """The spec of our layer in the place of theirs."""
    inner = {"gate": getattr(theirs, "gate", None), "norm": getattr(theirs, "norm", None)}
    parts = [name for name, part in inner.items() if part is not None and not isinstance(part, nn.Identity)]
    if parts:
        raise InputError(f"attention of the model must be without gate and inner norm. Got a {parts[0]} at {where}.")
    own, width = theirs.qkv.out_features // 3, theirs.qkv.in_features
    if theirs.proj.out_features != width:
        out = f"{theirs.proj.out_features} at {where}"
        raise InputError(f"attention of the model must give tokens of the width {width} it takes. Got {out} instead.")
    widths = {} if own == width else {"key_dim": own, "value_dim": own}
    given = {
        "qkv_bias": theirs.qkv.bias is not None,
        "qk_norm": not isinstance(getattr(theirs, "q_norm", nn.Identity()), nn.Identity),
        "attn_drop": theirs.attn_drop.p,
        "proj_drop": theirs.proj_drop.p,
        "position": "relative" if _in_windows(theirs) else "none",
    }
    return SelfAttention(num_heads=theirs.num_heads, **{**given, **widths, **switches})


def _made(theirs: Any, where: str, switches: dict[str, Any], grid: tuple[int, int] | None, prefix: int) -> Attention:
    """Our layer with the modules, weights and hooks of theirs wherever the settings are equal."""
    before, spec = _spec(theirs, where, {}), _spec(theirs, where, switches)
    ours = _built(spec, theirs, grid, prefix)
    _share_hooks(theirs, ours)
    keeps = all(getattr(spec, field) == getattr(before, field) for field in PROJECTED)
    if keeps and not isinstance(ours.qkv, PackedProjection):
        ours.qkv = theirs.qkv
    else:
        _hand_over_projection(theirs.qkv, ours.qkv, f"{where}.qkv")
    for name in ("q_norm", "k_norm", "proj"):
        if hasattr(theirs, name) and _shapes(getattr(theirs, name)) == _shapes(getattr(ours, name)):
            setattr(ours, name, getattr(theirs, name))
    if spec.position == before.position == "relative":
        if TABLE not in theirs._parameters:
            given = f"one that is computed at {where}"
            raise InputError(f"{TABLE} of the model's attention must be a plain parameter. Got {given} instead.")
        ours.position.relative_position_bias_table = theirs.relative_position_bias_table
    for name in ("attn_drop", "proj_drop"):
        if getattr(spec, name) == getattr(before, name):
            setattr(ours, name, getattr(theirs, name))
    return ours


def _built(spec: SelfAttention, theirs: Any, grid: tuple[int, int] | None, prefix: int) -> Any:
    """Our layer with weights of its own, of the type, device and mode of theirs."""
    kind = WindowsAttention if _in_windows(theirs) else Attention
    ours: Any = spec.layer(kind, dim=theirs.qkv.in_features, grid=grid or (1, 1), num_prefix_tokens=prefix)
    if grid is None:
        ours.grid = None
    if theirs.proj.bias is None:
        ours.proj = nn.Linear(ours.proj.in_features, ours.proj.out_features, bias=False)
    weight = next(theirs.proj.parameters())
    return ours.to(weight.device, weight.dtype).train(theirs.training)


def _hand_over_projection(theirs: Any, ours: Any, where: str) -> None:
    """The weights of q, k and v, and the biases of those that have one; the parameters themselves where they fit."""
    if type(theirs) is not nn.Linear or "weight" not in dict(theirs.named_parameters()):
        given = f"a {type(theirs).__name__} with {', '.join(theirs.state_dict())} at {where}"
        raise InputError(f"qkv of the model's attention must be a plain torch.nn.Linear. Got {given} instead.")
    _share_hooks(theirs, ours)
    if theirs.weight.shape == ours.weight.shape:
        ours.weight = theirs.weight
    if theirs.bias is None or ours.weight is not theirs.weight:
        return
    if getattr(ours, "bias", None) is not None:
        ours.bias = theirs.bias
    for name, part in zip(("q_bias", "k_bias", "v_bias"), theirs.bias.detach().chunk(3), strict=True):
        if getattr(ours, name, None) is not None:
            setattr(ours, name, nn.Parameter(part.clone(), requires_grad=theirs.bias.requires_grad))


def _share_hooks(theirs: nn.Module, ours: nn.Module) -> None:
    """What is registered on theirs is called by ours, and the handles of it still remove it."""
    for name, value in vars(theirs).items():
        if "hook" in name and value:
            vars(ours)[name] = value


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _undecayed(before: Callable[[], set[str]], more: set[str]) -> set[str]:
    """What a model leaves undecayed, and more."""
    return set(before()) | more
