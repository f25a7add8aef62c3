"""Arguments of other libraries: each is refused with the name that it has here."""

import functools
import inspect
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

P = ParamSpec("P")
OURS = {
    "embed_dim": "dim",
    "d_model": "dim",
    "hidden_size": "dim",
    "in_features": "dim",
    "heads": "num_heads",
    "n_heads": "num_heads",
    "n_head": "num_heads",
    "nhead": "num_heads",
    "num_attention_heads": "num_heads",
    "bias": "qkv_bias",
    "use_bias": "qkv_bias",
    "out_bias": "proj_bias",
    "dropout": "attn_drop",
    "attn_dropout": "attn_drop",
    "attention_dropout": "attn_drop",
    "attention_probs_dropout_prob": "attn_drop",
    "proj_dropout": "proj_drop",
    "hidden_dropout_prob": "proj_drop",
    "use_qk_norm": "qk_norm",
    "qk_layernorm": "qk_norm",
    "qk_scale": "scale",
    "softmax_scale": "scale",
    "dim_head": "key_dim, the width over all heads",
    "head_dim": "key_dim, the width over all heads",
    "attn_head_dim": "key_dim, the width over all heads",
    "kdim": "context_dim",
    "vdim": "context_dim",
    "cross_attention_dim": "context_dim",
    "encoder_dim": "context_dim",
    "window_size": "pattern_size, with pattern='window'",
    "shift_size": "pattern='shifted_window'",
    "sr_ratio": "pattern_size, with pattern='reduced'",
    "kernel_size": "pattern_size, with pattern='neighbourhood'",
    "rope": "position='rotary'",
    "use_rope": "position='rotary'",
    "use_rel_pos": "position='relative'",
    "rel_pos": "position='relative'",
    "rel_pos_bias": "position='relative'",
    "fused_attn": "path",
    "attn_type": "path",
    "feat_size": "grid",
    "input_size": "grid",
    "input_resolution": "grid",
    "hw_shape": "grid",
    "H": "grid, with W",
    "W": "grid, with H",
    "mask": "attn_mask, True where a query may see a key",
    "attention_mask": "attn_mask, True where a query may see a key",
    "attn_bias": "attn_mask, floating",
    "attention_bias": "attn_mask, floating",
    "src_mask": "attn_mask, True where a query may see a key",
    "padding_mask": "key_padding_mask, True at the keys that none may see",
    "src_key_padding_mask": "key_padding_mask, True at the keys that none may see",
    "context_mask": "key_padding_mask, True at the keys that none may see",
    "causal": "is_causal",
    "kv": "context",
    "key": "context",
    "value": "context",
    "memory": "context",
    "encoder_hidden_states": "context",
    "need_weights": "the method weights",
    "average_attn_weights": "the method weights, over whose heads .mean(1) is the average",
    "output_attentions": "the method weights",
    "return_attention": "the method weights",
    "query": "x",
    "hidden_states": "x",
}
"""Names that other libraries have for our arguments."""


def no_others(
    what: str, given: Mapping[str, Any], *, but: Container[str] | None = None, by_place: tuple[Any, ...] = ()
) -> None:
    """Raise `TypeError` for an argument of another library, with the name that it has here.

    Without `but`, the names that are ours, any argument at all is one too many, as are those given by place.
    """
    if by_place:
        rest = "queries, keys and values all come from it, or keys and values from context="
        raise TypeError(f"{what} takes x alone by its place: {rest}. Got {1 + len(by_place)} instead.")
    for name in given:
        if name in OURS and (but is None or name not in but):
            raise TypeError(f"{what} has no argument {name!r}: here it is {OURS[name]}.")
        if but is None:
            raise TypeError(f"{what} has no argument {name!r}.")


def in_our_names(init: Callable[Concatenate["Attention", P], None]) -> Callable[Concatenate["Attention", P], None]:
    """The `__init__` of Attention, which refuses arguments of other libraries with the name that they have here.

    Its signature stays to be read, as `torch.nn.utils.skip_init` does.
    """
    known = inspect.signature(init).parameters

    @functools.wraps(init)
    def checked(layer: "Attention", /, *given: P.args, **options: P.kwargs) -> None:
        no_others("Attention", options, but=known)
        init(layer, *given, **options)

    return checked
