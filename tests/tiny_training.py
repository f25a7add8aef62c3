"""Small modules, random images and a whole training in one call, for the tests of training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Split
from vision_attn.training import Recipe, train
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compute import ComputeSettings
from vision_attn.training.seeding import Streams
from vision_attn.training.stacked import Stack

EAGER = ComputeSettings(
    device="cpu", precision="fp32", compile=False, channels_last=False, threads=1, compile_reason="test"
)


class TinyConv(nn.Module):
    """Two convolutions with BatchNorm and dropout."""

    num_classes = 10

    def __init__(self, in_chans: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_chans, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.body(self.stem(x)).mean((2, 3))))


class TinyAttention(nn.Module):
    """A patch embedding, one block of self-attention with dropout, a head."""

    num_classes = 10

    def __init__(self, in_chans: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.patch = nn.Conv2d(in_chans, 16, 4, stride=4)
        self.pos_embed = nn.Parameter(torch.randn(1, 16, 16) * 0.02)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, 10)

    def no_weight_decay(self) -> set[str]:
        return {"pos_embed"}

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos_embed
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.dropout((q @ k.transpose(1, 2) / 4).softmax(-1) @ v)
        return self.head(x.mean(1))


def split(size: int, *, seed: int = 0, in_chans: int = 3) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (size, in_chans, 16, 16), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(size) % 10)


def data(train_size: int = 40, *, val_size: int = 0, test_size: int = 30, in_chans: int = 3) -> Data:
    return Data(
        name="random",
        train=split(train_size, in_chans=in_chans),
        val=split(val_size, seed=1, in_chans=in_chans) if val_size else None,
        test=split(test_size, seed=2, in_chans=in_chans),
        classes=tuple("0123456789"),
        fingerprint="0" * 64,
        subset_sha256="0" * 64,
        flip=True,
        mean=(0.5,) * in_chans,
        std=(0.25,) * in_chans,
    )


def start(make_model: Callable[[], nn.Module], recipe: Recipe, *, seed: int = 0, train_size: int = 40) -> TrainState:
    streams = Streams(seed)
    with streams.initialising():
        model = make_model()
    return TrainState(model, recipe=recipe, streams=streams, num_updates=recipe.num_updates(train_size))


def steps(state: TrainState, recipe: Recipe, images: Data, choices: ComputeSettings = EAGER) -> Any:
    return train(
        state,
        train=images.train,
        val=images.val,
        normalise=images.normalise,
        flip=images.flip,
        recipe=recipe,
        choices=choices,
        num_classes=images.num_classes,
    )


def rows(found: Any) -> list[dict[str, Any]]:
    """The history rows."""
    return [row for row in found if row is not None]


def bits(model: nn.Module) -> bytes:
    return b"".join(tensor.contiguous().numpy().tobytes() for tensor in model.state_dict().values())


def finished(stack: Stack, *, stop: int | None = None) -> dict[int, list]:
    """Train a stack to the end, or to an update; what happened to each member."""
    happened = {member: [] for member in stack.members}
    for found in stack.train():
        for member, what in found.items():
            happened[member].append(what)
        if stack.update == stop:
            break
    stack.write_back()
    return happened
