"""Accuracy of images of another size, of networks that must and need not know it."""

import pytest
import torch

from vision_attn.data import Data
from vision_attn.models import KMeansFeatures, ResNet, SelfAttention, ViT
from vision_attn.probes import Accuracy, AccuracyAtSize
from vision_attn.probes.accuracy_at_size import resized
from vision_attn.spec import InputError

IMAGES = torch.arange(20)[:, None, None, None].mul(12).expand(-1, 1, 8, 8).contiguous().to(torch.uint8)
DATA = Data.from_tensors(IMAGES, torch.arange(20) % 4)


def built(model):
    torch.manual_seed(0)
    return model.build(image_size=8, in_chans=1, num_classes=4)


def test_even_images_have_the_same_class_at_every_size_without_positions():
    model = built(ViT(dim=8, depth=1, patch_size=4, position="none"))
    rows = list(AccuracyAtSize(zooms=(1.0, 1.5, 2.0))(model, DATA))
    assert [row["image_size"] for row in rows] == [8, 12, 16]
    plain = next(row["value"] for row in Accuracy()(model, DATA) if row.get("split") == "test")
    assert [row["value"] for row in rows] == [plain] * 3
    assert model.image_size == 8


@pytest.mark.parametrize("position", ["none", "learned", "relative", "rotary", "convolution", "sincos2d"])
def test_every_encoding_is_brought_to_the_new_grid_and_the_model_is_left_alone(position):
    model = built(ViT(dim=16, depth=2, patch_size=4, mixer=SelfAttention(num_heads=2, position=position)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert len(list(AccuracyAtSize()(model, DATA))) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def test_images_are_resized_as_pillow_does_it_and_kept_at_their_own_size():
    ramp = torch.arange(0, 256, 64, dtype=torch.uint8).expand(1, 1, 4, 4)
    assert resized(ramp, 4) is ramp
    assert resized(ramp, 2)[0, 0, 0].tolist() == pytest.approx([48, 144], abs=8)


def test_what_has_no_such_size_is_refused_in_a_sentence():
    assert AccuracyAtSize().skip(ResNet(), None) is None
    assert AccuracyAtSize().skip(ViT(pool="none"), None)
    assert AccuracyAtSize().skip(KMeansFeatures(), None) == "KMeansFeatures takes images of one size"
    with pytest.raises(InputError, match="must be a whole number of pixels, times the image size 8"):
        AccuracyAtSize(zooms=(1.3,)).require_fit(DATA)
    assert 1.1 * 100 != 110  # by rounding alone
    large = Data.from_tensors(torch.rand(2, 1, 100, 100), torch.tensor([0, 1]))
    AccuracyAtSize(zooms=(1.1,)).require_fit(large)
    with pytest.raises(InputError, match=r"times the image size 8\. Got 0\.01 instead"):
        AccuracyAtSize(zooms=(0.01,)).require_fit(DATA)
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    with pytest.raises(InputError, match=r"must be one that takes images of 12 pixels\. Got Sequential"):
        list(AccuracyAtSize()(flat, DATA))


def test_a_model_that_answers_at_several_places_of_larger_images_is_refused_in_a_sentence():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Conv2d(1, 4, 8)

        def forward(self, x):
            return self.net(x).squeeze((2, 3))

    assert [row["image_size"] for row in AccuracyAtSize(zooms=(1.0,))(Net(), DATA)] == [8]
    with pytest.raises(InputError) as error:
        list(AccuracyAtSize()(Net(), DATA))
    allowed = "output of Net must be logits (B, 4) or more, one a class"
    assert str(error.value) == f"{allowed}. Got shape (20, 4, 5, 5) of 20 images of 12 pixels instead."
