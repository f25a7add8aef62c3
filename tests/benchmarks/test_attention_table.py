"""The table of the attention layer, in a tiny form: it compares what it says, and a way that fails is a row."""

import csv

import attention_table
import pytest
import torch

CPU = torch.device("cpu")


def bench(seconds=60):
    return attention_table.Bench(CPU, seconds=seconds, shapes=attention_table.TINY, rounds=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    attention_table.measure(bench(), path)
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_way_is_compared_in_both_types_and_passes(table):
    for name, ways in (("others", 7), ("patterns", len(attention_table.PATTERNED)), ("relative bias", 3)):
        rows = [row for row in table if row["table"] == name and row["deterministic"] == "False"]
        assert len(rows) == ways * 2 * 2
        assert {(row["dtype"], row["tokens"]) for row in rows} == {("bf16", "16"), ("fp32", "16")}


def test_only_what_this_device_cannot_do_failed(table):
    failed = [row for row in table if row["note"]]
    assert {row["baseline"] for row in failed} <= {"flex_attention"}
    assert all(row["ratio"] == "" for row in failed)
    assert all(float(row["ratio"]) > 0 for row in table if not row["note"])


def test_a_ratio_is_of_the_side_over_the_baseline():
    assert attention_table._medians([(2.0, 1.0), (6.0, 2.0), (8.0, 2.0)]) == (3.0, 6.0, 2.0)


def test_a_way_that_fails_is_a_row_with_its_reason_and_ends_nothing(monkeypatch, tmp_path):
    def broken(shape):
        raise RuntimeError("no kernel image\nmore lines")

    monkeypatch.setattr(attention_table, "OTHERS", {"broken": broken, "sound": attention_table.OTHERS["timm fused"]})
    rows = bench().rows()
    first, second = next(rows), next(rows)
    assert (first.ratio, first.note) == (None, "broken: RuntimeError: no kernel image")
    assert second.ratio is not None


def test_where_there_is_no_time_nothing_is_begun():
    rows = list(bench(seconds=-1).rows())
    assert all("no time left" in row.note for row in rows)


def test_flex_attention_computes_what_ours_does():
    shape = attention_table.TINY[0]
    layer, x = attention_table.ours(shape, position="relative"), torch.randn(2, 16, 32)
    other = attention_table.Flex(shape)
    with torch.no_grad():
        other.qkv.weight.copy_(layer.qkv.weight)
        other.qkv.bias.copy_(layer.qkv.bias)
        other.proj.load_state_dict(layer.proj.state_dict())
        other.table.copy_(layer.position.relative_position_bias_table.T)
        torch.testing.assert_close(other(x), layer(x), rtol=1e-4, atol=1e-5)
