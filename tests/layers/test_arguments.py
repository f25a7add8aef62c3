"""Arguments by name, those of other libraries, and sizes at their ends."""

import pytest
import torch
from switches import DIM, HEADS, PATTERNS, image_tokens, made

from vision_attn.layers import Attention, RelativeBias, Window


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ({"embed_dim": 8}, "dim"),
        ({"dim": 8, "heads": 2}, "num_heads"),
        ({"dim": 8, "bias": 0}, "qkv_"),
        ({"dim": 8, "use_rope": 1}, "position"),
    ],
)
def test_arguments_of_other_libraries_are_named_as_here(given, ours):
    with pytest.raises(TypeError, match=f"here it is {ours}"):
        Attention(**given)


def test_a_mask_of_another_name_is_named_as_here():
    for call in (made(), made().weights):
        with pytest.raises(TypeError, match="has no argument 'mask': here it is attn_mask"):
            call(image_tokens(), mask=None)


def test_queries_keys_and_values_by_place_are_told_how_they_are_given_here():
    layer, x = made(), image_tokens()
    for call in (layer, layer.weights):
        with pytest.raises(TypeError, match=r"takes x alone by its place: .* or keys and values from context=\. Got 3"):
            call(x, x, x)
    with pytest.raises(TypeError, match="here it is the method weights"):
        layer(x, average_attn_weights=False)


def test_the_scale_may_be_a_number_and_is_one():
    assert Attention(DIM, HEADS).scale == (DIM // HEADS) ** -0.5
    x = image_tokens()
    torch.testing.assert_close(made(scale=0.5)(x), made(scale="sqrt")(x), rtol=0, atol=0)
    assert made("cosine").scale.shape == (HEADS, 1, 1)


@pytest.mark.parametrize("options", [{"num_heads": 2.0}, {"position": RelativeBias((8, 8), 2), "pattern": Window(4)}])
def test_what_does_not_fit_is_refused(options):
    with pytest.raises(ValueError, match="of Attention must be"):
        Attention(DIM, **{"num_heads": HEADS, **options})


@pytest.mark.parametrize("pattern", [None, Window(2)])
def test_the_size_of_a_pattern_that_has_no_name_is_refused(pattern):
    with pytest.raises(ValueError, match=r"^pattern_size of Attention must be left out .* not a name\. Got 3"):
        Attention(8, num_heads=2, pattern=pattern, pattern_size=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tokens_and_no_samples_are_taken(dtype):
    for path in ("auto", "math"):
        layer = Attention(DIM, HEADS, path=path, device="cpu", dtype=dtype)
        for shape in ((2, 0, DIM), (0, 4, DIM)):
            assert layer(torch.randn(shape, dtype=dtype)).shape == shape
            assert layer.weights(torch.randn(shape, dtype=dtype)).shape == (shape[0], HEADS, shape[1], shape[1])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_samples_are_taken_where_tokens_are_cut_into_groups(pattern):
    layer, x = made(pattern=pattern, grid=(16, 16)), image_tokens(256)[:0].requires_grad_()
    layer(x).sum().backward()
    assert x.grad.shape == layer(x).shape == (0, 256, DIM)
    assert layer.weights(x).shape[0] == 0


def test_dropout_is_on_where_its_module_is_in_training():
    for path in ("auto", "fused", "math"):
        layer, x = made(attn_drop=0.5, path=path), image_tokens()
        plain = layer(x)
        layer.attn_drop.train()
        assert not torch.allclose(layer(x), plain)


def ragged(layout):
    return torch.nested.nested_tensor([torch.randn(5, DIM), torch.randn(9, DIM)], layout=layout)


@pytest.mark.parametrize("options", [{}, {"pattern": "reduced"}, {"similarity": "cosine"}], ids=str)
@pytest.mark.parametrize("call", ["forward", "weights", "heads"])
def test_tokens_without_a_number_at_every_place_are_refused(call, options):
    ask = getattr(made(**options), call)
    for x in (ragged(torch.jagged), ragged(torch.strided), image_tokens().to_sparse()):
        with pytest.raises(ValueError, match=r"^x of Attention must be a dense tensor, shorter samples padded \(key_"):
            ask(x)
    for x in ([[1.0]], None, image_tokens().numpy()):
        with pytest.raises(
            ValueError, match=rf"^x of Attention must be a tensor\. Got '{type(x).__name__}' instead\.$"
        ):
            ask(x)
    if not options:
        with pytest.raises(ValueError, match=r"^context of Attention must be a dense tensor"):
            ask(image_tokens(), context=ragged(torch.jagged))


@pytest.mark.parametrize("name", ["key_padding_mask", "attn_mask"])
def test_a_mask_that_is_no_tensor_is_refused(name):
    for layer in (made(), made(pattern="reduced")):
        with pytest.raises(ValueError, match=rf"^{name} of Attention must be None or a tensor\. Got 'list' instead\.$"):
            layer(image_tokens(), **{name: [[True] * 12] * 2})
