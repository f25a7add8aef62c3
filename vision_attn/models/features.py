"""Features of every block or stage: timm's interface to them, for all classifiers of this package.

B batch, N tokens of the grid, P prefix tokens, C channels.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vision_attn.models.images import require_images
from vision_attn.models.input_size import resize
from vision_attn.spec import InputError

Indices = int | Sequence[int] | None
Step = Callable[[Tensor], Tensor]


class Features(nn.Module):
    """What a network gives after every block or stage; `feature_info` has their names, widths and reductions."""

    feature_info: list[dict[str, Any]]
    num_prefix_tokens = 0
    grad_checkpointing = False

    def embed(self, x: Tensor) -> Tensor:
        """Images to what the first block takes."""
        raise NotImplementedError

    def steps(self, images: Tensor | None = None) -> list[Step]:
        """The blocks or stages, with what stands between them, in order; one for every entry of `feature_info`.

        For images of the size that the model was built for, or where any is taken for those that are given.
        """
        raise NotImplementedError

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training computes the inside of each block again in the backward pass, in less memory.

        Raises `InputError` for a model with BatchNorm, whose running statistics would be updated twice a step.
        """
        if enable and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules()):
            allowed = f"False for a {type(self).__name__}, whose BatchNorm would see every batch twice"
            raise InputError(f"enable of set_grad_checkpointing must be {allowed}. Got True instead.")
        self.grad_checkpointing = enable

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Take images of another size, (height, width) or one number for squares, from now on.

        The grid of positions is interpolated as timm does; relative tables by the rule of `layers.RelativeBias`, which
        is not timm's: `from_timm(beit, image_size=...)` follows that. Raises `InputError` for a size that the spec
        cannot be built for, and for a mixer whose weights belong to the places of one grid.
        """
        resize(self, img_size)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to what the last block or stage gives. Raises `InputError` for anything else."""
        require_images(x, self)
        steps, x = self.steps(x), self.embed(x)
        for step in steps:
            x = self._run(step, x)
        return x

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Indices = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Literal["NCHW", "NLC"] = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """What `forward_features` gives, and a list of what the blocks or stages at `indices` give.

        `indices` is None for all, a number for the last so many, or their places from 0, negative ones from the end.
        Each has the format "NCHW", (B, C, rows, columns), or "NLC", (B, N, C), without the P prefix tokens; with
        `return_prefix_tokens` it is a pair with these, (B, P, C). `stop_early` runs no block behind the last that is
        asked for, and what comes first is then what that one gives. With `intermediates_only` the list comes alone.
        Raises `InputError` where `norm` is asked for: the norm of these models stands behind the pooling.
        """
        if norm:
            allowed = "False, as the norm stands behind the pooling"
            raise InputError(f"norm of forward_intermediates must be {allowed}. Got {norm!r} instead.")
        if output_fmt not in ("NCHW", "NLC"):
            raise InputError(
                f"output_fmt of forward_intermediates must be 'NCHW' or 'NLC'. Got {output_fmt!r} instead."
            )
        require_images(x, self)
        steps, grids = self.steps(x), self.grids_of(x)
        wanted = self.feature_places(indices)
        x, found = self.embed(x), {}
        for place, step in enumerate(steps[: max(wanted) + 1] if stop_early else steps):
            x = self._run(step, x)
            if place in wanted:
                found[place] = self._formatted(x, grids[place], output_fmt, return_prefix_tokens)
        intermediates = [found[place] for place in wanted]
        return intermediates if intermediates_only else (x, intermediates)

    def get_intermediate_layers(
        self,
        x: Tensor,
        n: int | Sequence[int] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
    ) -> list[Any]:
        """What the last n blocks give, or those at the places n, as DINO calls it: (B, N, C); images with `reshape`."""
        shape: Literal["NCHW", "NLC"] = "NCHW" if reshape else "NLC"
        return self.forward_intermediates(
            x, n, return_prefix_tokens, norm=norm, stop_early=True, output_fmt=shape, intermediates_only=True
        )

    def feature_places(self, indices: Indices) -> list[int]:
        """The places from 0 that `indices` means, in the order asked for."""
        number = len(self.feature_info)
        last = number if indices is None else indices
        places = list(range(number - last, number)) if isinstance(last, int) else [i + number * (i < 0) for i in last]
        if not places or not all(0 <= place < number for place in places):
            allowed = f"None, a number from 1 to {number}, or places from {-number} to {number - 1}"
            raise InputError(f"indices of {type(self).__name__} must be {allowed}. Got {indices!r} instead.")
        return places

    def _run(self, step: Step, x: Tensor) -> Tensor:
        if self.grad_checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(step, x, use_reentrant=False)
            return out
        return step(x)

    def _formatted(self, x: Tensor, grid: tuple[int, int] | None, output_fmt: str, pair: bool) -> Any:
        """One output without its prefix tokens, in that format; a pair with them if asked for."""
        if x.ndim == 4:
            return x if output_fmt == "NCHW" else x.flatten(2).transpose(1, 2)
        prefix, rest = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        if output_fmt == "NCHW":
            assert grid is not None
            rest = rest.transpose(1, 2).unflatten(2, grid).contiguous()
        return (rest, prefix) if pair and self.num_prefix_tokens else rest

    def grids_of(self, images: Tensor) -> Sequence[tuple[int, int] | None]:
        """The grids (rows, columns) of the tokens that the blocks give; None where they give images."""
        return [None] * len(self.feature_info)
