"""Model and Mixer: what `build` takes and returns."""

import abc
from typing import ClassVar, NoReturn, Self

from torch import Tensor, nn

from vision_attn.spec import Spec, spec


@spec
class Model(Spec, abc.ABC):
    """An image classifier. `width_field` and `depth_field` name the fields that `match` may turn; empty: none."""

    width_field: ClassVar[str] = ""
    depth_field: ClassVar[str] = ""
    own_hint: ClassVar[str] = "What builds a module becomes a Model by @as_model of vision_attn.models."

    def __call__(self, *images: Tensor) -> NoReturn:
        """Raises `TypeError`: the module is what `build` gives."""
        name = type(self).__name__
        raise TypeError(
            f"{name} says what to build. The module is {name}(...).build(image_size=32, in_chans=3, num_classes=10)."
        )

    @abc.abstractmethod
    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        """A freshly initialised module, (B, in_chans, image_size, image_size) to logits (B, num_classes).

        It has timm's `forward_features`, `forward_head`, `num_features`. Random numbers come from torch's global
        generator, which the caller has seeded. Raises `InputError` where the fields do not fit the images.
        """


@spec
class Mixer(Spec, abc.ABC):
    """What fills the trunk's slot: the only part of a block in which one token sees another.

    `takes_prefix` says whether tokens without a grid position (CLS, registers) may stand before those of the grid.
    """

    takes_prefix: ClassVar[bool] = False
    own_hint: ClassVar[str] = "What builds a module becomes a Mixer by @as_mixer of vision_attn.models."

    @abc.abstractmethod
    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        """A module from tokens (B, N, dim) to tokens (B, N, dim).

        N = num_prefix_tokens + grid[0] * grid[1], those of the grid in raster order behind the others. A module may
        state what it costs by a method `multiply_adds(x)` (`models.size`), as it must where it has operations that
        the counter of PyTorch does not know.
        """

    @property
    def width_multiple(self) -> int:
        """What the width of the tokens must be a multiple of."""
        return 1

    def widened(self, factor: int) -> Self:
        """The mixer for a later stage of a hierarchy, whose tokens are `factor` times as wide."""
        return self
