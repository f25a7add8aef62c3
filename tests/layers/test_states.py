"""Stored weights of timm's layers: the same outputs, without renaming by hand, or a sentence that says why not."""

import pytest
import timm
import torch
from timm.models import beit, swin_transformer

from vision_attn.layers import Attention, RelativeBias

DIM, HEADS, GRID = 16, 2, (4, 4)


def stirred(layer):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        if isinstance(getattr(layer, "k_bias", None), torch.Tensor):
            layer.k_bias.zero_()
    return layer.eval()


def tokens(number):
    return torch.randn(3, number, DIM, generator=torch.Generator().manual_seed(1))


def relative(**options):
    return Attention(DIM, HEADS, position=RelativeBias(GRID, HEADS), grid=GRID, **options).eval()


def test_that_of_swin_is_loaded_as_it_is():
    theirs, ours = stirred(swin_transformer.WindowAttention(DIM, HEADS, window_size=GRID)), relative()
    state = theirs.state_dict()
    ours.load_state_dict(state, strict=True)
    assert set(state) == set(theirs.state_dict())  # the caller's stays as it was
    torch.testing.assert_close(ours(tokens(16)), theirs(tokens(16)), rtol=1e-5, atol=1e-5)


def test_so_it_is_within_a_model_and_with_the_index_that_older_files_hold():
    theirs = stirred(swin_transformer.WindowAttention(DIM, HEADS, window_size=GRID))
    state = {f"blocks.0.{name}": value for name, value in theirs.state_dict().items()}
    state["blocks.0.relative_position_index"] = theirs.relative_position_index
    model = torch.nn.ModuleDict({"blocks": torch.nn.Sequential(relative())})
    model.load_state_dict(state, strict=True)
    torch.testing.assert_close(model["blocks"](tokens(16)), theirs(tokens(16)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"k_bias": False}], ids=str)
def test_that_of_beit_is_loaded_with_its_biases_of_queries_and_values(options):
    theirs, ours = stirred(beit.Attention(DIM, HEADS, qkv_bias=True)), Attention(DIM, HEADS, **options).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(ours(tokens(17)), theirs(tokens(17)), rtol=1e-5, atol=1e-5)


def test_beits_relative_bias_is_loaded_where_the_class_token_has_none():
    theirs = stirred(beit.Attention(DIM, HEADS, qkv_bias=True, window_size=GRID))
    ours = relative(num_prefix_tokens=1, k_bias=False)
    with pytest.raises(ValueError, match=r"^relative_position_bias_table of the state must be 0 for offsets to and fr"):
        ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        theirs.relative_position_bias_table[-3:] = 0
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(ours(tokens(17)), theirs(tokens(17)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k_bias", [True, False])
def test_beits_relative_bias_is_loaded_whole_where_the_prefix_has_one_here(k_bias):
    theirs = stirred(beit.Attention(DIM, HEADS, qkv_bias=True, window_size=GRID))
    options = {"position": "relative_with_prefix", "grid": GRID, "num_prefix_tokens": 1, "k_bias": k_bias}
    ours = Attention(DIM, HEADS, **options).eval()
    ours.load_state_dict({**theirs.state_dict(), "relative_position_index": theirs.relative_position_index})
    torch.testing.assert_close(ours(tokens(17)), theirs(tokens(17)), rtol=1e-5, atol=1e-5)


def test_what_has_no_place_is_named():
    theirs = stirred(swin_transformer.WindowAttention(DIM, HEADS, window_size=(7, 7)))
    with pytest.raises(RuntimeError, match=r"size mismatch for position\.relative_position_bias_table"):
        relative().load_state_dict(theirs.state_dict())
    with pytest.raises(RuntimeError, match="relative_position_bias_table"):
        Attention(DIM, HEADS).load_state_dict(theirs.state_dict())
    biased = {**Attention(DIM, HEADS, k_bias=False).state_dict(), "k_bias": torch.ones(DIM)}
    with pytest.raises(ValueError, match=r"^k_bias of Attention must be True for a state with that bias. Got False in"):
        Attention(DIM, HEADS, k_bias=False).load_state_dict(biased)
    v2 = timm.models.swin_transformer_v2.WindowAttention(DIM, window_size=GRID, num_heads=HEADS)
    with pytest.raises(RuntimeError, match="cpb_mlp"):
        relative(similarity="cosine").load_state_dict(v2.state_dict())
