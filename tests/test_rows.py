"""Rows in little memory: nothing is lost, nothing is moved."""

import random

from vision_attn.rows import columns, packed


def test_columns_hold_every_cell_in_its_row():
    chance = random.Random(3)
    rows = [{name: chance.random() for name in chance.sample("abcdef", chance.randrange(6))} for _ in range(50)]
    found = columns(((str(number), packed(row)) for number, row in enumerate(rows)), always=("z",))
    assert found["run"] == [str(number) for number in range(50)]
    for name in "abcdefz":
        assert found[name] == [row.get(name) for row in rows], name
    assert list(found)[:2] == ["run", "z"]


def test_no_rows_have_the_columns_that_are_always_there():
    assert columns([], always=("metric", "value")) == {"run": [], "metric": [], "value": []}


def test_rows_of_the_same_names_share_them_and_equal_texts_are_one_object():
    texts = ["".join(["te", "st"]) for _ in range(2)]
    first, second = (packed({"a": 1, "b": text}) for text in texts)
    assert first[0] is second[0]
    assert first[1][1] is second[1][1]
