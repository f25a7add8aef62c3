"""Specs: checks, JSON, digests."""

import hashlib
import json
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_attn.models import ViT
from vision_attn.spec import (
    _KINDS,
    RENAMED,
    InputError,
    Spec,
    among,
    canonical,
    digest,
    from_json,
    kinds,
    spec,
    to_json,
)
from vision_attn.training import Recipe


@spec
class Wheel(Spec):
    size: int = 26
    tyre: Literal["slick", "knobby"] = "slick"
    weights: tuple[float, ...] = (1.0,)

    def check(self) -> None:
        self.require("size", self.size > 0, "positive")


@spec
class Bicycle(Spec):
    front: Wheel = Wheel()
    gears: int | None = None
    name: str


def test_literal_fields_are_checked_with_one_sentence():
    with pytest.raises(InputError) as error:
        Wheel(tyre="bald")
    assert str(error.value) == "tyre of Wheel must be one of 'slick', 'knobby'. Got 'bald' instead."


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Wheel(size="26"), "size of Wheel must be an integer. Got '26' instead."),
        (lambda: Wheel(size=True), "size of Wheel must be an integer. Got True instead."),
        (lambda: Wheel(size=0), "size of Wheel must be positive. Got 0 instead."),
        (
            lambda: Wheel(weights=(float("nan"),)),
            "weights of Wheel must be a tuple of a finite number. Got (nan,) instead.",
        ),
        (lambda: Bicycle(name="a", gears=1.5), "gears of Bicycle must be an integer or None. Got 1.5 instead."),
        (lambda: Bicycle(name="a", front=3), "front of Bicycle must be a Wheel (one of Wheel). Got 3 instead."),
    ],
)
def test_wrong_values_name_the_field_the_value_and_what_is_allowed(make, sentence):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == sentence


def test_fields_at_their_default_are_left_out_of_the_json():
    assert to_json(Bicycle(name="a")) == {"kind": "Bicycle", "name": "a"}
    assert to_json(Bicycle(name="a", front=Wheel(size=20))) == {
        "kind": "Bicycle",
        "name": "a",
        "front": {"kind": "Wheel", "size": 20},
    }


@given(
    size=st.integers(1, 99),
    tyre=st.sampled_from(["slick", "knobby"]),
    weights=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    gears=st.none() | st.integers(),
    name=st.text(),
)
def test_json_round_trip_is_the_identity(size, tyre, weights, gears, name):
    made = Bicycle(front=Wheel(size=size, tyre=tyre, weights=tuple(weights)), gears=gears, name=name)
    read = from_json(json.loads(json.dumps(to_json(made))), Bicycle)
    assert read == made
    assert digest(read) == digest(made)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_a_spec_or_one_clean_error(data):
    with pytest.raises(InputError):
        from_json(data, Bicycle)


def test_of_many_options_those_most_like_what_was_given_are_named():
    assert among([f"level {i}" for i in range(12)], "level 3").count("'") == 24
    many = [*(f"{i}{i}" for i in range(1000, 1200)), "learning_rate"]
    said = among(many, "learningrate")
    assert said.startswith("'learning_rate', ")
    assert said.endswith(" and 198 others")
    assert among(range(100), 7).startswith("7, ")


def test_the_initials_of_a_field_are_told_its_name():
    with pytest.raises(InputError, match=r"^Recipe has no field 'lr'\. Did you mean 'learning_rate'\? Its fields are "):
        Recipe(updates=1, lr=0.1)


def test_a_field_of_a_default_is_told_where_it_is():
    with pytest.raises(
        InputError, match=r"^ViT has no field 'num_heads'\. Did you mean mixer=SelfAttention\(num_heads"
    ):
        ViT(dim=32, num_heads=2)


def test_scalars_of_numpy_are_plain_values_of_fields():
    given = ViT(dim=np.int64(32), depth=np.array(2), mlp_ratio=np.float32(2), reg_tokens=np.uint8(1))
    assert digest(given) == digest(ViT(dim=32, depth=2, mlp_ratio=2.0, reg_tokens=1))
    assert {type(given.dim), type(given.depth), type(given.mlp_ratio)} == {int, float}
    with pytest.raises(InputError, match="dim of ViT must be an integer"):
        ViT(dim=np.arange(2))


def test_what_is_given_is_written_on_one_short_line():
    class Long:
        def __repr__(self):
            return "Long(\n" + "x" * 500 + ")"

    with pytest.raises(InputError) as error:
        Wheel(size=Long())
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_unknown_kinds_and_fields_are_refused():
    with pytest.raises(
        InputError, match=r"^Wheel has no field 'sice'\. Did you mean 'size'\? Its fields are size, tyre, weights\.$"
    ):
        from_json({"kind": "Wheel", "sice": 3}, Wheel)
    with pytest.raises(InputError, match=r"^kind of Wheel must be one of 'Wheel'\. Got 'os\.system' instead\.$"):
        from_json({"kind": "os.system"}, Wheel)
    with pytest.raises(InputError, match="Bicycle needs the field 'name'"):
        from_json({"kind": "Bicycle"}, Bicycle)


@spec
class Lamp(Spec):
    version = 2
    watts: int = 3


def test_a_version_stands_in_the_json_from_two_on_and_another_one_is_refused():
    assert to_json(Lamp(watts=5)) == {"kind": "Lamp", "version": 2, "watts": 5}
    assert from_json(to_json(Lamp(watts=5)), Lamp) == Lamp(watts=5)
    assert digest(Lamp()) != hashlib.sha256(canonical({"kind": "Lamp"})).hexdigest()
    for stored, other in (({"kind": "Lamp"}, 1), ({"kind": "Lamp", "version": 3}, 3)):
        with pytest.raises(InputError) as error:
            from_json(stored, Lamp)
        assert str(error.value) == f"version of Lamp must be 2, as its results have changed. Got {other} instead."
    with pytest.raises(InputError, match="version of Wheel must be 1"):
        from_json({"kind": "Wheel", "version": 2}, Wheel)


def test_no_field_takes_a_name_that_has_a_meaning_in_the_json():
    with pytest.raises(TypeError, match="A field of Dynamo must not be named version"):

        @spec
        class Dynamo(Spec):
            version: int = 1


def test_an_integer_where_a_number_is_due_has_the_same_digest_as_the_float():
    assert digest(Wheel(weights=(2,))) == digest(Wheel(weights=(2.0,)))


def test_two_specs_of_one_name_are_refused():
    with pytest.raises(TypeError, match="Two specs are named Wheel"):

        @spec
        class Wheel(Spec):
            pass


@pytest.fixture
def renamed(monkeypatch):
    """A spec that was called Penny and is called Farthing now."""
    monkeypatch.setitem(RENAMED, "Penny", "Farthing")
    monkeypatch.setattr("vision_attn.spec._KINDS", dict(_KINDS))

    @spec
    class Farthing(Spec):
        spokes: int = 40

    return Farthing


def test_a_renamed_spec_keeps_its_stored_name_and_so_its_digest(renamed):
    stored = {"kind": "Penny", "spokes": 36}
    assert to_json(renamed(spokes=36)) == stored
    assert digest(renamed(spokes=36)) == hashlib.sha256(b'{"kind":"Penny","spokes":36}').hexdigest()
    assert from_json(stored, Spec) == renamed(spokes=36) == from_json({**stored, "kind": "Farthing"}, Spec)


def test_the_earlier_name_of_a_spec_is_taken(renamed):
    with pytest.raises(TypeError, match="Penny must have another name: in stored JSON it is Farthing"):

        @spec
        class Penny(Spec):
            pass


def test_non_finite_numbers_have_no_canonical_form():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"value": float("inf")})


def test_kinds_lists_a_role_only():
    assert kinds(Wheel) == {"Wheel": Wheel}
