"""Patterns as specs: the slot of self-attention, and the names by which stored models have them."""

import json

import pytest
import torch

from vision_attn import SelfAttention, ViT, layers
from vision_attn.models import (
    Axial,
    Dilated,
    Full,
    Mixer,
    Neighbourhood,
    Pattern,
    Segmented,
    SpatialReduction,
    TopK,
    Window,
)
from vision_attn.spec import InputError, digest, from_json, kinds, spec, to_json

STORED = {  # what runs have stored since patterns had names and sizes
    Full(): {},
    Window(size=4): {"pattern": "window"},
    Window(size=7): {"pattern": "window", "pattern_size": 7},
    Window(size=4, shift=2): {"pattern": "shifted_window"},
    Window(size=5, shift=2): {"pattern": "shifted_window", "pattern_size": 5},
    Neighbourhood(radius=1): {"pattern": "neighbourhood", "pattern_size": 1},
    Dilated(stride=2): {"pattern": "dilated", "pattern_size": 2},
    Axial(): {"pattern": "axial"},
    Segmented(length=8): {"pattern": "segmented", "pattern_size": 8},
    SpatialReduction(ratio=2): {"pattern": "reduced", "pattern_size": 2},
    TopK(k=3): {"pattern": "top_k", "pattern_size": 3},
}


@spec
class UpperHalfPattern(Pattern):
    """Every token sees the first half of the raster: a pattern of one's own."""

    def build(self, *, dim):
        return UpperHalf()


class UpperHalf(layers.Pattern):
    def seen(self, grid, device):
        tokens = grid[0] * grid[1]
        return (torch.arange(tokens, device=device) < tokens // 2).expand(tokens, tokens)


@pytest.mark.parametrize(("pattern", "fields"), STORED.items(), ids=lambda one: str(one)[:24])
def test_a_pattern_is_stored_by_the_name_it_always_had(pattern, fields):
    mixer = SelfAttention(pattern=pattern)
    assert to_json(mixer) == {"kind": "SelfAttention", **fields}
    assert mixer == SelfAttention(**fields) == from_json({"kind": "SelfAttention", **fields}, Mixer)
    assert mixer.pattern == pattern


def test_every_pattern_of_the_package_is_stored_as_before_and_builds_the_layer_of_its_name():
    own = {kind for kind in kinds(Pattern).values() if kind.__module__.startswith("vision_attn.")}
    assert own == {type(pattern) for pattern in STORED}
    for pattern in STORED:
        layer = SelfAttention(num_heads=2, pattern=pattern).build(dim=16, grid=(8, 8)).pattern
        assert type(layer) is getattr(layers, "Pattern" if pattern == Full() else type(pattern).__name__)


def test_stored_models_keep_their_digests():
    # Taken when the pattern was a name and a size.
    assert digest(SelfAttention(pattern=Window(size=7)))[:16] == "65e3c1453f535c96"
    assert digest(ViT(mixer=SelfAttention(pattern=Neighbourhood(radius=2))))[:16] == "05be8e2b6081c7f8"


@pytest.mark.parametrize(
    "fields",
    [{"pattern_size": 7}, {"pattern": "axial", "pattern_size": 3}, {"pattern": "shifted_window", "pattern_size": 1}],
)
def test_what_was_stored_beyond_the_pattern_is_stored_again(fields):
    stored = {"kind": "SelfAttention", **fields}
    assert to_json(from_json(stored, Mixer)) == stored


def test_windows_that_no_name_stands_for_are_stored_as_specs_and_build():
    mixer = SelfAttention(num_heads=2, pattern=Window(size=(2, 4), shift=(1, 0)))
    stored = json.loads(json.dumps(to_json(mixer)))
    assert stored["pattern"] == {"kind": "Window", "size": [2, 4], "shift": [1, 0]}
    assert from_json(stored, Mixer) == mixer
    assert mixer.build(dim=16, grid=(8, 8)).pattern.shift == (1, 0)
    assert SelfAttention(pattern=Window(size=(4, 4))) == SelfAttention(pattern=Window(size=4))


def test_a_pattern_of_ones_own_fills_the_slot():
    layer = SelfAttention(num_heads=2, pattern=UpperHalfPattern()).build(dim=16, grid=(2, 2))
    weights = layer.weights(torch.randn(1, 4, 16))
    assert (weights[..., 2:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 4))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Window(size=0), "size of Window must be at least 1. Got 0 instead."),
        (lambda: Window(size=(2, 0)), "size of Window must be at least 1. Got (2, 0) instead."),
        (lambda: Window(size=2, shift=2), "shift of Window must be at least 0 and less than size = 2. Got 2 instead."),
        (lambda: TopK(k=0), "k of TopK must be at least 1. Got 0 instead."),
        (
            lambda: SelfAttention(pattern=layers.TopK(3)),
            "pattern of SelfAttention must be a spec of vision_attn.models, such as Window(size=4). "
            "Got the module TopK(k=3) instead.",
        ),
        (
            lambda: SelfAttention(pattern=TopK(k=3), pattern_size=3),
            "pattern_size of SelfAttention must be left out beside the pattern TopK(k=3). Got 3 instead.",
        ),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == sentence


def test_the_layer_refuses_a_spec_in_the_place_of_its_module():
    with pytest.raises(ValueError, match=r"^pattern of Attention must be a module of vision_attn.layers.patterns or "):
        layers.Attention(16, 2, pattern=Window(size=4))
