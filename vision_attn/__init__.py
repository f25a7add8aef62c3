"""When is self-attention better than convolution on images, when is it worse, and why?

The public names are imported on first use, so that reading results needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_attn._torchvision import repair_torchvision
    from vision_attn.data import Cifar10, Cifar100, CuedRecall, Idx, ImageFolder, Mnist5k, Parity, Permuted, Quadrants
    from vision_attn.experiment import Experiment
    from vision_attn.figures import (
        AttentionDistanceByHead,
        Choice,
        ConvergenceSteps,
        ErfMap,
        Gap,
        Generalisation,
        InfluenceProfile,
        LearningCurve,
        Matching,
        MinimumHeadDistance,
        OcclusionCurve,
        QuadrantAccuracy,
        RecallByDistance,
        ReceptiveFieldByLayer,
        ShiftSawtooth,
        ShuffleCurve,
        StepPosition,
        ZoomCurve,
    )
    from vision_attn.layers import Attention
    from vision_attn.models import (
        LSTM,
        Classifier,
        ConvNeXt,
        ConvStack,
        DepthwiseConv,
        Identity,
        ResNet,
        SelfAttention,
        Timm,
        ViT,
        from_timm,
        match,
        register_models,
        replace_attention,
        rf_dial,
    )
    from vision_attn.probes import (
        Accuracy,
        AccuracyBy,
        AttentionDistance,
        Influence,
        Intervention,
        Occlusion,
        PatchShuffle,
        Recall,
        ReceptiveField,
        ShiftConsistency,
        Size,
        Zoom,
    )
    from vision_attn.run import Run
    from vision_attn.training import Recipe
    from vision_attn.verdicts import AllOf, BoundVerdict, DifferenceVerdict, EquivalenceVerdict, cell

_HOMES = {
    "_torchvision": ("repair_torchvision",),
    "data": (
        "Cifar10",
        "Cifar100",
        "CuedRecall",
        "Idx",
        "ImageFolder",
        "Mnist5k",
        "Parity",
        "Permuted",
        "Quadrants",
    ),
    "experiment": ("Experiment",),
    "figures": (
        "AttentionDistanceByHead",
        "Choice",
        "ConvergenceSteps",
        "ErfMap",
        "Gap",
        "Generalisation",
        "InfluenceProfile",
        "LearningCurve",
        "Matching",
        "MinimumHeadDistance",
        "OcclusionCurve",
        "QuadrantAccuracy",
        "RecallByDistance",
        "ReceptiveFieldByLayer",
        "ShiftSawtooth",
        "ShuffleCurve",
        "StepPosition",
        "ZoomCurve",
    ),
    "layers": ("Attention",),
    "models": (
        "LSTM",
        "Classifier",
        "ConvNeXt",
        "ConvStack",
        "DepthwiseConv",
        "Identity",
        "ResNet",
        "SelfAttention",
        "Timm",
        "ViT",
        "from_timm",
        "match",
        "register_models",
        "replace_attention",
        "rf_dial",
    ),
    "probes": (
        "Accuracy",
        "AccuracyBy",
        "AttentionDistance",
        "Influence",
        "Intervention",
        "Occlusion",
        "PatchShuffle",
        "Recall",
        "ReceptiveField",
        "ShiftConsistency",
        "Size",
        "Zoom",
    ),
    "run": ("Run",),
    "training": ("Recipe",),
    "verdicts": (
        "AllOf",
        "BoundVerdict",
        "DifferenceVerdict",
        "EquivalenceVerdict",
        "cell",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "LSTM",
    "Accuracy",
    "AccuracyBy",
    "AllOf",
    "Attention",
    "AttentionDistance",
    "AttentionDistanceByHead",
    "BoundVerdict",
    "Choice",
    "Cifar10",
    "Cifar100",
    "Classifier",
    "ConvNeXt",
    "ConvStack",
    "ConvergenceSteps",
    "CuedRecall",
    "DepthwiseConv",
    "DifferenceVerdict",
    "EquivalenceVerdict",
    "ErfMap",
    "Experiment",
    "Gap",
    "Generalisation",
    "Identity",
    "Idx",
    "ImageFolder",
    "Influence",
    "InfluenceProfile",
    "Intervention",
    "LearningCurve",
    "Matching",
    "MinimumHeadDistance",
    "Mnist5k",
    "Occlusion",
    "OcclusionCurve",
    "Parity",
    "PatchShuffle",
    "Permuted",
    "QuadrantAccuracy",
    "Quadrants",
    "Recall",
    "RecallByDistance",
    "ReceptiveField",
    "ReceptiveFieldByLayer",
    "Recipe",
    "ResNet",
    "Run",
    "SelfAttention",
    "ShiftConsistency",
    "ShiftSawtooth",
    "ShuffleCurve",
    "Size",
    "StepPosition",
    "Timm",
    "ViT",
    "Zoom",
    "ZoomCurve",
    "cell",
    "from_timm",
    "match",
    "register_models",
    "repair_torchvision",
    "replace_attention",
    "rf_dial",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
