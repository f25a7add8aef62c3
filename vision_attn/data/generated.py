"""Generated: data sets whose images are drawn, not read, on the lattice of glyph cells."""

import abc
import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from vision_attn.data.base import UNLABELLED, Data, Dataset, Split, Stream
from vision_attn.data.lattice import BLANK, SIDE, glyphs, length
from vision_attn.spec import canonical, spec

SAMPLE = 2000
"""Images held of a stream."""

SPREAD = 2.0
"""What grey levels in [0, 1] are divided by, the background being 0: a glyph lies 1/8 above and below it.

It weighs what a token shows against where it lies. Divided by less, a learned position embedding, which starts at 0.02,
drowns in what is shown; divided by more, what is shown drowns in a sine-cosine embedding. Updates to 95 % on filled
recall with 8 cues (batches of 64, learning rate 1e-3, one seed), learned at 2 cells and sine-cosine at 5: divided by 1,
over 2,000 and 500; by 2, 1,100 and 900; by 4, 800 and over 800.
"""

TOKENS = SIDE // 4
MOST_GLYPHS = 32


@spec
class Generated(Dataset, abc.ABC):
    """A task of 32 x 32 colour images, made by a seed.

    With `train_size` None every update draws fresh images, a function of the run's seed and the update alone; a number
    asks for that many fixed ones, drawn with `subset_seed`. Validation and test images have seeds of their own.
    With `aligned` the 8 x 8 cells of 4 x 4 pixels lie on the grid of a 4-px patch embedding; without, there are 7 x 7,
    moved by 0 to 3 pixels down and to the right, each image by its own.
    """

    val_size: int = 1000
    test_size: int = 4000
    aligned: bool = True

    def check(self) -> None:
        self.require("train_size", self.train_size is None or self.train_size >= 1, "None or at least 1")
        self.require("val_size", self.val_size >= 0, "at least 0")
        self.require("test_size", self.test_size >= 1, "at least 1")

    @property
    def side(self) -> int:
        """Cells along a side of the lattice."""
        return length(aligned=self.aligned)

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the labels."""

    @abc.abstractmethod
    def draw(self, number: int, *, generator: torch.Generator) -> Split:
        """`number` images, independent of each other, with their labels and attributes."""

    def draw_training(self, number: int, *, generator: torch.Generator) -> Split:
        """`number` images to learn from: as `draw`, where they do not differ."""
        return self.draw(number, generator=generator)

    def load(self) -> Data:
        seed = self.subset_seed if self.train_size else 0
        held = self.draw_training(self.train_size or SAMPLE, generator=self._generator("training images", seed))
        val = self.draw(self.val_size, generator=self._generator("validation split")) if self.val_size else None
        test = self.draw(self.test_size, generator=self._generator("test split"))
        return Data(
            name=self.label,
            train=held if self.train_size else Stream(self.draw_training, held),
            val=val,
            test=test,
            classes=self.classes,
            fingerprint=checksum([test]),
            subset_sha256=checksum([held]),
            flip=False,
            crop=False,
            mean=(BLANK / 255,) * 3,
            std=(SPREAD,) * 3,
        )

    def _generator(self, purpose: str, seed: int = 0) -> torch.Generator:
        key = hashlib.sha256(f"{type(self).__name__} {purpose}:{seed}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(key[:8]) >> 1)


def glyph_table(number: int) -> Tensor:
    """What cells may hold, uint8 (K + 1, 4, 4): the glyphs, and last of all nothing."""
    return torch.cat([glyphs(number), torch.full((1, 4, 4), BLANK, dtype=torch.uint8)])


def dense(number: int, labels: Tensor, at: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Label maps (N, 8, 8) on the grid of 4-px tokens, with labels at (image, row, column) and none elsewhere."""
    maps = torch.full((number, TOKENS, TOKENS), UNLABELLED)
    maps[at] = labels
    return maps


def checksum(splits: Iterable[Split]) -> str:
    """sha256, in hex, over the bytes of images and labels, each after its shape."""
    found = hashlib.sha256()
    for split in splits:
        for part in (split.images, split.labels):
            found.update(canonical([str(part.dtype), list(part.shape)]))
            found.update(part.contiguous().numpy().data)
    return found.hexdigest()
