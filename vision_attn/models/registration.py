"""Our classifiers under names for `timm.create_model`."""

import dataclasses
from typing import Any

from torch import nn

from vision_attn.models.base import Model
from vision_attn.models.convnets import ResNet
from vision_attn.models.features import Features
from vision_attn.models.input_size import a_size, allow_any_size, both_sides
from vision_attn.models.mixers import DepthwiseConv, SelfAttention
from vision_attn.models.patterns import Window
from vision_attn.models.trunk import ViT
from vision_attn.spec import InputError

_TINY = ViT(dim=192, depth=12, mixer=SelfAttention(num_heads=3))
_SMALL = ViT(dim=384, depth=12, mixer=SelfAttention(num_heads=6))
_WINDOWS = SelfAttention(num_heads=2, pattern=Window(size=4))

MODELS: dict[str, tuple[Model, int, int]] = {
    "vision_attn_tiny_patch4_32": (_TINY, 32, 10),
    "vision_attn_small_patch4_32": (_SMALL, 32, 10),
    "vision_attn_tiny_patch16_224": (_TINY.replace(patch_size=16), 224, 1000),
    "vision_attn_small_patch16_224": (_SMALL.replace(patch_size=16), 224, 1000),
    "vision_attn_conv_tiny_patch4_32": (_TINY.replace(mixer=DepthwiseConv(kernel_size=7)), 32, 10),
    "vision_attn_stages_tiny_patch2_32": (
        ViT(dim=64, depth=12, patch_size=2, mixer=_WINDOWS, merge_after=(3, 9)),
        32,
        10,
    ),
    "vision_attn_resnet20_32": (ResNet(), 32, 10),
}
"""Name: the spec, the image size and the number of classes unless others are asked for."""

_IGNORED = {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
_TIMM_NAMES = {"drop_path_rate": "drop_path", "global_pool": "pool"}
DEFAULT_FEATURES = 3
"""How many of the last blocks or stages give features unless others are asked for."""

_POOLS = {"avg": "mean", "token": "token"}


def register_models() -> list[str]:
    """Make our classifiers known to timm and return their names; calling it again changes nothing.

    Then `timm.create_model("vision_attn_tiny_patch4_32", num_classes=100)` works, with `img_size` (one number for
    squares, or (height, width)), `in_chans`, `drop_rate`, `drop_path_rate`, `global_pool` ("avg", "token") and the
    fields of the spec as further arguments; with `dynamic_img_size=True` a transformer takes images of any size that
    its patches divide; with `features_only=True` the model gives a list of the feature maps at `out_indices`, by
    default of the last three blocks or stages. Raises `InputError` where another model has one of the names: none is
    replaced.
    """
    from timm.models import is_model, model_entrypoint, register_model

    for name in MODELS:
        if not is_model(name):
            register_model(_entrypoint(name))
        elif model_entrypoint(name).__module__ != __name__:
            raise InputError(f"{name!r} is the name of another timm model already; it is left as it is.")
    return list(MODELS)


def _entrypoint(name: str) -> Any:
    spec, image_size, num_classes = MODELS[name]

    def create(
        pretrained: bool = False,
        *,
        img_size: int | tuple[int, int] = image_size,
        in_chans: int = 3,
        num_classes: int = num_classes,
        features_only: bool = False,
        dynamic_img_size: bool = False,
        **options: Any,
    ) -> nn.Module:
        if pretrained:
            raise InputError(f"pretrained of {name} must be False: there are no weights for it. Got True instead.")
        places = options.pop("out_indices", None) if features_only else None
        given = {key: value for key, value in options.items() if key not in _IGNORED and value is not None}
        known = [field.name for field in dataclasses.fields(spec)]
        unknown = sorted(key for key in given if _TIMM_NAMES.get(key, key) not in known)
        if unknown:
            allowed = ", ".join(["img_size", "in_chans", "num_classes", "dynamic_img_size", *known])
            raise InputError(f"options of {name} must be among {allowed}. Got {unknown[0]!r} instead.")
        pool = given.get("global_pool", "avg")
        if pool not in tuple(_POOLS):
            raise InputError(f"global_pool of {name} must be 'avg' or 'token'. Got {pool!r} instead.")
        fields = {_TIMM_NAMES.get(key, key): _POOLS[pool] if key == "global_pool" else given[key] for key in given}
        size = a_size(img_size, f"img_size of {name}")
        made: Any = spec.replace(**fields)
        module = made.build(image_size=size, in_chans=in_chans, num_classes=num_classes)
        assert isinstance(module, Features)
        if dynamic_img_size:
            allow_any_size(module)
        made_for = _configuration(name, size, in_chans, num_classes)
        module.default_cfg = made_for if not dynamic_img_size else {**made_for, "fixed_input_size": False}  # type: ignore[assignment]
        module.pretrained_cfg = module.default_cfg
        return _getter(module, places) if features_only else module

    create.__name__, create.__module__, create.__doc__ = name, __name__, f"{spec!r} at {image_size} pixels."
    return create


def _getter(module: Features, places: Any) -> nn.Module:
    """The model as timm's `features_only=True` gives it."""
    from timm.models._features import FeatureGetterNet

    usual = min(DEFAULT_FEATURES, len(module.feature_info))
    getter = FeatureGetterNet(module, out_indices=tuple(module.feature_places(usual if places is None else places)))
    getter.default_cfg = getter.pretrained_cfg = module.default_cfg
    return getter


def _configuration(name: str, image_size: int | tuple[int, int], in_chans: int, num_classes: int) -> dict[str, Any]:
    """What timm's data pipeline asks a model for."""
    from timm.data import IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD

    convolutional = isinstance(MODELS[name][0], ResNet)
    return {
        "architecture": name,
        "num_classes": num_classes,
        "input_size": (in_chans, *both_sides(image_size)),
        "fixed_input_size": not convolutional,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": IMAGENET_INCEPTION_MEAN,
        "std": IMAGENET_INCEPTION_STD,
        "first_conv": "stem" if convolutional else "patch_embed.proj",
        "classifier": "head",
    }
