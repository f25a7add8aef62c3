"""The trunk: patch embedding, pre-norm blocks of (token mixer + MLP), mean pooling, norm, head.

With self-attention in the mixer's slot it is a vision transformer (Dosovitskiy et al. 2021) with mean pooling and,
as in timm, the last norm behind it.
Twins differ in the mixer and in nothing else: parameters outside the mixers are drawn first, from the same stream.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vision_attn.layers import PatchEmbed, sincos2d
from vision_attn.models.base import Mixer, Model
from vision_attn.models.mixers import SelfAttention
from vision_attn.spec import InputError, spec


@spec
class ViT(Model):
    """The trunk with a mixer slot, self-attention unless told otherwise."""

    width_field: ClassVar[str] = "dim"
    depth_field: ClassVar[str] = "depth"

    dim: int = 192
    depth: int = 6
    mlp_ratio: float = 4.0
    patch_size: int = 4
    mixer: Mixer = SelfAttention()
    position: Literal["learned", "sincos2d", "none"] = "learned"
    drop_path: float = 0.0

    def check(self) -> None:
        self.require("dim", self.dim >= 1, "at least 1")
        self.require("depth", self.depth >= 1, "at least 1")
        self.require("mlp_ratio", self.mlp_ratio > 0, "more than 0")
        self.require("patch_size", self.patch_size >= 1, "at least 1")
        self.require("drop_path", 0 <= self.drop_path < 1, "at least 0 and less than 1")
        wide = self.position != "sincos2d" or (self.dim % 4 == 0 and self.dim >= 8)
        self.require("dim", wide, "a multiple of 4, at least 8, with the position 'sincos2d'")

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        if image_size % self.patch_size:
            allowed = f"a divisor of the image size {image_size}"
            raise InputError(f"patch_size of ViT must be {allowed}. Got {self.patch_size} instead.")
        return VisionTransformer(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


class Mlp(nn.Module):
    """Two linear maps with a GELU between them, on each token by itself."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch for whole samples (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(x.shape[0], 1, 1).bernoulli_(keep).div_(keep)


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, *, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.mixer = nn.LayerNorm(dim, eps=1e-6), nn.Module()
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), Mlp(dim, hidden)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """The module of `ViT`, with timm's method names. `grid` is the token grid (rows, columns)."""

    def __init__(self, model: ViT, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__()
        dim, side = model.dim, image_size // model.patch_size
        self.num_features, self.num_classes, self.grid = dim, num_classes, (side, side)
        self.patch_embed = PatchEmbed(patch_size=model.patch_size, in_chans=in_chans, dim=dim)
        if model.position == "learned":
            self.pos_embed: Tensor | None = nn.Parameter(torch.empty(1, side * side, dim))
        else:
            fixed = sincos2d(self.grid, dim) if model.position == "sincos2d" else None
            self.register_buffer("pos_embed", fixed, persistent=False)
        rates = [model.drop_path * index / max(1, model.depth - 1) for index in range(model.depth)]
        hidden = round(dim * model.mlp_ratio)
        self.blocks = nn.Sequential(*(Block(dim, hidden=hidden, drop_path=rate) for rate in rates))
        self.fc_norm = nn.LayerNorm(dim, eps=1e-6)
        self.head: nn.Module = nn.Linear(dim, num_classes)
        if isinstance(self.pos_embed, nn.Parameter):
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        _initialise(self.modules())
        for block in self.blocks:
            block.mixer = model.mixer.build(dim=dim, grid=self.grid)
            _initialise(block.mixer.modules())

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to tokens (B, N, dim)."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        return self.blocks(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N, dim) to logits (B, num_classes); with `pre_logits` to their normed mean (B, dim)."""
        x = self.fc_norm(x.mean(dim=1))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimisers leave undecayed."""
        return {"pos_embed"}

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for that many classes; with 0 the pooled features come out."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        _initialise([self.head])


def _initialise(modules: Iterable[nn.Module]) -> None:
    """Linear maps: truncated normal of standard deviation 0.02 and biases 0, as in timm; the rest as in PyTorch."""
    for module in modules:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
