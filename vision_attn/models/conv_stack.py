"""A stack of convolutions on the token grid whose receptive field is turned like a dial, at constant depth.

Nothing but its kernels moves information between tokens: every norm is over the channels of one position. (Norms over
positions, such as GroupNorm with one group, let a network see the whole image whatever its kernels.)
"""

from typing import ClassVar, Literal

from torch import Tensor, nn

from vision_attn.layers import PatchEmbed
from vision_attn.layers.beginning import Beginning
from vision_attn.models.base import Model
from vision_attn.models.classifier import Classifier
from vision_attn.models.features import Features, Step
from vision_attn.spec import InputError, spec


@spec
class ConvStack(Model):
    """Patch embedding, then one residual convolution a kernel on the grid of tokens, zero-padded to the same size.

    A kernel of 1 keeps the depth where the radius is to be smaller, as in BagNets (Brendel and Bethge 2019,
    arXiv:1904.00760). `dilations` spread the kernels (Yu and Koltun 2016, arXiv:1511.07122); () is 1 for each. With
    `depthwise` a kernel takes each channel by itself and a linear map of the channels follows, so that large kernels
    are cheap. `pool` is "mean" over the positions, or "none": the head reads every position by itself, and logits are
    (B, num_classes, rows, columns).
    """

    width_field: ClassVar[str] = "width"

    width: int = 64
    kernels: tuple[int, ...] = (3, 3, 3, 3)
    dilations: tuple[int, ...] = ()
    patch_size: int = 4
    depthwise: bool = False
    pool: Literal["mean", "none"] = "mean"

    @property
    def radius(self) -> int:
        """How many tokens away an output still sees: the sum of (kernel - 1) / 2 x dilation."""
        return sum(kernel // 2 * dilation for kernel, dilation in self.layers)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Kernel and dilation of every block."""
        return list(zip(self.kernels, self.dilations or (1,) * len(self.kernels), strict=True))

    def check(self) -> None:
        self.require("width", self.width >= 1, "at least 1")
        odd = all(kernel >= 1 and kernel % 2 for kernel in self.kernels)
        self.require("kernels", bool(self.kernels) and odd, "one or more odd numbers, each at least 1")
        fits = len(self.dilations) == len(self.kernels) and min(self.dilations) >= 1
        allowed = f"() or {len(self.kernels)} numbers, one a kernel, each at least 1"
        self.require("dilations", not self.dilations or fits, allowed)
        self.require("patch_size", self.patch_size >= 1, "at least 1")

    def build(self, *, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
        self.require("patch_size", image_size % self.patch_size == 0, f"a divisor of the image size {image_size}")
        return ConvolutionStack(self, image_size=image_size, in_chans=in_chans, num_classes=num_classes)


def rf_dial(radius: int, *, depth: int, width: int = 64) -> ConvStack:
    """`depth` blocks that see `radius` tokens far: that many 3 x 3 convolutions, then 1 x 1 ones."""
    if not 0 <= radius <= depth:
        raise InputError(f"radius of rf_dial must be from 0 to depth = {depth}. Got {radius!r} instead.")
    return ConvStack(width=width, kernels=(3,) * radius + (1,) * (depth - radius))


class PositionNorm(nn.LayerNorm):
    """LayerNorm over the channels of every position by itself, (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvBlock(Beginning):
    """norm(x + gelu(conv(x))); depthwise, norm(x + pointwise(gelu(conv(x)))).

    The norm stands behind the sum, as in Vaswani et al. 2017, and kernels start with twice the deviation of He et al.
    2015 (fan in, normal): shortcuts that outweigh the kernels hide what comes from afar. With the norm before the
    convolution four 3 x 3 blocks were still at chance on a glyph 4 tokens away after 600 updates; so they learn it.
    """

    def __init__(self, width: int, *, kernel: int, dilation: int, depthwise: bool) -> None:
        super().__init__()
        self.norm, self.act = PositionNorm(width, eps=1e-6), nn.GELU()
        groups = width if depthwise else 1
        self.conv = nn.Conv2d(width, width, kernel, padding=kernel // 2 * dilation, dilation=dilation, groups=groups)
        self.pointwise = nn.Conv2d(width, width, 1) if depthwise else nn.Identity()
        self.begin()

    def begin(self) -> None:
        for module, gain in ((self.conv, 2 * 2**0.5), (self.pointwise, 2**0.5)):
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=gain * module.weight[0].numel() ** -0.5)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.pointwise(self.act(self.conv(x))))


class ConvolutionStack(Features, Classifier):
    """The module of `ConvStack`; `grid` is (rows, columns)."""

    def __init__(self, spec: ConvStack, *, image_size: int, in_chans: int, num_classes: int) -> None:
        super().__init__(spec, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        side = image_size // spec.patch_size
        self.grid, self.num_features, self.pool = (side, side), spec.width, spec.pool
        self.patch_size = spec.patch_size
        self.patch_embed = PatchEmbed(patch_size=spec.patch_size, in_chans=in_chans, dim=spec.width)
        self.blocks = nn.Sequential(
            *(ConvBlock(spec.width, kernel=k, dilation=d, depthwise=spec.depthwise) for k, d in spec.layers)
        )
        self.fc_norm = nn.LayerNorm(spec.width, eps=1e-6)
        self.head = self.make_head(num_classes)
        self.feature_info = [
            {"module": f"blocks.{i}", "num_chs": spec.width, "reduction": spec.patch_size}
            for i in range(len(spec.kernels))
        ]

    def embed(self, x: Tensor) -> Tensor:
        grid = [side // self.patch_size for side in x.shape[2:]]
        return self.patch_embed(x).transpose(1, 2).unflatten(2, grid)

    def steps(self, images: Tensor | None = None) -> list[Step]:
        return list(self.blocks)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A feature map to logits (B, num_classes); with `pre_logits` to the pooled and normed features (B, width).

        With pool = "none" both have (rows, columns) behind.
        """
        x = x.permute(0, 2, 3, 1)
        x = self.fc_norm(x.mean(dim=(1, 2)) if self.pool == "mean" else x)
        x = x if pre_logits else self.head(x)
        return x if self.pool == "mean" else x.permute(0, 3, 1, 2)
