"""Tokens and images are floating numbers: of integers a product is cut to integers, of which nobody would hear."""

import pytest
import torch
from switches import DIM, HEADS, image_tokens

from vision_attn import ResNet, SelfAttention, ViT
from vision_attn.layers import (
    Attention,
    AveragePooling,
    ConvEmbed,
    ConvPosition,
    DepthwiseConvolution,
    LearnedPosition,
    LocalEmbed,
    PatchEmbed,
    RandomMixing,
    RecurrentMixing,
    Rotary,
    SinCosPosition,
    SpatialReduction,
    TokenMerging,
)
from vision_attn.models import ConvNeXt, ConvStack, KMeansFeatures, LogisticRegression, NearestNeighbours

GRID = (4, 4)


def others(x):
    """x in every type that is none of theirs, with its name."""
    for dtype in (torch.int64, torch.uint8, torch.bool, torch.complex64):
        yield x.to(dtype), str(dtype)
    yield torch.quantize_per_tensor(x.float(), 0.1, 0, torch.quint8), "torch.quint8"


LAYERS = {
    "Attention": lambda x: Attention(DIM, HEADS)(x),
    "weights": lambda x: Attention(DIM, HEADS, pattern="window").weights(x),
    "heads": lambda x: Attention(DIM, HEADS, position="rotary", grid=GRID).heads(x),
    "DepthwiseConvolution": lambda x: DepthwiseConvolution(DIM, grid=GRID)(x),
    "RecurrentMixing": lambda x: RecurrentMixing(DIM, grid=GRID, order="columns")(x),
    "AveragePooling": lambda x: AveragePooling(grid=GRID)(x),
    "RandomMixing": lambda x: RandomMixing(16)(x),
    "TokenMerging": lambda x: TokenMerging(DIM, grid=GRID)(x),
    "SpatialReduction": lambda x: SpatialReduction(DIM, 2)(x, GRID, prefix=0),
}
POSITIONS = {
    "LearnedPosition": lambda x: LearnedPosition(GRID, DIM)(x, GRID),
    "SinCosPosition": lambda x: SinCosPosition(GRID, DIM)(x, GRID),
    "ConvPosition": lambda x: ConvPosition(GRID, DIM)(x, GRID),
    "Rotary": lambda x: Rotary(GRID, 4)(x.reshape(2, 16, 2, 4).transpose(1, 2), torch.zeros(16, 2)),
}


@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_tokens_of_no_floating_type_are_refused(name):
    what = name if name[0].isupper() else "Attention"
    for x, dtype in others(image_tokens(16)):
        words = rf"^x of {what} must be of a floating type, such as torch\.float32\. Got '{dtype}' instead\.$"
        with pytest.raises(ValueError, match=words):
            LAYERS[name](x)
    with pytest.raises(ValueError, match=f"^x of {what} must be a tensor"):
        LAYERS[name](image_tokens(16).tolist())


@pytest.mark.parametrize("name", POSITIONS)
def test_so_they_are_where_places_are_added(name):
    for x, dtype in others(image_tokens(16)):
        with pytest.raises(ValueError, match=rf" of {name} must be of a floating type, .* Got '{dtype}' instead\.$"):
            POSITIONS[name](x)


def test_the_other_tokens_of_cross_attention_too():
    for context, dtype in others(image_tokens(5)):
        with pytest.raises(ValueError, match=rf"^context of Attention must be of a floating .* Got '{dtype}' instead"):
            Attention(DIM, HEADS)(image_tokens().float(), context=context)


def test_masks_of_another_type_are_refused_by_name():
    layer, x = Attention(DIM, HEADS), image_tokens().float()
    for mask, dtype in others(torch.ones(12, 12)):
        if dtype != "torch.bool":
            with pytest.raises(
                ValueError, match=rf"^attn_mask of Attention must be .* or floating .*{dtype}\) instead"
            ):
                layer(x, attn_mask=mask)
    for mask, dtype in [*others(torch.ones(2, 12)), (torch.ones(2, 12), "torch.float32")]:
        if dtype != "torch.bool":
            words = rf"^key_padding_mask of Attention must be .* and torch\.bool\. Got .*{dtype}\) instead"
            with pytest.raises(ValueError, match=words):
                layer(x, key_padding_mask=mask)


@pytest.mark.parametrize("given", [torch.ones(12, 12), torch.tensor(True), 1, "yes"], ids=repr)
def test_a_mask_in_the_place_of_the_causal_order_is_told_where_it_belongs(given):
    with pytest.raises(ValueError, match=r"^is_causal of Attention must be True or False; a mask is attn_mask\. Got"):
        Attention(DIM, HEADS)(image_tokens().float(), is_causal=given)


@pytest.mark.parametrize("grid", [4, (4.0, 4.0), (0, 4)])
def test_a_grid_of_a_call_that_is_none_is_refused(grid):
    mixer = DepthwiseConvolution(DIM, grid=GRID)
    with pytest.raises(ValueError, match=r"^grid of DepthwiseConvolution must be two numbers, each at least 1"):
        mixer(image_tokens(16).float(), grid=grid)


MODELS = {
    "VisionTransformer": ViT(dim=8, depth=1, mixer=SelfAttention(num_heads=2)),
    "ConvolutionStack": ConvStack(width=4, kernels=(3,)),
    "ResidualNetwork": ResNet(width=4, blocks=1),
    "ConvNeXtNetwork": ConvNeXt(width=4, blocks=1),
    "LogisticRegressor": LogisticRegression(),
    "NeighbourClassifier": NearestNeighbours(components=4),
    "KMeansClassifier": KMeansFeatures(centroids=4),
}
IMAGES = torch.rand(2, 3, 16, 16)


@pytest.mark.parametrize("name", MODELS)
def test_images_of_no_floating_type_or_another_shape_are_refused(name):
    model = MODELS[name].build(image_size=16, in_chans=3, num_classes=2).eval()
    calls = [model, model.forward_features, getattr(model, "forward_intermediates", model)]
    for call in calls:
        for x, dtype in others(IMAGES):
            with pytest.raises(ValueError, match=rf"^images of {name} must be of a floating .* Got '{dtype}' instead"):
                call(x)
        for x in (IMAGES[0], IMAGES[:, :1], IMAGES[None], torch.rand(2, 16, 16, 3)):
            with pytest.raises(ValueError, match=rf"^images of {name} must be \(B, 3, H, W\)\. Got \("):
                call(x)
    if name.endswith("Classifier") or name == "LogisticRegressor":
        with pytest.raises(ValueError, match=rf"^images of {name} must be of 16 x 16 pixels\. Got \(2, 3, 16, 8\)"):
            model(IMAGES[..., :8])


@pytest.mark.parametrize("embed", [PatchEmbed, ConvEmbed, LocalEmbed])
def test_so_they_are_where_tokens_are_made(embed):
    module = embed(patch_size=4, in_chans=3, dim=8, **({"grid": (4, 4)} if embed is LocalEmbed else {}))
    for x, dtype in others(IMAGES):
        with pytest.raises(ValueError, match=rf"^x of {embed.__name__} must be of a floating .* Got '{dtype}' instead"):
            module(x)
    for x in (IMAGES[0], IMAGES[:, :1]):
        with pytest.raises(ValueError, match=rf"^x of {embed.__name__} must be \(B, 3, H, W\)\. Got \("):
            module(x)
