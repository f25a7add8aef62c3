"""One side of a race, in a process of its own: trains as many updates as each line of its input asks for.

    python loop_under_test.py (ours | usual) MODEL THREADS

It says as JSON what it is; then, for every number read, trains some updates untimed, that many timed, and says how
many seconds these took.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vision_attn.data import Data, Split
from vision_attn.models import Model, ResNet, SelfAttention, ViT
from vision_attn.training import Recipe, train
from vision_attn.training.checkpoint import TrainState
from vision_attn.training.compute import ComputeSettings, choose, deterministic
from vision_attn.training.seeding import Streams

BATCH = 128
UNTIMED = 5  # more than the batches that a DataLoader with two workers has ready after a pause
RECIPE = Recipe(updates=50_000, batch_size=BATCH)
CPU = torch.device("cpu")
MODELS: dict[str, Model] = {
    "ViT dim 96": ViT(dim=96, depth=6, mixer=SelfAttention(num_heads=4)),
    "ViT dim 192": ViT(dim=192, depth=6, mixer=SelfAttention(num_heads=4)),
    "ResNet-20": ResNet(width=16, blocks=3),
}


def random_data(size: int = 5000) -> Data:
    """Colour images of 32 x 32 pixels like those of CIFAR-10, in all but content."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(size) % 10)
    return Data(
        name="random",
        train=split,
        val=None,
        test=split,
        classes=tuple("0123456789"),
        fingerprint="0" * 64,
        subset_sha256="0" * 64,
        flip=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


def our_state(name: str, data: Data, threads: int) -> tuple[TrainState, ComputeSettings]:
    deterministic(threads)
    streams = Streams(0)
    with streams.initialising():
        model = MODELS[name].build(image_size=32, in_chans=3, num_classes=10)
    choices = choose(RECIPE, model, data=data, device=CPU, threads=threads)
    return TrainState(model, recipe=RECIPE, streams=streams, num_updates=RECIPE.num_updates(len(data.train))), choices


def our_updates(state: TrainState, choices: ComputeSettings, data: Data) -> Iterator[Any]:
    return train(
        state,
        train=data.train,
        val=None,
        normalise=data.normalise,
        flip=data.flip,
        recipe=RECIPE,
        choices=choices,
    )


def usual_model(name: str) -> nn.Module:
    """The same network; vision transformers are timm's, with the fused kernel."""
    spec = MODELS[name]
    if not isinstance(spec, ViT):
        return spec.build(image_size=32, in_chans=3, num_classes=10)
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=32,
        patch_size=4,
        num_classes=10,
        embed_dim=spec.dim,
        depth=spec.depth,
        num_heads=4,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )


class Pictures(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """A data set as torchvision's are: an array of pixels, a PIL image an item, transforms."""

    def __init__(self, split: Split) -> None:
        from torchvision import transforms

        self.pixels, self.labels = split.images.permute(0, 2, 3, 1).numpy(), split.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.25,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def usual_updates(name: str, data: Data, threads: int) -> Iterator[None]:
    """What most repositories do on a CPU: float32, eager, a DataLoader with two workers."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = usual_model(name).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    loader = torch.utils.data.DataLoader(
        Pictures(data.train), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            yield


def main(side: str, name: str, threads: int) -> None:
    data = random_data()
    told: dict[str, Any] = {}
    if side == "ours":
        state, choices = our_state(name, data, threads)
        updates, told = our_updates(state, choices, data), choices.as_json()
    else:
        updates = usual_updates(name, data, threads)
    next(updates)
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        for _ in islice(updates, UNTIMED):
            pass
        begun = time.perf_counter()
        for _ in islice(updates, int(line)):
            pass
        print(json.dumps(time.perf_counter() - begun), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
