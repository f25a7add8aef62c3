"""The algebra of rules: sums of quantities give the same stored rules as writing them out."""

import dataclasses

import pytest

from vision_attn.spec import InputError, from_json, to_json
from vision_attn.verdicts import (
    AllOf,
    BoundVerdict,
    ContrastVerdict,
    DifferenceVerdict,
    EquivalenceVerdict,
    Quantity,
    ShareVerdict,
    Verdict,
    cell,
    claim,
)

FILLED = cell(variant="filled", split="test")
SAID = {"claim": "C1", "statement": "So.", "given": FILLED, "min_seeds": 5}
accuracy = Quantity("accuracy", given=FILLED)
FAR, NEAR = cell(model="ViT", distance=7), cell(model="ViT", distance=1)
far, near = accuracy(model="ViT", distance=7), accuracy(model="ViT", distance=1)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (far.above(0.5), BoundVerdict(**SAID, at=FAR, bound=0.5)),
        (
            far.below(0.125, bound_name="chance"),
            BoundVerdict(**SAID, at=FAR, bound=0.125, side="below", bound_name="chance"),
        ),
        ((far - near).above(0), DifferenceVerdict(**SAID, at=FAR, reference=NEAR)),
        ((far - near).below(-0.1), DifferenceVerdict(**SAID, at=FAR, reference=NEAR, bound=-0.1, side="below")),
        ((far - near).within(0.05), EquivalenceVerdict(**SAID, at=FAR, reference=NEAR, margin=0.05)),
        ((far / 2 - near).above(0), ContrastVerdict(**SAID, terms=((0.5, FAR), (-1.0, NEAR)))),
        ((far + near).below(1), ContrastVerdict(**SAID, terms=((1.0, FAR), (1.0, NEAR)), bound=1.0, side="below")),
        (
            ((far - near) / 2 - 3 * (-far)).above(0),
            ContrastVerdict(**SAID, terms=((0.5, FAR), (-0.5, NEAR), (3.0, FAR))),
        ),
        (far.share(0.9).above(0.4), ShareVerdict(**SAID, at=FAR, threshold=0.9, bound=0.4)),
        (far.share(0.9).below(0.6), ShareVerdict(**SAID, at=FAR, threshold=0.9, bound=0.6, side="below")),
    ],
)
def test_a_sum_against_a_bound_is_the_rule_written_out(part, expected):
    made = claim("C1", "So.", part)
    assert to_json(made) == to_json(expected)
    assert from_json(to_json(made), Verdict) == expected


def test_every_field_of_a_rule_may_be_said_of_a_quantity():
    options = {"given": FILLED, "along": ("head",), "reduce": "min", "over": "subset", "level": 0.9, "choose": None}
    options |= {"choose_by": ("train_size",), "min_seeds": 3, "needs_data_limited": "images_seen", "exact": True}
    made = claim("C1", "So.", Quantity("attention_distance", **options)(model="ViT").above(2))
    assert made == BoundVerdict(
        claim="C1", statement="So.", metric="attention_distance", at=cell(model="ViT"), bound=2.0, **options
    )
    rule = {field.name for field in dataclasses.fields(BoundVerdict)}
    assert rule - {field.name for field in dataclasses.fields(Quantity)} == {
        *("claim", "statement", "at", "bound", "side", "bound_name")
    }


def test_a_claim_of_several_parts_names_itself_once():
    made = claim("C2", "All.", far.above(0.5, "It reaches far."), near.above(0.5, "It reaches near."))
    assert isinstance(made, AllOf)
    assert (made.claim, made.statement) == ("C2", "All.")
    assert [(part.claim, part.statement) for part in made.parts] == [
        ("C2", "It reaches far."),
        ("C2", "It reaches near."),
    ]


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (far.above(0.5), "Accuracy of ViT at distance 7 is above 50.0 %."),
        (far.below(0.125, bound_name="chance"), "Accuracy of ViT at distance 7 is below chance 12.5 %."),
        ((far - near).above(0), "Accuracy of ViT at distance 7 minus accuracy of ViT at distance 1 is above 0."),
        (
            (far - near).within(0.05),
            "Accuracy of ViT at distance 7 minus accuracy of ViT at distance 1 is within ±5.0 percentage points.",
        ),
        (
            (far / 2 - near).above(0.1),
            "0.5 × accuracy of ViT at distance 7 minus accuracy of ViT at distance 1 is above +10.0 percentage points.",
        ),
        (
            far.share(0.9).above(0.4),
            "Share of seeds with accuracy of ViT at distance 7 of 90.0 % or more is above 40.0 %.",
        ),
    ],
)
def test_a_part_without_a_statement_is_stated_in_the_words_of_its_rule(part, sentence):
    assert claim("C2", "All.", part, near.above(0.5, "Near.")).parts[0].statement == sentence


def test_a_difference_may_be_written_either_way_round():
    assert claim("C1", "So.", (-(near - far)).within(0.02)) == claim("C1", "So.", (far - near).within(0.02))


def test_what_is_no_share_may_have_any_bound():
    loss = Quantity("loss")(model="ViT")
    assert claim("C1", "So.", loss.below(50)).bound == 50
    assert claim("C1", "So.", (loss - Quantity("loss")(model="CNN")).within(2)).margin == 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: claim("C1", "So."), "parts of claim C1 must be one rule or more. Got none instead."),
        (
            lambda: claim("C1", "So.", far.above(0.5, "Far.")),
            "statement of a part of C1 must be left to the claim where it is the only one. Got 'Far.' instead.",
        ),
        (
            lambda: far + 0.5,
            "terms of a rule must be quantities in cells, and numbers its bound, as in .above(0.5). Got",
        ),
        (lambda: far * near, "weight of a term of a rule must be a number. Got a Contrast instead."),
        (
            lambda: claim("C1", "So.", far - near),
            "parts of claim C1 must be rules, such as accuracy(model='ViT').above(0.5). Got a Contrast instead: say",
        ),
        (
            lambda: claim("C1", "So.", far.above(50)),
            "bound of BoundVerdict must be from 0 to 1, as accuracy is a share: 0.5 and not 50 for 50 %. Got 50.0",
        ),
        (lambda: claim("C1", "So.", (far - near).below(-2)), "bound of DifferenceVerdict must be from -1 to 1, as acc"),
        (
            lambda: claim("C1", "So.", (far - near).within(2)),
            "margin of EquivalenceVerdict must be below 1, as accuracy is a share: 0.02 and not 2 for 2 points.",
        ),
        (lambda: claim("C1", "So.", far.share(90).above(0.5)), "threshold of ShareVerdict must be from 0 to 1, as acc"),
        (lambda: far - Quantity("loss")(model="ViT"), "terms of a rule must be of one Quantity. Got Quantity(metric="),
        (
            lambda: far.within(0.05),
            "within must be asked of one cell minus another. Got terms of weights [1.0] instead.",
        ),
        (lambda: (far - near).share(0.5), "share must be asked of one cell. Got 2 terms instead."),
        (lambda: (far - near).above(0, bound_name="chance"), "bound_name must be given of one cell only. Got 'chance'"),
        (lambda: claim("C1", "So.", far.share(0.9).above(1.0)), "bound of ShareVerdict must be between 0 and 1."),
        (lambda: claim("C1", "So.", Quantity(min_seeds=1)(model="A").above(0)), "min_seeds of Quantity must be 2"),
    ],
)
def test_what_makes_no_rule_is_refused_with_a_sentence(make, sentence):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(sentence)
