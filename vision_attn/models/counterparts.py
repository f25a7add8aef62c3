"""Our layer in the place of one of timm's: its settings, and the modules, weights and hooks that it takes over."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vision_attn.layers import Attention, RelativeBias
from vision_attn.layers.projection import PackedProjection
from vision_attn.layers.relative import PREFIX_OFFSETS
from vision_attn.models.mixers import SelfAttention
from vision_attn.models.timm_blocks import BeitAttention, WindowsAttention
from vision_attn.models.timm_layers import has_separate_biases, has_usual_scale, is_nothing, rate
from vision_attn.spec import InputError

TABLE = "relative_position_bias_table"
PROJECTED = ("qkv_bias", "q_bias", "k_bias", "v_bias", "key_dim", "value_dim")


def kinds() -> dict[type, type[Attention]]:
    """The classes of timm that have a counterpart here, with it."""
    from timm.layers import Attention as TimmAttention
    from timm.models import beit, swin_transformer

    windowed = swin_transformer.WindowAttention
    return {TimmAttention: Attention, windowed: WindowsAttention, beit.Attention: BeitAttention}


def in_windows(theirs: Any) -> bool:
    """Whether it is the attention of Swin, which is called for windows."""
    return kinds().get(type(theirs)) is WindowsAttention


def settings(theirs: Any, where: str, switches: dict[str, Any]) -> SelfAttention:
    """The spec of our layer in the place of theirs. Raises `InputError` for what no switch does."""
    _check(theirs, where, switches)
    kind, own, width = kinds()[type(theirs)], theirs.qkv.out_features // 3, theirs.qkv.in_features
    separate = has_separate_biases(theirs)
    relative = "relative_with_prefix" if kind is BeitAttention else "relative"
    given = {
        "qkv_bias": separate or theirs.qkv.bias is not None,
        "qk_norm": not all(is_nothing(getattr(theirs, name, None)) for name in ("q_norm", "k_norm")),
        "attn_drop": rate(theirs.attn_drop),
        "proj_drop": rate(theirs.proj_drop),
        "position": relative if getattr(theirs, "window_size", None) else "none",
    }
    if separate:
        given["k_bias"] = False
    widths = {} if own == width else {"key_dim": own, "value_dim": own}
    return SelfAttention(num_heads=theirs.num_heads, **{**given, **widths, **switches})


def _check(theirs: Any, where: str, switches: dict[str, Any]) -> None:
    """It computes what its class does, with what our layer has, too."""
    parts = [name for name in ("gate", "norm") if not is_nothing(getattr(theirs, name, None))]
    _require(not parts, "without gate and inner norm", f"a {' and a '.join(parts)} at {where}")
    _require("forward" not in vars(theirs), "one that computes what its class says", f"a forward of its own at {where}")
    for name in ("qkv", "proj"):
        module = getattr(theirs, name)
        sized = hasattr(module, "in_features") and hasattr(module, "out_features") and hasattr(module, "bias")
        allowed = f"with in_features, out_features and bias of its {name}"
        _require(sized, allowed, f"a {type(module).__name__} at {where}.{name}")
    width, out = theirs.qkv.in_features, theirs.proj.out_features
    _require(out == width, f"one that gives tokens of the width {width} it takes", f"{out} at {where}")
    _require(
        has_usual_scale(theirs) or "scale" in switches,
        "of the scale 1/sqrt(head_dim)",
        f"{theirs.scale:.4g} at {where}",
    )


def made(theirs: Any, where: str, switches: dict[str, Any], grid: tuple[int, int] | None, prefix: int) -> Attention:
    """Our layer with the modules, weights and hooks of theirs wherever the settings are equal."""
    before, spec = settings(theirs, where, {}), settings(theirs, where, switches)
    ours = _built(spec, theirs, grid, prefix)
    _share_hooks(theirs, ours)

    def kept(*fields: str) -> bool:
        return all(getattr(spec, field) == getattr(before, field) for field in fields)

    if kept(*PROJECTED) and not isinstance(ours.qkv, PackedProjection):
        ours.qkv = theirs.qkv
    else:
        _hand_over_projection(theirs, ours.qkv, f"{where}.qkv")
    if kept("value_dim"):
        ours.proj = theirs.proj
    else:
        _require_plain(theirs.proj, "proj", f"{where}.proj")
        _share_hooks(theirs.proj, ours.proj)
    if kept("qk_norm", "key_dim") and hasattr(theirs, "q_norm"):
        ours.q_norm, ours.k_norm = theirs.q_norm, theirs.k_norm
    if kept("position") and spec.position.startswith("relative"):
        plain = TABLE in theirs._parameters
        _require(plain, f"with a plain parameter {TABLE}", f"one that is computed at {where}")
        ours.position.relative_position_bias_table = _of_offsets(theirs, ours.position)
    for name in ("attn_drop", "proj_drop"):
        if kept(name):
            setattr(ours, name, getattr(theirs, name))
    return ours


def _built(spec: SelfAttention, theirs: Any, grid: tuple[int, int] | None, prefix: int) -> Any:
    """Our layer with weights of its own, of the type, device and mode of theirs."""
    kind = kinds()[type(theirs)]
    ours: Any = spec.layer(kind, dim=theirs.qkv.in_features, grid=grid or (1, 1), num_prefix_tokens=prefix)
    if grid is None:
        ours.grid = None
    if theirs.proj.bias is None:
        ours.proj = nn.Linear(ours.proj.in_features, ours.proj.out_features, bias=False)
    like = next((weight for weight in theirs.parameters() if weight.is_floating_point()), None)
    return (ours if like is None else ours.to(like.device, like.dtype)).train(theirs.training)


def _hand_over_projection(theirs: Any, ours: Any, where: str) -> None:
    """The weights of q, k and v, and the biases of those that have one; the parameters themselves where they fit."""
    qkv = theirs.qkv
    _require_plain(qkv, "qkv", where)
    _share_hooks(qkv, ours)
    if qkv.weight.shape != ours.weight.shape:
        return
    ours.weight = qkv.weight
    if getattr(ours, "bias", None) is not None:
        ours.bias = qkv.bias if qkv.bias is not None else _of_all(theirs, ours.bias)
    for name, bias in _biases(theirs):
        if getattr(ours, f"{name}_bias", None) is not None:
            setattr(ours, f"{name}_bias", bias)


def _biases(theirs: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """The biases of theirs by themselves: its parameters, or copies of their parts."""
    own = {name: getattr(theirs, f"{name}_bias", None) for name in "qv"}
    if theirs.qkv.bias is None:
        yield from ((name, bias) for name, bias in own.items() if bias is not None)
        return
    for name, part in zip("qkv", theirs.qkv.bias.detach().chunk(3), strict=True):
        yield name, nn.Parameter(part.clone(), requires_grad=theirs.qkv.bias.requires_grad)


def _of_all(theirs: Any, fresh: nn.Parameter) -> nn.Parameter:
    """One bias of q, k and v, 0 where theirs has none, in the place of a fresh one."""
    found: dict[str, Tensor] = dict(_biases(theirs))
    parts = [found.get(name, torch.zeros_like(part)) for name, part in zip("qkv", fresh.chunk(3), strict=True)]
    trained = not found or any(part.requires_grad for part in found.values())
    return nn.Parameter(torch.cat(parts).detach(), requires_grad=trained)


def _of_offsets(theirs: Any, position: RelativeBias) -> nn.Parameter:
    """The table of theirs; of the offsets that a pattern has where these are fewer."""
    table: nn.Parameter = theirs.relative_position_bias_table
    (rows, columns), (r, c) = theirs.window_size, position.grid
    if (rows, columns) == (r, c):
        return table
    image = table.detach()[: (2 * rows - 1) * (2 * columns - 1)].unflatten(0, (2 * rows - 1, 2 * columns - 1))
    inner = image[rows - r : rows + r - 1, columns - c : columns + c - 1].flatten(0, 1)
    prefix = table.detach()[len(table) - PREFIX_OFFSETS * position.places_prefix :]
    return nn.Parameter(torch.cat([inner, prefix]), requires_grad=table.requires_grad)


def _share_hooks(theirs: nn.Module, ours: nn.Module) -> None:
    """What is registered on theirs is called by ours, and the handles of it still remove it."""
    for name, value in vars(theirs).items():
        if "hook" in name and value:
            vars(ours)[name] = value


def _require_plain(linear: Any, name: str, where: str) -> None:
    """Its parameters are what it computes with: none is computed from others, as with pruning or a norm of weights."""
    own = set(linear._parameters) if type(linear) is nn.Linear else set()
    if own != {"weight", "bias"}:
        given = f"a {type(linear).__name__} with {', '.join(linear.state_dict())} at {where}"
        raise InputError(f"{name} of the model's attention must be a plain torch.nn.Linear. Got {given} instead.")


def _require(holds: bool, allowed: str, given: str) -> None:
    if not holds:
        raise InputError(f"attention of the model must be {allowed}. Got {given} instead.")
