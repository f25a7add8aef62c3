"""Between timm and this package: the weights of a timm ViT in our trunk, our attention in a timm ViT."""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers import Attention
from vision_attn.models.mixers import SelfAttention
from vision_attn.models.trunk import VisionTransformer, ViT
from vision_attn.spec import InputError


def from_timm(source: nn.Module, *, image_size: int | None = None) -> VisionTransformer:
    """Our trunk with the weights of a timm `VisionTransformer`, such as vit_tiny_patch16_224 or DeiT; the same logits.

    Class token, registers, LayerScale (folded into the projections before it) and mean pooling behind which the norm
    stands are understood. With another `image_size` than the source's the grid of position embeddings is
    interpolated as timm does (bicubic, antialiased). Raises `InputError` for a model with parts that the trunk does
    not have, and names them.
    """
    from timm.models import vision_transformer

    _require(type(source) is vision_transformer.VisionTransformer, "a VisionTransformer of timm", type(source).__name__)
    assert isinstance(source, vision_transformer.VisionTransformer)
    spec, state = _spec(source), {name: t.detach() for name, t in source.state_dict().items()}
    size = source.patch_embed.img_size[0] if image_size is None else image_size
    module = spec.build(image_size=size, in_chans=source.in_chans, num_classes=source.num_classes)
    assert isinstance(module, VisionTransformer)
    wanted = _prefix_and_position(source, state, module.grid)
    for name in list(state):
        if ".ls" in name:
            continue
        ours = name.replace(".attn.", ".mixer.").replace("fc_norm.", "norm.")
        wanted[f"fc_{ours}" if ours.startswith("norm.") else ours] = _scaled(name, state)
    expected = module.state_dict()
    surplus, missing = sorted(set(wanted) - set(expected)), sorted(set(expected) - set(wanted))
    _require(not surplus and not missing, "of known parts only", f"{', '.join(surplus + missing)}")
    module.load_state_dict(wanted)
    return module.train(source.training)


def replace_attention(model: nn.Module, **switches: Any) -> nn.Module:
    """Swap every `timm.layers.Attention` of the model for ours, in place, and return the model.

    `switches` are the fields of `SelfAttention` other than num_heads: similarity, scale, position, pattern, ... What
    they leave as it was keeps its weights, so that without switches the model computes what it did. Raises
    `InputError` where the model has no such attention or a switch does not fit it.
    """
    from timm.layers import Attention as TimmAttention

    found = [(name, module) for name, module in model.named_modules() if type(module) is TimmAttention]
    if not found:
        raise InputError(f"model must have a timm.layers.Attention. Got a {type(model).__name__} without one instead.")
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is None and {"position", "pattern"} & set(switches):
        raise InputError(
            f"position and pattern need a model with patch_embed.grid_size. {type(model).__name__} has none."
        )
    rows, columns = grid or (1, 1)
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    made = {name: _replacement(module, (rows, columns), prefix, switches) for name, module in found}
    for name, layer in made.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer)
    return model


class BlockAttention(Attention):
    """Attention that the blocks of timm can call."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, **options: Any) -> Tensor:
        """Tokens to tokens. Raises `ValueError` where a block asks for a mask over pairs: a pattern is the way."""
        if attn_mask is not None or is_causal:
            raise ValueError("attn_mask of BlockAttention must be None and is_causal False: give a pattern instead.")
        return super().forward(x, **options)


def _replacement(theirs: nn.Module, grid: tuple[int, int], prefix: int, switches: dict[str, Any]) -> nn.Module:
    """Our layer in the place of theirs, with its weights where they fit."""
    a: Any = theirs
    plain = getattr(a, "gate", None) is None and isinstance(getattr(a, "norm", nn.Identity()), nn.Identity)
    if not plain:
        raise InputError("attention of the model must be without gate and inner norm. Got one with them instead.")
    given = {
        "qkv_bias": a.qkv.bias is not None,
        "qk_norm": not isinstance(a.q_norm, nn.Identity),
        "attn_drop": a.attn_drop.p,
        "proj_drop": a.proj_drop.p,
    }
    own = a.qkv.out_features // 3
    widths = {} if own == a.qkv.in_features else {"key_dim": own, "value_dim": own}
    try:
        spec = SelfAttention(num_heads=a.num_heads, **{**given, **widths, **switches})
    except TypeError:
        allowed = [field.name for field in dataclasses.fields(SelfAttention) if field.name != "num_heads"]
        unknown = ", ".join(sorted(set(switches) - set(allowed)))
        raise InputError(f"switches must be among {', '.join(allowed)}. Got {unknown} instead.") from None
    ours = spec.build(dim=a.qkv.in_features, grid=grid, num_prefix_tokens=prefix)
    assert isinstance(ours, Attention)
    ours.__class__ = BlockAttention
    if a.proj.bias is None:
        ours.proj = nn.Linear(ours.proj.in_features, ours.proj.out_features, bias=False)
    if given["qk_norm"] and spec.qk_norm:
        ours.q_norm, ours.k_norm = a.q_norm, a.k_norm
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    state = a.state_dict()
    if a.qkv.bias is not None:
        state |= {f"qkv.{name}_bias": part for name, part in zip("qkv", a.qkv.bias.chunk(3), strict=True)}
    fitting = {name: tensor for name, tensor in state.items() if shapes.get(name) == tensor.shape}
    ours.load_state_dict(fitting, strict=False)
    return ours.to(a.qkv.weight.device, a.qkv.weight.dtype).train(a.training)


def _spec(source: Any) -> ViT:
    """The spec of our trunk that has the shape of theirs."""
    block, prefix = source.blocks[0], source.num_prefix_tokens
    attention, pool = block.attn, {"token": "token", "avg": "mean"}.get(source.global_pool)
    _require(pool is not None, "pooled by token or avg", source.global_pool)
    behind = pool == "token" or isinstance(source.norm, nn.Identity)
    _require(behind, "with the last norm behind the mean pooling (fc_norm)", "one before it")
    _require(isinstance(source.norm_pre, nn.Identity), "without norm before the blocks", "one with it")
    gelu = isinstance(block.mlp.act, nn.GELU) and block.mlp.act.approximate == "none"
    _require(gelu, "with the activation GELU", type(block.mlp.act).__name__)
    _require(isinstance(attention.q_norm, nn.Identity), "without qk_norm", "one with it")
    drops = [m.p for name, m in source.named_modules() if isinstance(m, nn.Dropout) and ".attn." not in name]
    _require(not any(drops), "without dropout outside attention", max(drops, default=0))
    own = attention.qkv.out_features // 3
    last = source.blocks[-1].drop_path1
    return ViT(
        dim=source.embed_dim,
        depth=len(source.blocks),
        mlp_ratio=block.mlp.fc1.out_features / source.embed_dim,
        patch_size=source.patch_embed.patch_size[0],
        mixer=SelfAttention(
            num_heads=attention.num_heads,
            qkv_bias=attention.qkv.bias is not None,
            key_dim=None if own == source.embed_dim else own,
            value_dim=None if own == source.embed_dim else own,
            attn_drop=attention.attn_drop.p,
            proj_drop=attention.proj_drop.p,
        ),
        position="none" if source.pos_embed is None else "learned",
        drop_path=getattr(last, "drop_prob", 0.0),
        pool=pool,  # type: ignore[arg-type]
        reg_tokens=prefix - (pool == "token"),
    )


def _prefix_and_position(source: Any, state: dict[str, Tensor], grid: tuple[int, int]) -> dict[str, Tensor]:
    """Class token and registers with their positions added, and the positions of the grid, taken out of `state`."""
    out, prefix = {}, [state.pop(name) for name in ("cls_token", "reg_token") if name in state]
    position = state.pop("pos_embed", None)
    number = 0 if source.no_embed_class else source.num_prefix_tokens
    if prefix:
        out["prefix"] = torch.cat(prefix, dim=1)
        if position is not None and number:
            out["prefix"] = out["prefix"] + position[:, :number]
    if position is not None:
        image = position[:, number:].transpose(1, 2).unflatten(2, tuple(source.patch_embed.grid_size))
        if image.shape[2:] != grid:
            image = F.interpolate(image, grid, mode="bicubic", antialias=True)
        out["pos_embed"] = image.flatten(2).transpose(1, 2)
    return out


def _scaled(name: str, state: dict[str, Tensor]) -> Tensor:
    """The tensor of that name, times the LayerScale behind it if there is one."""
    for inner, scale in ((".attn.proj.", ".ls1.gamma"), (".mlp.fc2.", ".ls2.gamma")):
        before, found, _ = name.partition(inner)
        if found and before + scale in state:
            gamma = state[before + scale]
            return state[name] * (gamma[:, None] if state[name].ndim == 2 else gamma)
    return state[name]


def _require(holds: bool, allowed: str, given: Any) -> None:
    if not holds:
        raise InputError(f"source of from_timm must be {allowed}. Got {given} instead.")
