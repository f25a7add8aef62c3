"""The weights of a timm ViT in our trunk: the same logits, or a refusal that names the setting in the way."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.named import PositionName
from vision_attn.layers.places import grid_known
from vision_attn.layers.relative import PREFIX_OFFSETS
from vision_attn.models.drop_path import drop_path_rates
from vision_attn.models.input_size import a_size, allow_any_size
from vision_attn.models.mixers import SelfAttention
from vision_attn.models.timm_layers import has_separate_biases, head_dim, rate
from vision_attn.models.transferable import POOLS, check, require
from vision_attn.models.trunk import VisionTransformer, ViT
from vision_attn.spec import InputError

TABLE = ".relative_position_bias_table"


def from_timm(source: nn.Module, *, image_size: int | None = None) -> VisionTransformer:
    """Our trunk with the weights of timm's `VisionTransformer` (ViT, DeiT, DINOv2, ...) or `Beit`; the same logits.

    Class token, registers, LayerScale (folded into the projections before it) and mean pooling behind which the norm
    stands are understood. With `image_size` the model takes square images of that size; where the source takes
    others, position embeddings and relative tables are interpolated as timm does. Without it the size
    is that of the source, square or not; with `dynamic_img_size` there, any size is taken here, too. The module has
    the source's type and device, its training mode, and parameters as frozen as they are there; the global generator
    is left as it is.

    Raises `InputError` for a model with a setting that the trunk does not have, and names it.
    """
    check(source)
    shape: dict[str, Any] = {"in_chans": source.in_chans, "num_classes": _num_classes(source)}
    with torch.random.fork_rng(devices=[]):
        module: Any = _spec(source).build(image_size=_size(source, image_size), **shape)
    assert isinstance(module, VisionTransformer)
    state = {name: tensor.detach() for name, tensor in source.state_dict().items()}
    wanted = _prefix_and_position(source, state, module.grid)
    _fit_tables(source, state, module.grid)
    scales = (".ls1.gamma", ".ls2.gamma", ".gamma_1", ".gamma_2")
    wanted |= {_our_name(name): _scaled(name, state) for name in state if not name.endswith(scales)}
    expected = module.state_dict()
    surplus, missing = sorted(set(wanted) - set(expected)), sorted(set(expected) - set(wanted))
    require(not surplus and not missing, "of known parts only", ", ".join(surplus + missing))
    like = next(source.parameters())
    with grid_known(module):
        module.to(like.device, like.dtype).load_state_dict(wanted)
    trained = {_our_name(name) for name, parameter in source.named_parameters() if parameter.requires_grad}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    if _takes_any_size(source):
        allow_any_size(module)
    return module.train(source.training)


def _our_name(name: str) -> str:
    """The parameter of the trunk that takes the weights of theirs."""
    if name in ("cls_token", "reg_token"):
        return "prefix"
    ours = name.replace(".attn.", ".mixer.").replace("fc_norm.", "norm.")
    for theirs, inner in ((TABLE, ".position"), (".q_bias", ".qkv"), (".v_bias", ".qkv")):
        ours = ours.removesuffix(theirs) + inner + theirs if ours.endswith(theirs) else ours
    return f"fc_{ours}" if ours.startswith("norm.") else ours


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
    require(not embed.dynamic_img_pad, f"without dynamic_img_pad {hint}", True)
    whole = all(side % embed.patch_size[0] == 0 for side in embed.img_size)
    require(whole, f"of an img_size that patch_size {embed.patch_size[0]} divides {hint}", embed.img_size)
    return a_size(tuple(map(int, embed.img_size)), "img_size of source")


def _takes_any_size(source: Any) -> bool:
    return getattr(source, "dynamic_img_size", False) and not source.patch_embed.dynamic_img_pad


def _num_classes(source: Any) -> int:
    return source.head.out_features if isinstance(source.head, nn.Linear) else 0


def _spec(source: Any) -> ViT:
    """The spec of our trunk that has the shape of theirs."""
    settings = {
        "num_heads": [block.attn.num_heads for block in source.blocks],
        "attn_head_dim": [head_dim(block.attn) for block in source.blocks],
        "qkv_bias": [block.attn.qkv.bias is not None or has_separate_biases(block.attn) for block in source.blocks],
        "k_bias": [False if has_separate_biases(block.attn) else None for block in source.blocks],
        "position": [_relative(block.attn) for block in source.blocks],
        "attn_drop_rate": [rate(block.attn.attn_drop) for block in source.blocks],
        "proj_drop_rate": [rate(block.attn.proj_drop) for block in source.blocks],
        "mlp_ratio": [block.mlp.fc1.out_features / source.embed_dim for block in source.blocks],
    }
    for field, values in settings.items():
        require(len(set(values)) == 1, f"of the same {field} in every block", values)
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
            k_bias=shared["k_bias"],
            position=shared["position"],
            key_dim=None if own == source.embed_dim else own,
            value_dim=None if own == source.embed_dim else own,
            attn_drop=shared["attn_drop_rate"],
            proj_drop=shared["proj_drop_rate"],
        ),
        position="none" if source.pos_embed is None else "learned",
        drop_path=_drop_path(source.blocks),
        drop_rate=rate(source.head_drop),
        pool=POOLS[source.global_pool],  # type: ignore[arg-type]
        reg_tokens=source.num_prefix_tokens - (source.global_pool == "token"),
    )


def _relative(attention: Any) -> PositionName:
    return "relative_with_prefix" if getattr(attention, "window_size", None) else "none"


def _fit_tables(source: Any, state: dict[str, Tensor], grid: tuple[int, int]) -> None:
    """Relative tables in `state` brought to a grid, as timm does."""
    from timm.layers import resize_rel_pos_bias_table

    own = tuple(source.patch_embed.grid_size)
    offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1) + PREFIX_OFFSETS
    for name, table in state.items():
        if name.endswith(TABLE) and own != grid:
            shape = (offsets, table.shape[1])
            state[name] = resize_rel_pos_bias_table(table, grid, shape, old_window_size=own).to(table)


def _drop_path(blocks: nn.Sequential) -> float:
    """The rate of the last block; those before it must rise to it in equal steps from 0."""
    paths = [(block.drop_path1, block.drop_path2) for block in blocks]
    rates = [tuple(float(getattr(path, "drop_prob", 0.0)) for path in pair) for pair in paths]
    ours = drop_path_rates(rates[-1][0], len(rates))
    rising = all(abs(rate - due) < 1e-6 for pair, due in zip(rates, ours, strict=True) for rate in pair)
    require(rising, "of a drop_path_rate that rises from 0 in equal steps", [first for first, _ in rates])
    return rates[-1][0]


def _prefix_and_position(source: Any, state: dict[str, Tensor], grid: tuple[int, int]) -> dict[str, Tensor]:
    """Class token and registers with their positions added, and the positions of the grid, taken out of `state`."""
    out, prefix = {}, [state.pop(name) for name in ("cls_token", "reg_token") if name in state]
    position = state.pop("pos_embed", None)
    number = 0 if getattr(source, "no_embed_class", False) else source.num_prefix_tokens
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
    for inner, scales in ((".attn.proj.", (".ls1.gamma", ".gamma_1")), (".mlp.fc2.", (".ls2.gamma", ".gamma_2"))):
        before, found, _ = name.partition(inner)
        for gamma in (state[before + scale] for scale in scales if found and before + scale in state):
            return state[name] * (gamma[:, None] if state[name].ndim == 2 else gamma)
    return state[name]
