"""Networks made on meta, given memory and reset begin as new ones do: `reset_parameters`."""

import math

import pytest
import torch

from vision_attn.models import (
    LSTM,
    ConvNeXt,
    ConvStack,
    DepthwiseConv,
    KMeansFeatures,
    RandomMixer,
    ResNet,
    SelfAttention,
    ViT,
)

SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 5}
SMALL = {"dim": 16, "depth": 2, "patch_size": 4}
SPECS = {
    "attention": ViT(**SMALL),
    "registers": ViT(**SMALL, pool="token", reg_tokens=2, mixer=SelfAttention(num_heads=2, similarity="bilinear")),
    "recurrent": ViT(**SMALL, mixer=LSTM()),
    "convolution": ViT(**SMALL, mixer=DepthwiseConv(kernel_size=3)),
    "random": ViT(**SMALL, mixer=RandomMixer(), position="sincos2d"),
    "merging": ViT(**SMALL, merge_after=(1,), stem="convolution"),
    "local": ViT(**SMALL, stem="local"),
    "mimetic": ViT(**SMALL, init="mimetic", position="sincos2d"),
    "unit variance": ViT(**SMALL, init="unit_variance"),
    "stack": ConvStack(width=8, kernels=(3, 1), depthwise=True),
    "residual": ResNet(width=4, blocks=1),
    "ConvNeXt": ConvNeXt(width=4, blocks=1),
    "k-means": KMeansFeatures(centroids=4),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_network_that_is_reset_begins_as_a_new_one_does(name):
    torch.manual_seed(0)
    with torch.device("meta"):
        model = SPECS[name].build(**SHAPE)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(math.nan if tensor.is_floating_point() else -1)
    model.apply(lambda part: part.reset_parameters() if hasattr(part, "reset_parameters") else None)
    new, found = SPECS[name].build(**SHAPE).state_dict(), model.state_dict()
    assert found.keys() == new.keys()
    for key, expected in new.items():
        if expected.unique().numel() <= 2:
            torch.testing.assert_close(found[key], expected)
        elif expected.numel() >= 64:
            assert found[key].std().item() == pytest.approx(expected.std().item(), rel=0.35), key
    assert model.eval()(torch.zeros(2, 3, 16, 16)).isfinite().all()
