"""Convolutional networks for small images."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.models.base import Model
from vision_attn.models.classifier import Classifier
from vision_attn.models.drop_path import DropPath, drop_path_rates
from vision_attn.models.features import Features, Step
from vision_attn.spec import spec

STAGES = 3


@spec
class ResNet(Model):
    """The CIFAR ResNet-(6 blocks + 2) of He et al. 2016, section 4.2, of any width.

    A 3x3 stem, three stages of `blocks` basic blocks (one number, or one a stage) with `width`, 2 and 4 times `width`
    channels and strides 1, 2, 2, global average pooling, one linear map. Shortcuts that change shape are 1x1
    convolutions (the paper's option B). `drop_path` is the rate of stochastic depth at the last block (Huang et al.
    2016), rising to it from 0; `drop_rate` is the share of the features that dropout sets to 0 before the head.
    """

    width_field: ClassVar[str] = "width"
    depth_field: ClassVar[str] = "blocks"

    width: int = 16
    blocks: int | tuple[int, int, int] = 3
    drop_path: float = 0.0
    drop_rate: float = 0.0

    @property
    def depths(self) -> tuple[int, int, int]:
        """How many blocks each stage has."""
        return self.blocks if isinstance(self.blocks, tuple) else (self.blocks, self.blocks, self.blocks)

    def check(self) -> None:
        self.require("width", self.width >= 1, "at least 1")
        self.require("blocks", min(self.depths) >= 1, "at least 1")
        for field in ("drop_path", "drop_rate"):
            self.require(field, 0 <= getattr(self, field) < 1, "at least 0 and less than 1")

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        return ResidualNetwork(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)), both convolutions 3x3."""

    def __init__(self, in_chans: int, channels: int, *, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_chans != channels:
            projection = nn.Conv2d(in_chans, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.drop_path(self.bn2(self.conv2(y))) + self.shortcut(x))


class ResidualNetwork(Features, Classifier):
    """The module of `ResNet`. Convolutions start from He et al. 2015 (fan out, normal)."""

    def __init__(self, spec: ResNet, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        width = spec.width
        self.num_features = width * 2 ** (STAGES - 1)
        self.stem = nn.Conv2d(in_chans, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        rates = iter(drop_path_rates(spec.drop_path, sum(spec.depths)))
        stages, before = [], width
        for stage, depth in enumerate(spec.depths):
            channels = width * 2**stage
            strides = [2 if stage else 1] + [1] * (depth - 1)
            made = []
            for stride in strides:
                made.append(BasicBlock(before, channels, stride=stride, drop_path=next(rates)))
                before = channels
            stages.append(nn.Sequential(*made))
        self.stages = nn.Sequential(*stages)
        self.head_drop = nn.Dropout(spec.drop_rate) if spec.drop_rate else nn.Identity()
        self.head = self.make_head(num_classes)
        self.feature_info = [
            {"module": f"stages.{i}", "num_chs": width * 2**i, "reduction": 2**i} for i in range(STAGES)
        ]
        self.begin()

    def begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.stem(x)))

    def steps(self, images: Tensor | None = None) -> list[Step]:
        return list(self.stages)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map to logits (B, num_classes); with `pre_logits` to its mean over places (B, 4 width)."""
        x = x.mean(dim=(2, 3))
        return x if pre_logits else self.head(self.head_drop(x))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """What learns alike with timm's `layer_decay`: the stem, each block (with `coarse`, each stage), the head."""
        return {"stem": r"^(?:stem|bn)\.", "blocks": r"^stages\.(\d+)" + ("" if coarse else r"\.(\d+)")}


@spec
class ConvNeXt(Model):
    """A ConvNeXt for small images (Liu et al. 2022, arXiv:2201.03545): three stages instead of four, a finer stem.

    Patches of patch_size x patch_size, then stages of `blocks` blocks with `width`, 2 and 4 times `width` channels,
    each block a depthwise convolution of `kernel_size`, a norm over channels and an MLP four times as wide; 2x2
    convolutions of stride 2 between stages; average pooling, norm, linear map. Stages and norms are timm's. Layer
    scale is left out: from 1e-6 it takes longer to open than a small budget lasts. `drop_path` and `drop_rate` are as
    in `ResNet`.
    """

    width_field: ClassVar[str] = "width"
    depth_field: ClassVar[str] = "blocks"

    width: int = 24
    blocks: int = 2
    patch_size: int = 2
    kernel_size: int = 7
    drop_path: float = 0.0
    drop_rate: float = 0.0

    def check(self) -> None:
        for field in ("width", "blocks", "patch_size"):
            self.require(field, getattr(self, field) >= 1, "at least 1")
        self.require("kernel_size", self.kernel_size >= 1 and self.kernel_size % 2 == 1, "odd")
        for field in ("drop_path", "drop_rate"):
            self.require(field, 0 <= getattr(self, field) < 1, "at least 0 and less than 1")

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        coarsest = self.patch_size * 2 ** (STAGES - 1)
        allowed = f"such that {2 ** (STAGES - 1)} times it divides the image size {image_size}"
        self.require("patch_size", image_size % coarsest == 0, allowed)
        return ConvNeXtNetwork(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


class ConvNeXtNetwork(Features, Classifier):
    """The module of `ConvNeXt`. Weights start truncated normal of standard deviation 0.02, biases at 0."""

    def __init__(self, spec: ConvNeXt, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        from timm.layers import LayerNorm, LayerNorm2d
        from timm.models.convnext import ConvNeXtStage

        width, size = spec.width, spec.patch_size
        self.num_features = width * 2 ** (STAGES - 1)
        self.stem = nn.Sequential(nn.Conv2d(in_chans, width, size, stride=size), LayerNorm2d(width, eps=1e-6))
        rates = drop_path_rates(spec.drop_path, STAGES * spec.blocks)
        self.stages = nn.Sequential(
            *(
                ConvNeXtStage(
                    width << max(0, stage - 1),
                    width << stage,
                    kernel_size=spec.kernel_size,
                    stride=2 if stage else 1,
                    depth=spec.blocks,
                    drop_path_rates=rates[stage * spec.blocks : (stage + 1) * spec.blocks],
                    ls_init_value=None,  # type: ignore[arg-type]
                    norm_layer=LayerNorm2d,
                    norm_layer_cl=LayerNorm,
                )
                for stage in range(STAGES)
            )
        )
        self.fc_norm = nn.LayerNorm(self.num_features, eps=1e-6)
        self.head_drop = nn.Dropout(spec.drop_rate) if spec.drop_rate else nn.Identity()
        self.head = self.make_head(num_classes)
        self.feature_info = [
            {"module": f"stages.{i}", "num_chs": width << i, "reduction": size << i} for i in range(STAGES)
        ]
        self.begin()

    def begin(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def embed(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.stem(x)
        return embedded

    def steps(self, images: Tensor | None = None) -> list[Step]:
        return list(self.stages)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map to logits (B, num_classes); with `pre_logits` to the pooled, normed features (B, 4 width)."""
        x = self.fc_norm(x.mean(dim=(2, 3)))
        return x if pre_logits else self.head(self.head_drop(x))
