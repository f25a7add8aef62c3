"""The size of a model: parameters, and floating-point operations of one image forward."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vision_attn.models.base import Model


def count_params(model: Model, *, image_size: int, in_chans: int, num_classes: int) -> int:
    """The number of trainable parameters."""
    with torch.device("meta"):
        module = model.build(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
    return params_of(module)


def count_flops(model: Model, *, image_size: int, in_chans: int, num_classes: int) -> int:
    """The floating-point operations of one image forward, two for each multiply-and-add of matrix products.

    Counted on the `meta` device, where every path of attention is seen; on a CPU the counter of PyTorch gives the
    fused kernel no operations at all.
    """
    with torch.device("meta"):
        module = model.build(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
    return flops_of(module, (in_chans, image_size, image_size))


def params_of(module: nn.Module) -> int:
    """The number of trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def flops_of(module: nn.Module, shape: tuple[int, int, int]) -> int:
    """The forward operations of a module on the `meta` device, for one image of `shape` (C, H, W)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops()
