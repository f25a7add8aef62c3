"""Small models of timm whose every parameter is random, and images for them."""

import timm
import torch

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 7}


def theirs(name="vit_tiny_patch16_224", **options):
    """A timm ViT whose every parameter is random, the zeros and ones of its initialisation too."""
    torch.manual_seed(0)
    return stirred(timm.create_model(name, **{**SMALL, **options}).eval())


def stirred(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def images(*size, channels=3):
    height, width = size if len(size) == 2 else (size or (32,)) * 2
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1))
