"""Convolutional networks for small images."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.models.base import Model
from vision_attn.models.classifier import Classifier
from vision_attn.spec import spec

STAGES = 3


@spec
class ResNet(Model):
    """The CIFAR ResNet-(6 blocks + 2) of He et al. 2016, section 4.2, of any width.

    A 3x3 stem, three stages of `blocks` basic blocks with `width`, 2 and 4 times `width` channels and strides 1, 2, 2,
    global average pooling, one linear map. Shortcuts that change shape are 1x1 convolutions (the paper's option B).
    """

    width_field: ClassVar[str] = "width"
    depth_field: ClassVar[str] = "blocks"

    width: int = 16
    blocks: int = 3

    def check(self) -> None:
        self.require("width", self.width >= 1, "at least 1")
        self.require("blocks", self.blocks >= 1, "at least 1")

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        return ResidualNetwork(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)), both convolutions 3x3."""

    def __init__(self, in_chans: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_chans != channels:
            projection = nn.Conv2d(in_chans, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResidualNetwork(Classifier):
    """The module of `ResNet`. Convolutions start from He et al. 2015 (fan out, normal)."""

    def __init__(self, spec: ResNet, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        width = spec.width
        self.num_features = width * 2 ** (STAGES - 1)
        self.stem = nn.Conv2d(in_chans, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        stages, before = [], width
        for stage in range(STAGES):
            channels = width * 2**stage
            strides = [2 if stage else 1] + [1] * (spec.blocks - 1)
            made = []
            for stride in strides:
                made.append(BasicBlock(before, channels, stride=stride))
                before = channels
            stages.append(nn.Sequential(*made))
        self.stages = nn.Sequential(*stages)
        self.head = self.make_head(num_classes)
        self.feature_info = [
            {"module": f"stages.{i}", "num_chs": width * 2**i, "reduction": 2**i} for i in range(STAGES)
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to a feature map (B, 4 width, H / 4, W / 4)."""
        return self.stages(F.relu(self.bn(self.stem(x))))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map to logits (B, num_classes); with `pre_logits` to its mean over places (B, 4 width)."""
        x = x.mean(dim=(2, 3))
        return x if pre_logits else self.head(x)
