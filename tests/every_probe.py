"""Every kind of probe of the package, made quick, and small models and images to ask them of."""

import dataclasses

import torch
from torch import nn

from vision_attn.data import Data, Mnist5k
from vision_attn.models import Model, ResNet, Timm, ViT
from vision_attn.probes import Probe
from vision_attn.probes.explained import Explained
from vision_attn.spec import kinds

QUICK = {"images": 4, "repeats": 1, "draws": 1, "steps": 1, "sides": (2,), "min_seconds": 0.0, "passes": ("forward",)}
TIMED = ("latency_seconds", "peak_bytes")
"""Metrics of the machine, which are not the same twice."""
FILLED = {"attribute": "quadrant"}
"""What a probe is given for fields that have no default."""
KINDS = {name: kind for name, kind in kinds(Probe).items() if kind.__module__.startswith("vision_attn.")}
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (12, 1, 28, 28), generator=GENERATOR, dtype=torch.uint8)
DATA = Data.from_tensors(IMAGES, torch.arange(12) % 10, classes=tuple("0123456789"))
PLANNED = Mnist5k(train_size=20)
SHAPE = {"image_size": 28, "in_chans": 1, "num_classes": 10}
SPECS: dict[str, Model] = {
    "ViT": ViT(dim=16, depth=1, patch_size=7),
    "CNN": ResNet(width=8, blocks=1),
    "timm": Timm(name="test_resnet"),
}


class Own(nn.Module):
    """A model of one's own, of which nothing is known."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.stem(x).relu().mean((2, 3)))


def probe_of(kind):
    fields = {field.name for field in dataclasses.fields(kind)}
    given = {name: value for name, value in {**QUICK, **FILLED}.items() if name in fields}
    if "pixels" in fields:
        given["pixels"] = (0, 1)
    if issubclass(kind, Explained):
        given |= {"patch_size": 14, "methods": ("rollout", "Grad-CAM", "random")}
    if kind.__name__ == "PatchShuffle":
        given["grids"] = (2, 4)
    return kind(**given)


def built(name):
    torch.manual_seed(0)
    return (Own() if name == "own" else SPECS[name].build(**SHAPE)).eval()
