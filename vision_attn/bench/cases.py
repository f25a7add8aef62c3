"""Cases: the models of the throughput benchmark and the ways of training them, those that matter most first."""

import dataclasses
from typing import Literal

from vision_attn.bench.gains import MODELS

Mode = Literal["eager", "graph", "compiled", "usual step", "usual loop"]
"""How an update is made. In our loop: kernel by kernel, the whole update as one CUDA graph, or compiled. The usual
step: torch.optim.AdamW and autocast on images that lie ready on the device, normalised, without augmentation. The usual
loop: the same step behind a DataLoader with torchvision's transforms. Vision transformers of the usual ones are timm's.
"""
VIT, WIDE, TWIN, RESNET = "ViT dim 64", "ViT dim 96", "ViT dim 64, 3x3 convolution", "ResNet width 12"


@dataclasses.dataclass(frozen=True)
class Case:
    """A way of training a model of `MODELS`: `stack` runs at once, as one program."""

    model: str
    mode: Mode
    stack: int = 1

    def __post_init__(self) -> None:
        assert self.model in MODELS, self.model

    @property
    def is_alone(self) -> bool:
        """Whether it is the plain loop of one run, which draws the random numbers of every update by themselves."""
        return self.stack == 1 and self.mode != "graph"

    @property
    def label(self) -> str:
        """The way of training in words."""
        return self.mode + (f", stack of {self.stack}" if self.stack > 1 else "")


def cases(device: str) -> tuple[Case, ...]:
    """What is measured on a device of that type; of each model the eager loop, which others compare with, is first."""
    if device != "cuda":
        alone = [Case(name, mode) for mode in ("eager", "usual step", "usual loop") for name in (VIT, RESNET)]
        return (*alone, *(Case(name, "compiled") for name in (VIT, RESNET)), Case(VIT, "eager", 4))
    found: list[Case] = []
    for name in (VIT, RESNET):
        found += [Case(name, "eager"), *(Case(name, "graph", stack) for stack in (1, 16, 64))]
    found += [Case(VIT, "usual step"), Case(VIT, "usual loop")]
    for name in (WIDE, TWIN):
        found += [Case(name, "eager"), *(Case(name, "graph", stack) for stack in (1, 16, 64))]
    found += [Case(name, "graph", 4) for name in (VIT, RESNET, WIDE, TWIN)]
    found += [Case(name, "eager", 16) for name in (VIT, RESNET)]
    for name in (RESNET, WIDE, TWIN):
        found += [Case(name, "usual step"), Case(name, "usual loop")]
    found += [Case(name, "compiled") for name in (VIT, RESNET, WIDE, TWIN)]
    return (*found, *(Case(name, "eager", 16) for name in (WIDE, TWIN)))
