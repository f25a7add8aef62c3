"""Models: the trunk with a mixer slot, convolutional networks, any model of timm; their size, and matching it."""

from vision_attn.models import mixers
from vision_attn.models.base import Mixer, Model
from vision_attn.models.baselines import KMeansFeatures, LogisticRegression, NearestNeighbours
from vision_attn.models.classifier import Classifier
from vision_attn.models.conv_stack import ConvStack, rf_dial
from vision_attn.models.convnets import ConvNeXt, ResNet
from vision_attn.models.factories import as_mixer, as_model
from vision_attn.models.fitted import FittedClassifier, FittedModel
from vision_attn.models.matching import match
from vision_attn.models.mixers import *  # noqa: F403  # all mixers, so that a new one is named there alone
from vision_attn.models.patterns import (
    Axial,
    Dilated,
    Full,
    Neighbourhood,
    Pattern,
    Segmented,
    SpatialReduction,
    TopK,
    Window,
)
from vision_attn.models.registration import register_models
from vision_attn.models.replacement import replace_attention
from vision_attn.models.size import count_flops, count_params, flops, flops_of, params_of
from vision_attn.models.transfer import from_timm
from vision_attn.models.trunk import ViT
from vision_attn.models.zoo import Timm

__all__ = [
    "Axial",
    "Classifier",
    "ConvNeXt",
    "ConvStack",
    "Dilated",
    "FittedClassifier",
    "FittedModel",
    "Full",
    "KMeansFeatures",
    "LogisticRegression",
    "Mixer",
    "Model",
    "NearestNeighbours",
    "Neighbourhood",
    "Pattern",
    "ResNet",
    "Segmented",
    "SpatialReduction",
    "Timm",
    "TopK",
    "ViT",
    "Window",
    "as_mixer",
    "as_model",
    "count_flops",
    "count_params",
    "flops",
    "flops_of",
    "from_timm",
    "match",
    "params_of",
    "register_models",
    "replace_attention",
    "rf_dial",
]
__all__ += mixers.__all__
