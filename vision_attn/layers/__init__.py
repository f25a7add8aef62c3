"""Layers that anyone may import: plain modules, torch only."""

from vision_attn.layers.attention import Attention, attention_path
from vision_attn.layers.mixers import (
    AveragePooling,
    DepthwiseConvolution,
    IdentityMixing,
    RandomMixing,
    RecurrentMixing,
    ZeroMixing,
)
from vision_attn.layers.patch import ConvEmbed, LocalEmbed, PatchEmbed, TokenMerging
from vision_attn.layers.patterns import (
    Axial,
    Dilated,
    Neighbourhood,
    Pattern,
    Segmented,
    SpatialReduction,
    TopK,
    Window,
)
from vision_attn.layers.places import grid_known
from vision_attn.layers.positions import (
    ConvPosition,
    LearnedPosition,
    Position,
    Rotary,
    SinCosPosition,
    sincos2d,
)
from vision_attn.layers.relative import RelativeBias

__all__ = [
    "Attention",
    "AveragePooling",
    "Axial",
    "ConvEmbed",
    "ConvPosition",
    "DepthwiseConvolution",
    "Dilated",
    "IdentityMixing",
    "LearnedPosition",
    "LocalEmbed",
    "Neighbourhood",
    "PatchEmbed",
    "Pattern",
    "Position",
    "RandomMixing",
    "RecurrentMixing",
    "RelativeBias",
    "Rotary",
    "Segmented",
    "SinCosPosition",
    "SpatialReduction",
    "TokenMerging",
    "TopK",
    "Window",
    "ZeroMixing",
    "attention_path",
    "grid_known",
    "sincos2d",
]
