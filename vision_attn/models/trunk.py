"""The trunk: patch embedding, pre-norm blocks of (token mixer + MLP), pooling, norm, head.

With self-attention in the mixer's slot it is a vision transformer (Dosovitskiy et al. 2021) with mean pooling and,
as in timm, the last norm behind it.
Twins differ in the mixer and in nothing else: parameters outside the mixers are drawn first, from the same stream.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from vision_attn.layers import Attention, ConvEmbed, LocalEmbed, PatchEmbed, TokenMerging, sincos2d
from vision_attn.layers.places import OfPlaces
from vision_attn.layers.positions import interpolated
from vision_attn.layers.symbolic import traced
from vision_attn.models.base import Mixer, Model
from vision_attn.models.blocks import Block, in_turn, initialise, told
from vision_attn.models.classifier import Classifier
from vision_attn.models.drop_path import drop_path_rates
from vision_attn.models.features import Features, Step
from vision_attn.models.input_size import both_sides
from vision_attn.models.mimetic import initialise_mimetic
from vision_attn.models.mixers import SelfAttention
from vision_attn.spec import InputError, spec


@spec
class ViT(Model):
    """The trunk with a mixer slot, self-attention unless told otherwise.

    `pool` is "mean" over the tokens of the grid, "token" for a class token, or "none": the head then reads every token
    by itself, and logits are (B, num_classes, rows, columns). `reg_tokens` registers stand before the tokens of the
    grid. After each of the blocks in `merge_after`, counted from 1, 2 x 2 tokens become one of twice the width, for a
    hierarchy of stages (Liu et al. 2021): heads double with the width, window sizes stay. The `stem` "convolution"
    makes the tokens with overlapping convolutions, as in the compact convolutional transformer (Hassani et al. 2021),
    rather than with one linear map a patch; `patch_size` is then the stride of its output, a power of two. With the
    stem "local" every patch has a linear map of its own: a locally connected layer, for one image size.

    The `init` "mimetic" lets attention start as it looks in trained networks (Trockman and Kolter 2023,
    arXiv:2305.09828): W_q W_k^T = 0.7 Z + 0.7 I, cut to the rank of a head, and W_v W_proj = 0.4 Z - 0.4 I, with Z
    normal of variance 1 / dim. It is meant for the position "sincos2d". The `init` "unit_variance" draws W_q, W_k and
    W_v from a normal distribution of variance 1 / dim, so that queries and keys of normed tokens have the variance 1
    that the derivation of the scale 1/sqrt(D) assumes; with "default" it is 0.0004 dim. All other weights start as
    with "default".
    `drop_rate` is the share of the features that dropout sets to 0 before the head.
    """

    width_field: ClassVar[str] = "dim"
    depth_field: ClassVar[str] = "depth"

    dim: int = 192
    depth: int = 6
    mlp_ratio: float = 4.0
    patch_size: int = 4
    mixer: Mixer = SelfAttention()
    position: Literal["learned", "sincos2d", "none"] = "learned"
    drop_path: float = 0.0
    pool: Literal["mean", "token", "none"] = "mean"
    reg_tokens: int = 0
    merge_after: tuple[int, ...] = ()
    stem: Literal["patch", "convolution", "local"] = "patch"
    init: Literal["default", "mimetic", "unit_variance"] = "default"
    drop_rate: float = 0.0

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens without a grid position: the class token and the registers."""
        return self.reg_tokens + (self.pool == "token")

    def check(self) -> None:
        self.require("dim", self.dim >= 1, "at least 1")
        self.require("depth", self.depth >= 1, "at least 1")
        self.require("mlp_ratio", self.mlp_ratio > 0, "more than 0")
        self.require("patch_size", self.patch_size >= 1, "at least 1")
        halved = self.stem != "convolution" or (self.patch_size >= 2 and self.patch_size.bit_count() == 1)
        self.require("patch_size", halved, "a power of two, at least 2, with the stem 'convolution'")
        self.require("drop_path", 0 <= self.drop_path < 1, "at least 0 and less than 1")
        self.require("drop_rate", 0 <= self.drop_rate < 1, "at least 0 and less than 1")
        wide = self.position != "sincos2d" or (self.dim % 4 == 0 and self.dim >= 8)
        self.require("dim", wide, "a multiple of 4, at least 8, with the position 'sincos2d'")
        self.require("reg_tokens", self.reg_tokens >= 0, "at least 0")
        rising = all(a < b for a, b in itertools.pairwise((0, *self.merge_after, self.depth)))
        self.require(
            "merge_after", not self.merge_after or rising, f"rising numbers from 1 to depth - 1 = {self.depth - 1}"
        )
        if self.num_prefix_tokens:
            allowed = "one that takes a class token and registers, such as SelfAttention"
            self.require("mixer", self.mixer.takes_prefix, allowed)
            self.require("merge_after", not self.merge_after, "() with a class token or registers")
        plain = isinstance(self.mixer, SelfAttention) and self.mixer.is_dot_product
        allowed = "SelfAttention with the similarity 'dot', as wide as the tokens, without qk_norm, with init 'mimetic'"
        self.require("mixer", self.init != "mimetic" or plain, allowed)
        attends = self.init != "unit_variance" or isinstance(self.mixer, SelfAttention)
        self.require("mixer", attends, "SelfAttention with init 'unit_variance'")

    def build(self, *, image_size: int | tuple[int, int], in_chans: int, num_classes: int) -> nn.Module:
        """A freshly initialised module for square images, or with two numbers for those of that (height, width)."""
        sides = both_sides(image_size)
        divides = all(side % self.patch_size == 0 for side in sides)
        self.require("patch_size", divides, f"a divisor of the image size {image_size}")
        rows, columns = (side // self.patch_size for side in sides)
        halves = all(side % 2 ** len(self.merge_after) == 0 for side in (rows, columns))
        self.require("merge_after", halves, f"no longer than {rows} x {columns} tokens can be halved")
        return VisionTransformer(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


class VisionTransformer(OfPlaces, Features, Classifier):
    """The module of `ViT`. `grid` is the token grid (rows, columns) of the first stage, `grids` that of every block.

    With `dynamic_img_size` (models.input_size.allow_any_size) a forward pass takes images of any size that the patches
    divide: positions are those that `set_input_size` would leave.
    """

    spec: ViT
    dynamic_img_size = False
    elsewhere = "; set_input_size brings it to another"

    def __init__(self, spec: ViT, *, image_size: int | tuple[int, int], in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        dim, (rows, columns) = spec.dim, (side // spec.patch_size for side in both_sides(image_size))
        stages = [sum(block >= last for last in spec.merge_after) for block in range(spec.depth)]
        self.grid, self.grids = (rows, columns), [(rows >> stage, columns >> stage) for stage in stages]
        self.num_features, self.num_prefix_tokens, self.pool = dim << stages[-1], spec.num_prefix_tokens, spec.pool
        sizes = {"patch_size": spec.patch_size, "in_chans": in_chans, "dim": dim}
        if spec.stem == "local":
            self.patch_embed: nn.Module = LocalEmbed(**sizes, grid=self.grid)
        else:
            self.patch_embed = (PatchEmbed if spec.stem == "patch" else ConvEmbed)(**sizes)
        if spec.position == "learned":
            self.pos_embed: Tensor | None = nn.Parameter(torch.empty(1, rows * columns, dim))
        else:
            fixed = sincos2d(self.grid, dim) if spec.position == "sincos2d" else None
            self.register_buffer("pos_embed", fixed, persistent=False)
        rates = drop_path_rates(spec.drop_path, spec.depth)
        widths = [dim << stage for stage in stages]
        self.blocks = nn.Sequential(
            *(Block(w, hidden=round(w * spec.mlp_ratio), drop_path=r) for w, r in zip(widths, rates, strict=True))
        )
        self.merges = nn.ModuleDict(
            {str(last): TokenMerging(widths[last - 1], grid=self.grids[last - 1]) for last in spec.merge_after}
        )
        self.fc_norm = nn.LayerNorm(self.num_features, eps=1e-6)
        self.head_drop = nn.Dropout(spec.drop_rate) if spec.drop_rate else nn.Identity()
        self.head = super().make_head(num_classes)
        if spec.num_prefix_tokens:
            self.prefix = nn.Parameter(torch.empty(1, spec.num_prefix_tokens, dim))
        self.begin()
        for block, stage, grid in zip(self.blocks, stages, self.grids, strict=True):
            block.mixer = _made_mixer(spec, stage, grid)
        self.feature_info = [
            {"module": f"blocks.{i}", "num_chs": width, "reduction": spec.patch_size << stage}
            for i, (width, stage) in enumerate(zip(widths, stages, strict=True))
        ]

    def begin(self) -> None:
        if isinstance(self.pos_embed, nn.Parameter):
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        initialise(self.modules())
        if self.num_prefix_tokens:
            nn.init.trunc_normal_(self.prefix, std=0.02)
        for module in self.modules():
            _begin_mixer(module, self.spec)

    def places(self) -> tuple[int, int] | None:
        """The grid of the learned positions."""
        return self.grid if isinstance(self.pos_embed, nn.Parameter) else None

    def embed(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to the tokens of the first block, class token and registers first.

        Raises `InputError` for images of another size: those with as many tokens would be read as if they were of it.
        """
        grid = self.grid if traced(x) else self._grid_of(x)
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self._positions(self.pos_embed, grid, x.device).to(self.fc_norm.weight.dtype)
        if self.num_prefix_tokens:
            x = torch.cat([self.prefix.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)
        return x

    def _grid_of(self, images: Tensor) -> tuple[int, int]:
        """The grid of the first block for images. Raises `InputError` for those of a size that is not taken."""
        sides, patch = both_sides(self.image_size), self.spec.patch_size
        height, width = images.shape[2:]
        if height == sides[0] and width == sides[1]:
            return self.grid
        cell = patch << len(self.merges)
        if self.dynamic_img_size and height % cell == 0 and width % cell == 0 and min(height, width) >= cell:
            return height // patch, width // patch
        allowed = f"of {sides[0]} x {sides[1]} pixels (set_input_size changes that)"
        allowed = f"of sides that {cell} pixels divide" if self.dynamic_img_size else allowed
        raise InputError(f"images of VisionTransformer must be {allowed}. Got {tuple(images.shape)} instead.")

    def _positions(self, stored: Tensor, grid: tuple[int, int], device: torch.device) -> Tensor:
        """The positions; fixed ones computed again where the weights were loaded without them, as from meta."""
        if self.spec.position == "learned":
            return stored if grid == self.grid else interpolated(stored, self.grid, grid)
        own = grid == self.grid and stored.device == device
        return stored if own else sincos2d(grid, stored.shape[2], device=device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moved as any module; but fixed positions keep their precision, and their numbers where memory is left unset.

        They are stored nowhere.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        fixed = self.pos_embed
        if fixed is not None and not isinstance(fixed, nn.Parameter):
            self.pos_embed = sincos2d(self.grid, fixed.shape[2], device=fixed.device)
        return self

    def steps(self, images: Tensor | None = None) -> list[Step]:
        """The blocks, each with the merging of tokens before it if there is one."""
        grids = self.grids if images is None or traced(images) else self.grids_of(images)
        steps = [told(block, grid, own) for block, grid, own in zip(self.blocks, grids, self.grids, strict=True)]
        for number, merge in self.merges.items():
            last, behind = int(number) - 1, int(number)
            steps[behind] = functools.partial(in_turn, told(merge, grids[last], self.grids[last]), steps[behind])
        return steps

    def grids_of(self, images: Tensor) -> list[tuple[int, int]]:
        rows, columns = self._grid_of(images)
        stages = [self.grid[0] // own[0] for own in self.grids]
        return [(rows // times, columns // times) for times in stages]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens to logits (B, num_classes); with `pre_logits` to the pooled and normed features (B, num_features).

        With pool = "none" both have (rows, columns) behind.
        """
        if self.pool == "none":
            x = self.fc_norm(x[:, self.num_prefix_tokens :])
            x = x if pre_logits else self.head(self.head_drop(x))
            logits: Tensor = x.transpose(1, 2).unflatten(2, self.grids[-1])
            return logits
        x = self.fc_norm(x[:, 0] if self.pool == "token" else x[:, self.num_prefix_tokens :].mean(dim=1))
        return x if pre_logits else self.head(self.head_drop(x))

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimisers leave undecayed."""
        return {"pos_embed", "prefix"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """What learns alike with timm's `layer_decay`: the embedding, each block and the merging before it."""
        blocks = [(r"^(?:blocks|merges)\.(\d+)", None), (r"^fc_norm", (99999,))]  # timm's number: as what is before
        return {"stem": r"^(?:patch_embed|pos_embed|prefix)", "blocks": blocks}

    def make_head(self, num_classes: int) -> nn.Module:
        head = super().make_head(num_classes)
        initialise([head])
        return head


def _made_mixer(spec: ViT, stage: int, grid: tuple[int, int]) -> nn.Module:
    """The mixer of a block of that stage, counted from 0, with its initial weights."""
    own = spec.mixer.widened(2**stage) if stage else spec.mixer
    mixer = own.build(dim=spec.dim << stage, grid=grid, num_prefix_tokens=spec.num_prefix_tokens)
    initialise(mixer.modules())
    _begin_mixer(mixer, spec)
    return mixer


def _begin_mixer(mixer: nn.Module, spec: ViT) -> None:
    """As `init` of the spec says where it is attention."""
    if isinstance(mixer, Attention) and spec.init == "mimetic":
        initialise_mimetic(mixer)
    elif isinstance(mixer, Attention) and spec.init == "unit_variance":
        nn.init.normal_(mixer.qkv.weight, std=mixer.dim**-0.5)
