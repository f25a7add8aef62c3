"""Branch scale: what a mixer adds before training, on analytic cases, and twins of equal scale."""

import pytest
import torch
from noise_data import noise

from vision_attn.data import Mnist5k
from vision_attn.models import (
    DepthwiseConv,
    IdentityMixer,
    ResNet,
    SelfAttention,
    ViT,
    ZeroMixer,
)
from vision_attn.probes import BranchScale
from vision_attn.spec import InputError


def built(model, data):
    torch.manual_seed(0)
    return model.build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)


def measured(model, data, **options):
    return [row["value"] for row in BranchScale(**options)(built(model, data), data)]


def test_the_identity_gives_normed_tokens_and_the_zero_mixer_nothing():
    data = noise()
    assert measured(ViT(dim=16, depth=2, mixer=IdentityMixer()), data) == pytest.approx([1, 1], abs=0.01)
    assert measured(ViT(dim=16, depth=2, mixer=ZeroMixer()), data) == [0, 0]


def test_it_is_the_standard_deviation_over_initialisations_by_layer():
    data = noise()
    rows = list(BranchScale(images=3, draws=5)(built(ViT(dim=16, depth=3), data), data))
    assert [(row["metric"], row["layer"]) for row in rows] == [("branch_sd", layer) for layer in (1, 2, 3)]
    single = measured(ViT(dim=16, depth=3), data, images=3, draws=1)
    assert [row["value"] for row in rows] != single


def test_training_changes_nothing_about_it_and_it_changes_nothing_about_the_model():
    data, model = noise(), ViT(dim=16, depth=2)
    fresh, trained = built(model, data), built(model, data)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 1
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    state = torch.get_rng_state()
    assert list(BranchScale()(trained, data)) == list(BranchScale()(fresh, data))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


@pytest.mark.parametrize(
    "attention",
    [ViT(dim=32, depth=3, patch_size=7), ViT(dim=32, depth=3, patch_size=7, position="sincos2d", init="mimetic")],
    ids=["default", "mimetic"],
)
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_a_twin_that_is_given_the_scale_of_attention_has_it_in_every_layer(attention, kernel_size):
    data = Mnist5k(train_size=50).load()
    attention = attention.replace(mixer=SelfAttention(num_heads=2))
    wanted = measured(attention, data)
    mean = sum(wanted) / len(wanted)
    mixer = DepthwiseConv(kernel_size=kernel_size, branch_sd=mean)
    twins = [attention.replace(mixer=mixer, init="default", dim=dim) for dim in (32, 64)]
    for twin in twins:
        assert measured(twin, data) == pytest.approx([mean] * 3, rel=0.2)


def test_a_model_without_mixers_is_skipped_and_refused():
    assert BranchScale().skip(ResNet(), Mnist5k()) == "ResNet has no mixer in its blocks"
    assert BranchScale().skip(ViT(), Mnist5k()) is None
    data = noise()
    with pytest.raises(InputError, match=r"model of BranchScale must have mixers\. Got ResidualNetwork instead\."):
        list(BranchScale()(built(ResNet(width=4, blocks=1), data), data))
