"""What a model of timm must be for the trunk to compute the same: every setting that the trunk does not have, named."""

from typing import Any

import torch
from torch import nn

from vision_attn.models.timm_layers import has_usual_scale, is_nothing, rate
from vision_attn.spec import InputError

POOLS = {"token": "token", "avg": "mean"}


def check(source: Any) -> None:
    """Raise `InputError` where the trunk with the weights of the source would compute something else."""
    from timm.models import beit, vision_transformer

    known = type(source) in (vision_transformer.VisionTransformer, beit.Beit)
    require(known, "a VisionTransformer or Beit of timm", type(source).__name__)
    _check_type(source)
    _check_outside_blocks(source)
    for number, block in enumerate(source.blocks):
        _check_block(block, f"blocks.{number}")
    for name, module in source.named_modules():
        _check_forward(module, name or "the top")


def _check_type(source: nn.Module) -> None:
    """Weights of one type in which sums and products of them are exact enough."""
    types = {parameter.dtype for parameter in source.parameters()}
    names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in types))
    exact = types in ({torch.float32}, {torch.float64})
    require(exact, "in float32 or float64 (source.float() converts it), for folded weights would be rounded", names)


def _check_outside_blocks(source: Any) -> None:
    """Patch embedding, positions, pooling, norm and head are those of the trunk."""
    from timm.layers import PatchEmbed

    embed = source.patch_embed
    require(type(embed) is PatchEmbed, "with embed_layer PatchEmbed", type(embed).__name__)
    require(is_nothing(embed.norm), "without embed_norm_layer", type(embed.norm).__name__)
    require(embed.patch_size[0] == embed.patch_size[1], "with a square patch_size", embed.patch_size)
    require(
        is_nothing(getattr(source, "norm_pre", None)),
        "without pre_norm (a norm before the blocks)",
        type(getattr(source, "norm_pre", None)).__name__,
    )
    _check_linear(embed.proj, "patch_embed.proj", nn.Conv2d)
    require(embed.proj.bias is not None, "with a bias of patch_embed.proj", "none")
    patch_drop = getattr(source, "patch_drop", None)
    require(is_nothing(patch_drop), "without patch_drop_rate", getattr(patch_drop, "prob", "one"))
    require(rate(source.pos_drop) == 0, "without pos_drop_rate", rate(source.pos_drop))
    shared = getattr(source, "rel_pos_bias", None)
    require(shared is None, "without use_shared_rel_pos_bias", "one table of all blocks")
    pooled = getattr(source, "attn_pool", None) is None and source.global_pool in POOLS
    require(pooled, "of global_pool token or avg", _pool(source))
    counted = source.global_pool == "avg" and source.num_prefix_tokens
    require(not (counted and getattr(source, "pool_include_prefix", False)), "without pool_include_prefix", True)
    last = [norm for norm in (source.norm, source.fc_norm) if not is_nothing(norm)]
    require(len(last) == 1, "with one norm behind the blocks (final_norm)", f"{len(last)} of them")
    behind = source.global_pool == "token" or last[0] is source.fc_norm
    require(behind, "with fc_norm (the last norm behind the mean pooling)", "one before it")
    _check_norm(last[0], "the last norm")
    plain = type(source.head) in (nn.Linear, nn.Identity) and getattr(source.head, "bias", True) is not None
    require(plain, "with a linear head with bias", type(source.head).__name__)


def _check_block(block: Any, where: str) -> None:
    """A pre-norm block of softmax attention and an MLP with GELU."""
    from timm import layers
    from timm.models import beit, vision_transformer

    known = type(block) in (vision_transformer.Block, beit.Block)
    require(known, "with the block_fn Block", f"{type(block).__name__} at {where}")
    attention, mlp = block.attn, block.mlp
    kind = f"{type(attention).__module__.partition('.')[0]}'s {type(attention).__name__} at {where}.attn"
    own = layers.Attention if type(block) is vision_transformer.Block else beit.Attention
    require(type(attention) is own, "with the attn_layer timm.layers.Attention, or that of BEiT", kind)
    norms = [norm for norm in (getattr(attention, f"{name}_norm", None) for name in "qk") if not is_nothing(norm)]
    require(not norms, "without qk_norm", "".join(type(norm).__name__ for norm in norms[:1]))
    norm = getattr(attention, "norm", None)
    require(is_nothing(norm), "without scale_attn_norm", type(norm).__name__)
    require(getattr(attention, "gate", None) is None, "without a gate in attention (gated)", f"one at {where}.attn")
    require(type(mlp) is layers.Mlp, "with the mlp_layer Mlp", f"{type(mlp).__name__} at {where}.mlp")
    require(is_nothing(mlp.norm), "without scale_mlp_norm", type(mlp.norm).__name__)
    gelu = (type(mlp.act) is nn.GELU and mlp.act.approximate == "none") or type(mlp.act) is layers.activations.GELU
    require(gelu, "with the act_layer GELU", f"{mlp.act!r} at {where}.mlp")
    linear = {"attn.qkv": attention.qkv, "attn.proj": attention.proj, "mlp.fc1": mlp.fc1, "mlp.fc2": mlp.fc2}
    for name, module in linear.items():
        _check_linear(module, f"{where}.{name}", nn.Linear)
    biased = None not in (attention.proj.bias, mlp.fc1.bias, mlp.fc2.bias)
    require(biased, "with proj_bias", f"none at {where}")
    require(has_usual_scale(attention), "of the scale 1/sqrt(head_dim)", f"{attention.scale:.4g} at {where}.attn")
    drop = max(rate(mlp.drop1), rate(mlp.drop2))
    require(drop == 0, "without dropout in the MLP (proj_drop_rate)", f"{drop} at {where}.mlp")
    for name in ("norm1", "norm2"):
        _check_norm(getattr(block, name), f"{where}.{name}")
    for name in ("ls1", "ls2"):
        scale = getattr(block, name, None)
        known = is_nothing(scale) or type(scale) is layers.LayerScale
        require(known, "with LayerScale or nothing behind a branch", f"{type(scale).__name__} at {where}.{name}")


def _check_linear(module: nn.Module, where: str, kind: type[nn.Module]) -> None:
    """No wrapper, subclass or parametrisation of it, as of LoRA, quantisation or weight norm."""
    require(type(module) is kind, f"with a plain {kind.__name__} at {where}", type(module).__name__)


def _check_forward(module: nn.Module, where: str) -> None:
    """Nothing changes what it computes: that is lost where its weights alone are taken."""
    require("forward" not in vars(module), "without a forward set by hand", f"one at {where}")
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    require(not hooks, "without hooks on its forward passes, which may change them", f"one at {where}")


def _check_norm(norm: nn.Module, where: str) -> None:
    """A LayerNorm as the trunk has."""
    from timm.layers import LayerNorm

    known = type(norm) in (nn.LayerNorm, LayerNorm)
    require(known, "with the norm_layer LayerNorm", f"{type(norm).__name__} at {where}")
    assert isinstance(norm, nn.LayerNorm)
    require(norm.eps == 1e-6, "with a norm_layer of eps = 1e-06", f"eps = {norm.eps:g} at {where}")


def _pool(source: Any) -> str:
    pool = getattr(source, "attn_pool", None)
    return repr(source.global_pool) if pool is None else type(pool).__name__


def require(holds: bool, allowed: str, given: Any) -> None:
    if not holds:
        raise InputError(f"source of from_timm must be {allowed}. Got {given} instead.")
