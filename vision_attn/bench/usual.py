"""Usual: the training step that most repositories have, and their loop around it."""

from collections.abc import Iterator
from itertools import cycle

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.bench.cases import Case
from vision_attn.bench.gains import MODELS, SHAPE
from vision_attn.data import Data
from vision_attn.models import SelfAttention, ViT
from vision_attn.resources import cores

WORKERS = 8
EPOCH = 50_000
"""Images of an epoch, as many as CIFAR-10 has."""


def usual_model(name: str) -> nn.Module:
    """The network of that name; vision transformers are timm's, of the same sizes."""
    spec = MODELS[name]
    if not (isinstance(spec, ViT) and isinstance(spec.mixer, SelfAttention)):
        return spec.build(**SHAPE)
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=SHAPE["image_size"],
        patch_size=spec.patch_size,
        num_classes=SHAPE["num_classes"],
        embed_dim=spec.dim,
        depth=spec.depth,
        num_heads=spec.mixer.num_heads,
        mlp_ratio=spec.mlp_ratio,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )


class Usual:
    """The training of a case in the usual step or loop: `start` begins its updates."""

    reason = ""

    def __init__(self, case: Case, data: Data, *, batch_size: int, precision: str) -> None:
        self.case, self.data, self.batch_size, self.precision = case, data, batch_size, precision
        self.device = data.train_sample.images.device

    def start(self) -> Iterator[None]:
        """Build the model and begin to train: an iterator that makes an update at every step."""
        torch.manual_seed(0)
        model = usual_model(self.case.model).to(self.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
        for images, labels in self._ready() if self.case.mode == "usual step" else self._loaded():
            optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            yield

    def stop(self) -> None:
        """Nothing is held but by the updates."""

    def _ready(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches that are on the device, normalised, before training begins."""
        sample = self.data.train_sample
        batches = zip(sample.images.split(self.batch_size), sample.labels.split(self.batch_size), strict=True)
        return cycle([(self.data.normalise(one), labels) for one, labels in batches if len(one) == self.batch_size])

    def _loaded(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of images that workers crop, flip and normalise one by one."""
        loader = torch.utils.data.DataLoader(
            Pictures(self.data),
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=min(WORKERS, cores()),
            pin_memory=self.device.type == "cuda",
            persistent_workers=True,
        )
        while True:
            for images, labels in loader:
                yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """A data set as torchvision's are: an array of pixels, a PIL image an item, transforms. As long as CIFAR-10."""

    def __init__(self, data: Data) -> None:
        from torchvision import transforms

        sample = data.train_sample
        self.pixels, self.labels = sample.images.cpu().permute(0, 2, 3, 1).numpy(), sample.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(data.image_size, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        place = index % len(self.labels)
        return self.transform(Image.fromarray(self.pixels[place])), self.labels[place]
