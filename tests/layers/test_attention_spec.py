"""Self-attention as a spec: every switch of the layer is a field, and the defaults stay what they were."""

import itertools
import json
import re
import typing

import pytest
import torch
from switches import PATTERNS, POSITIONS, SCALES, SIMILARITIES

from vision_attn.layers import Attention, RelativeBias
from vision_attn.models import Mixer, SelfAttention, ViT
from vision_attn.spec import InputError, digest, from_json, to_json

WITH_PREFIX = "relative_with_prefix"


def options(field):
    hint = typing.get_type_hints(SelfAttention)[field]
    literals = [hint, *typing.get_args(hint)]
    return next(typing.get_args(one) for one in literals if typing.get_origin(one) is typing.Literal)


def test_the_fields_offer_what_the_layer_offers():
    assert set(options("similarity")) == set(SIMILARITIES)
    assert set(options("scale")) == set(SCALES)
    assert set(options("position")) == {*POSITIONS, WITH_PREFIX}
    assert len(options("pattern")) == len(PATTERNS)


def refusal(mixer):
    prefix = int(mixer.position == WITH_PREFIX)
    try:
        assert isinstance(mixer.build(dim=16, grid=(3, 4), num_prefix_tokens=prefix), Attention)
    except InputError as error:
        return str(error)
    return None


def test_every_combination_builds_or_is_refused_in_a_sentence():
    fields = ("similarity", "scale", "position", "pattern")
    refusals = []
    for values in itertools.product(*(options(field) for field in fields)):
        mixer = SelfAttention(num_heads=2, pattern_size=2, **dict(zip(fields, values, strict=True)))
        assert from_json(json.loads(json.dumps(to_json(mixer))), Mixer) == mixer
        refusals.append(refusal(mixer))
    assert refusals.count(None) == 20 * 7 * 9 - 20 * 2
    sentence = r"(scale|position) of Attention must be .*\. Got '\w+' instead\.$"
    assert all(re.match(sentence, said) for said in refusals if said is not None)


def test_a_trunk_with_any_position_and_pattern_takes_images():
    for position, pattern in itertools.product(options("position"), options("pattern")):
        if position.startswith("relative") and pattern == "reduced":
            continue
        mixer = SelfAttention(num_heads=2, position=position, pattern=pattern, pattern_size=2)
        pool = "token" if position == WITH_PREFIX else "mean"
        model = ViT(dim=16, depth=1, mixer=mixer, pool=pool).build(image_size=20, in_chans=3, num_classes=5)
        assert model(torch.randn(2, 3, 20, 20)).shape == (2, 5)


def test_the_relative_table_is_built_for_the_window():
    layer = SelfAttention(position="relative", pattern="window", pattern_size=2).build(dim=16, grid=(8, 8))
    assert isinstance(layer.position, RelativeBias)
    assert layer.position.grid == (2, 2)


def test_fields_at_their_default_are_not_stored_and_digests_stay():
    assert to_json(SelfAttention()) == {"kind": "SelfAttention"}
    assert to_json(SelfAttention(scale="none")) == {"kind": "SelfAttention", "scale": "none"}
    assert digest(SelfAttention()) == "b1bb7fafca1200aa63799d4e61d040ceafa497474970624da33766f7c653eead"


@pytest.mark.parametrize(
    ("sentence", "fields"),
    [
        ("pattern_size of SelfAttention must be at least 1. Got 0 instead.", {"pattern_size": 0}),
        ("attn_drop of SelfAttention must be at least 0 and less than 1. Got 1.0 instead.", {"attn_drop": 1.0}),
    ],
)
def test_wrong_fields_are_named(sentence, fields):
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        SelfAttention(**fields)
