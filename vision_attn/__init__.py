"""When is self-attention better than convolution on images, when is it worse, and why?

The public names are imported on first use, so that reading results needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_attn._torchvision import repair_torchvision
    from vision_attn.data import Cifar10, Cifar100, Idx, ImageFolder, Mnist5k
    from vision_attn.experiment import Experiment
    from vision_attn.figures import (
        Gap,
        Generalisation,
        LearningCurve,
        Matching,
        OcclusionCurve,
        ShiftSawtooth,
        ShuffleCurve,
        ZoomCurve,
    )
    from vision_attn.layers import Attention
    from vision_attn.models import (
        Classifier,
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
    )
    from vision_attn.probes import Accuracy, Occlusion, PatchShuffle, ShiftConsistency, Size, Zoom
    from vision_attn.run import Run
    from vision_attn.training import Recipe

_HOMES = {
    "_torchvision": ("repair_torchvision",),
    "data": ("Cifar10", "Cifar100", "Idx", "ImageFolder", "Mnist5k"),
    "experiment": ("Experiment",),
    "figures": (
        "Gap",
        "Generalisation",
        "LearningCurve",
        "Matching",
        "OcclusionCurve",
        "ShiftSawtooth",
        "ShuffleCurve",
        "ZoomCurve",
    ),
    "layers": ("Attention",),
    "models": (
        "Classifier",
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
    ),
    "probes": ("Accuracy", "Occlusion", "PatchShuffle", "ShiftConsistency", "Size", "Zoom"),
    "run": ("Run",),
    "training": ("Recipe",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Accuracy",
    "Attention",
    "Cifar10",
    "Cifar100",
    "Classifier",
    "DepthwiseConv",
    "Experiment",
    "Gap",
    "Generalisation",
    "Identity",
    "Idx",
    "ImageFolder",
    "LearningCurve",
    "Matching",
    "Mnist5k",
    "Occlusion",
    "OcclusionCurve",
    "PatchShuffle",
    "Recipe",
    "ResNet",
    "Run",
    "SelfAttention",
    "ShiftConsistency",
    "ShiftSawtooth",
    "ShuffleCurve",
    "Size",
    "Timm",
    "ViT",
    "Zoom",
    "ZoomCurve",
    "from_timm",
    "match",
    "register_models",
    "repair_torchvision",
    "replace_attention",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
