"""The table of the attention layer, in a tiny form: it compares what it says, and a way that fails is a row."""

import csv
import json
from pathlib import Path

import attention_table
import pytest
import torch
from documents import PAGES

from vision_attn.layers import paths

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
MODES = [(passes, mode) for passes in attention_table.PASSES for mode in ("eager", "graph")]


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


@pytest.fixture(scope="module")
def measured():
    """The committed table of one GPU, ratios as numbers."""
    with (ROOT / "results" / "attention_layer" / "attention_table.csv").open(newline="") as lines:
        return [{**row, "ratio": float(row["ratio"])} for row in csv.DictReader(lines)]


@pytest.mark.parametrize(
    ("words", "baseline"),
    [
        ("timm, fused kernel", "timm fused"),
        ("timm, products and softmax", "timm unfused"),
        ("`nn.MultiheadAttention`", "nn.MultiheadAttention"),
        ("two linear maps and `scaled_dot_product_attention`", "linear maps and sdpa"),
    ],
)
def test_the_page_says_what_was_measured_on_a_gpu(measured, words, baseline):
    cells = []
    for where in MODES:
        found = [
            row["ratio"] for row in measured if (row["passes"], row["mode"], row["baseline"]) == (*where, baseline)
        ]
        assert len(found) == len(attention_table.SHAPES)
        cells.append("–".join(dict.fromkeys(f"{ratio:.2f}" for ratio in (min(found), max(found)))))
    assert f"| {words} | {' | '.join(cells)} |" in (PAGES / "gpu.md").read_text().splitlines()


def test_so_it_does_of_patterns(measured):
    hiding = [row for row in measured if row["table"] == "patterns" and row["mode"] == "graph"]
    hiding = [row for row in hiding if row["side"] != "neighbourhood"]  # it reaches across the grid
    spans = [[row["ratio"] for row in hiding if row["passes"] == passes] for passes in attention_table.PASSES]
    (first, last), (least, most) = ((f"{min(span):.1f}", f"{max(span):.1f}") for span in spans)
    text = " ".join((PAGES / "gpu.md").read_text().split())
    assert f"takes {first} to {last} times as long as full attention forward, and {least} to {most} times with" in text


def test_the_threshold_of_gpus_is_that_of_the_table(measured):
    """The layer took the fused kernel; where that is faster than products at every size, there is no threshold."""
    units = json.loads(Path(paths.__file__).with_name("thresholds.json").read_text())["units"]["cuda"]
    for passes in attention_table.PASSES:
        rows = [
            row for row in measured if (row["passes"], row["mode"], row["baseline"]) == (passes, "graph", "ours, math")
        ]
        assert [int(row["tokens"]) for row in rows] == units["tokens"]
        assert [round(row["ratio"], 2) for row in rows] == units[passes.replace(" ", "_")]
        assert all(row["ratio"] < 1 for row in rows)
    assert units["math_up_to"] == {}
