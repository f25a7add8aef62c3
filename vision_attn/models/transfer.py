"""The weights of a timm ViT in our trunk: the same logits, or a refusal that names the setting in the way."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.models.drop_path import drop_path_rates
from vision_attn.models.input_size import a_size, allow_any_size
from vision_attn.models.mixers import SelfAttention
from vision_attn.models.trunk import VisionTransformer, ViT
from vision_attn.spec import InputError

POOLS = {"token": "token", "avg": "mean"}


def from_timm(source: nn.Module, *, image_size: int | None = None) -> VisionTransformer:
    """Our trunk with the weights of a timm `VisionTransformer`, such as vit_tiny_patch16_224 or DeiT; the same logits.

    Class token, registers, LayerScale (folded into the projections before it) and mean pooling behind which the norm
    stands are understood. With `image_size` the model takes square images of that size; where the source takes
    others, the grid of position embeddings is interpolated as timm does (bicubic, antialiased). Without it the size
    is that of the source, square or not; with `dynamic_img_size` there, any size is taken here, too. The module has
    the source's type and device, its training mode, and parameters as frozen as they are there; the global generator
    is left as it is.

    Raises `InputError` for a model with a setting that the trunk does not have, and names it.
    """
    from timm.models import vision_transformer

    _require(type(source) is vision_transformer.VisionTransformer, "a VisionTransformer of timm", type(source).__name__)
    assert isinstance(source, vision_transformer.VisionTransformer)
    _check_type(source)
    _check_outside_blocks(source)
    for number, block in enumerate(source.blocks):
        _check_block(block, f"blocks.{number}")
    size = _size(source, image_size)
    with torch.random.fork_rng(devices=[]):
        module = _spec(source).build(image_size=size, in_chans=source.in_chans, num_classes=_num_classes(source))
    assert isinstance(module, VisionTransformer)
    state = {name: tensor.detach() for name, tensor in source.state_dict().items()}
    wanted = _prefix_and_position(source, state, module.grid)
    wanted |= {_our_name(name): _scaled(name, state) for name in state if ".ls" not in name}
    expected = module.state_dict()
    surplus, missing = sorted(set(wanted) - set(expected)), sorted(set(expected) - set(wanted))
    _require(not surplus and not missing, "of known parts only", ", ".join(surplus + missing))
    like = source.patch_embed.proj.weight
    module.to(like.device, like.dtype).load_state_dict(wanted)
    trained = {_our_name(name) for name, parameter in source.named_parameters() if parameter.requires_grad}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    if source.dynamic_img_size and not source.patch_embed.dynamic_img_pad:
        allow_any_size(module)
    return module.train(source.training)


def _our_name(name: str) -> str:
    """The parameter of the trunk that takes the weights of theirs."""
    if name in ("cls_token", "reg_token"):
        return "prefix"
    ours = name.replace(".attn.", ".mixer.").replace("fc_norm.", "norm.")
    return f"fc_{ours}" if ours.startswith("norm.") else ours


def _check_type(source: nn.Module) -> None:
    """Weights of one type in which sums and products of them are exact enough."""
    types = {parameter.dtype for parameter in source.parameters()}
    names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in types))
    exact = types in ({torch.float32}, {torch.float64})
    _require(exact, "in float32 or float64 (source.float() converts it), for folded weights would be rounded", names)


def _check_outside_blocks(source: Any) -> None:
    """Patch embedding, positions, pooling, norm and head are those of the trunk."""
    from timm.layers import PatchEmbed

    embed = source.patch_embed
    _require(type(embed) is PatchEmbed, "with embed_layer PatchEmbed", type(embed).__name__)
    _require(_is_nothing(embed.norm), "without embed_norm_layer", type(embed.norm).__name__)
    _require(embed.patch_size[0] == embed.patch_size[1], "with a square patch_size", embed.patch_size)
    _require(
        _is_nothing(source.norm_pre), "without pre_norm (a norm before the blocks)", type(source.norm_pre).__name__
    )
    _require(embed.proj.bias is not None, "with a bias of patch_embed.proj", "none")
    _require(_is_nothing(source.patch_drop), "without patch_drop_rate", getattr(source.patch_drop, "prob", "one"))
    _require(source.pos_drop.p == 0, "without pos_drop_rate", source.pos_drop.p)
    _require(source.attn_pool is None and source.global_pool in POOLS, "of global_pool token or avg", _pool(source))
    counted = source.global_pool == "avg" and source.num_prefix_tokens
    _require(not (counted and source.pool_include_prefix), "without pool_include_prefix", True)
    last = [norm for norm in (source.norm, source.fc_norm) if not _is_nothing(norm)]
    _require(len(last) == 1, "with one norm behind the blocks (final_norm)", f"{len(last)} of them")
    behind = source.global_pool == "token" or last[0] is source.fc_norm
    _require(behind, "with fc_norm (the last norm behind the mean pooling)", "one before it")
    _check_norm(last[0], "the last norm")
    plain = type(source.head) in (nn.Linear, nn.Identity) and getattr(source.head, "bias", True) is not None
    _require(plain, "with a linear head with bias", type(source.head).__name__)


def _check_block(block: Any, where: str) -> None:
    """A pre-norm block of softmax attention and an MLP with GELU."""
    from timm import layers
    from timm.models.vision_transformer import Block

    _require(type(block) is Block, "with the block_fn Block", f"{type(block).__name__} at {where}")
    attention, mlp = block.attn, block.mlp
    kind = f"{type(attention).__module__.partition('.')[0]}'s {type(attention).__name__} at {where}.attn"
    _require(type(attention) is layers.Attention, "with the attn_layer timm.layers.Attention", kind)
    _require(_is_nothing(attention.q_norm), "without qk_norm", type(attention.q_norm).__name__)
    norm = getattr(attention, "norm", None)
    _require(_is_nothing(norm), "without scale_attn_norm", type(norm).__name__)
    _require(getattr(attention, "gate", None) is None, "without a gate in attention (gated)", f"one at {where}.attn")
    _require(type(mlp) is layers.Mlp, "with the mlp_layer Mlp", f"{type(mlp).__name__} at {where}.mlp")
    _require(_is_nothing(mlp.norm), "without scale_mlp_norm", type(mlp.norm).__name__)
    gelu = (type(mlp.act) is nn.GELU and mlp.act.approximate == "none") or type(mlp.act) is layers.activations.GELU
    _require(gelu, "with the act_layer GELU", f"{mlp.act!r} at {where}.mlp")
    biased = None not in (attention.proj.bias, mlp.fc1.bias, mlp.fc2.bias)
    _require(biased, "with proj_bias", f"none at {where}")
    drop = max(mlp.drop1.p, mlp.drop2.p)
    _require(drop == 0, "without dropout in the MLP (proj_drop_rate)", f"{drop} at {where}.mlp")
    for name in ("norm1", "norm2"):
        _check_norm(getattr(block, name), f"{where}.{name}")
    for name in ("ls1", "ls2"):
        scale = getattr(block, name)
        known = _is_nothing(scale) or type(scale) is layers.LayerScale
        _require(known, "with LayerScale or nothing behind a branch", f"{type(scale).__name__} at {where}.{name}")


def _check_norm(norm: nn.Module, where: str) -> None:
    """A LayerNorm as the trunk has."""
    from timm.layers import LayerNorm

    known = type(norm) in (nn.LayerNorm, LayerNorm)
    _require(known, "with the norm_layer LayerNorm", f"{type(norm).__name__} at {where}")
    assert isinstance(norm, nn.LayerNorm)
    _require(norm.eps == 1e-6, "with a norm_layer of eps = 1e-06", f"eps = {norm.eps:g} at {where}")


def _size(source: Any, image_size: int | None) -> int | tuple[int, int]:
    """The size of the images that the trunk shall take, one number for squares."""
    embed = source.patch_embed
    if image_size is not None:
        whole = type(image_size) is int and image_size >= embed.patch_size[0]
        if not whole:
            allowed = f"a whole number, at least the patch size {embed.patch_size[0]}"
            raise InputError(f"image_size of from_timm must be {allowed}. Got {image_size!r} instead.")
        return image_size
    hint = "unless image_size is given"
    _require(not embed.dynamic_img_pad, f"without dynamic_img_pad {hint}", True)
    whole = all(side % embed.patch_size[0] == 0 for side in embed.img_size)
    _require(whole, f"of an img_size that patch_size {embed.patch_size[0]} divides {hint}", embed.img_size)
    return a_size(tuple(map(int, embed.img_size)), "img_size of source")


def _num_classes(source: Any) -> int:
    return source.head.out_features if isinstance(source.head, nn.Linear) else 0


def _pool(source: Any) -> str:
    return repr(source.global_pool) if source.attn_pool is None else type(source.attn_pool).__name__


def _spec(source: Any) -> ViT:
    """The spec of our trunk that has the shape of theirs."""
    settings = {
        "num_heads": [block.attn.num_heads for block in source.blocks],
        "attn_head_dim": [block.attn.head_dim for block in source.blocks],
        "qkv_bias": [block.attn.qkv.bias is not None for block in source.blocks],
        "attn_drop_rate": [block.attn.attn_drop.p for block in source.blocks],
        "proj_drop_rate": [block.attn.proj_drop.p for block in source.blocks],
        "mlp_ratio": [block.mlp.fc1.out_features / source.embed_dim for block in source.blocks],
    }
    for field, values in settings.items():
        _require(len(set(values)) == 1, f"of the same {field} in every block", values)
    shared = {field: values[0] for field, values in settings.items()}
    own = shared["num_heads"] * shared["attn_head_dim"]
    return ViT(
        dim=source.embed_dim,
        depth=len(source.blocks),
        mlp_ratio=shared["mlp_ratio"],
        patch_size=source.patch_embed.patch_size[0],
        mixer=SelfAttention(
            num_heads=shared["num_heads"],
            qkv_bias=shared["qkv_bias"],
            key_dim=None if own == source.embed_dim else own,
            value_dim=None if own == source.embed_dim else own,
            attn_drop=shared["attn_drop_rate"],
            proj_drop=shared["proj_drop_rate"],
        ),
        position="none" if source.pos_embed is None else "learned",
        drop_path=_drop_path(source.blocks),
        drop_rate=source.head_drop.p,
        pool=POOLS[source.global_pool],  # type: ignore[arg-type]
        reg_tokens=source.num_prefix_tokens - (source.global_pool == "token"),
    )


def _drop_path(blocks: nn.Sequential) -> float:
    """The rate of the last block; those before it must rise to it in equal steps from 0."""
    paths = [(block.drop_path1, block.drop_path2) for block in blocks]
    rates = [tuple(float(getattr(path, "drop_prob", 0.0)) for path in pair) for pair in paths]
    ours = drop_path_rates(rates[-1][0], len(rates))
    rising = all(abs(rate - due) < 1e-6 for pair, due in zip(rates, ours, strict=True) for rate in pair)
    _require(rising, "of a drop_path_rate that rises from 0 in equal steps", [first for first, _ in rates])
    return rates[-1][0]


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


def _is_nothing(module: nn.Module | None) -> bool:
    return module is None or type(module) is nn.Identity


def _require(holds: bool, allowed: str, given: Any) -> None:
    if not holds:
        raise InputError(f"source of from_timm must be {allowed}. Got {given} instead.")
