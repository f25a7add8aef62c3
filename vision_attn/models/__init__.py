"""Models: the trunk with a mixer slot, convolutional networks, any model of timm; their size, and matching it."""

from vision_attn.models.base import Mixer, Model
from vision_attn.models.convnets import ResNet
from vision_attn.models.matching import match
from vision_attn.models.mixers import DepthwiseConv, Identity, SelfAttention
from vision_attn.models.size import count_flops, count_params, flops_of, params_of
from vision_attn.models.trunk import ViT
from vision_attn.models.zoo import Timm

__all__ = [
    "DepthwiseConv",
    "Identity",
    "Mixer",
    "Model",
    "ResNet",
    "SelfAttention",
    "Timm",
    "ViT",
    "count_flops",
    "count_params",
    "flops_of",
    "match",
    "params_of",
]
