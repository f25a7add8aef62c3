"""Layers that anyone may import: plain modules, torch only."""

from vision_attn.layers.attention import Attention, attention_path
from vision_attn.layers.mixers import DepthwiseConvolution, NoMixing
from vision_attn.layers.patch import PatchEmbed
from vision_attn.layers.positions import sincos2d

__all__ = ["Attention", "DepthwiseConvolution", "NoMixing", "PatchEmbed", "attention_path", "sincos2d"]
