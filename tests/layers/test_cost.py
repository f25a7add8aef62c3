"""What the patterns cost: the page of the layer says what the FLOP counter does; memory is at most that of a mask."""

import re

import pytest
import torch
from documents import PAGES
from memory import peak_bytes
from torch.utils.flop_counter import FlopCounterMode

from vision_attn.layers import (
    Attention,
    Axial,
    Dilated,
    Neighbourhood,
    Segmented,
    SpatialReduction,
    TopK,
    Window,
    plan,
)

PAGE = (PAGES / "layer.md").read_text()
DIM, HEADS = 32, 2
WIDTH = DIM // HEADS
CELLS = {
    "none": (lambda: None, "N² d", lambda rows, columns: (rows * columns) ** 2),
    "`Window(w)`": (lambda: Window(4), "N̂ w² d", lambda rows, columns: padded(rows, 4) * padded(columns, 4) * 16),
    "`Neighbourhood(r)`": (lambda: Neighbourhood(2), "about 16 N r² d", lambda rows, columns: 16 * rows * columns * 4),
    "`Dilated(s)`": (lambda: Dilated(4), "N² / s² d", lambda rows, columns: (rows * columns) ** 2 / 16),
    "`Segmented(n)`": (lambda: Segmented(16), "N n d", lambda rows, columns: rows * columns * 16),
    "`Axial()`": (Axial, "N (rows + columns) d", lambda rows, columns: rows * columns * (rows + columns)),
    "`SpatialReduction(C, r)`": (
        lambda: SpatialReduction(DIM, 4),
        "N² / r² d",
        lambda rows, columns: (rows * columns) ** 2 / 16,
    ),
    "`TopK(k)`": (lambda: TopK(8), "N² d", lambda rows, columns: (rows * columns) ** 2),
}


def padded(side, size):
    return -(-side // size) * size


def flops(rows, columns, **options):
    """Those of the scores and of the mixing of values, without the linear maps and the reduction."""
    layer, x = Attention(DIM, HEADS, **options).to("meta"), torch.empty(1, DIM, rows, columns, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(x)
    queries, maps, reduction = rows * columns, 4 * rows * columns, 0
    if isinstance(layer.pattern, SpatialReduction):
        # The counter's hooks are on every module: then qkv is called whole, for the queries and for the keys.
        maps, reduction = 4 * queries + 3 * queries // 16, queries * DIM * DIM
    return counter.get_total_flops() - 2 * (maps * DIM * DIM + reduction)


@pytest.mark.parametrize("name", CELLS)
def test_the_column_of_costs_says_what_is_computed(name):
    make, cost, scores = CELLS[name]
    (row,) = [line for line in PAGE.splitlines() if re.match(rf"\| (`pattern`)? ?\| {re.escape(name)}[ ,|]", line)]
    assert row.split("|")[-2].strip().startswith(cost), row
    for rows, columns in ((32, 32), (40, 24)):
        assert flops(rows, columns, pattern=make()) == 2 * HEADS * 2 * WIDTH * scores(rows, columns)


def test_a_grid_that_windows_do_not_divide_costs_what_the_padded_one_does():
    scores = CELLS["`Window(w)`"][2]
    assert flops(30, 29, pattern=Window(4)) == flops(32, 32, pattern=Window(4)) == 4 * HEADS * WIDTH * scores(30, 29)


def test_axial_attention_is_cut_where_that_is_faster_and_masked_where_it_is_not():
    """Rows and columns share a softmax: cutting costs more than with other patterns, too much at 20 x 20."""
    a_score = 2 * HEADS * 2 * WIDTH
    assert flops(20, 20, pattern=Axial()) == a_score * 400**2
    assert flops(21, 21, pattern=Axial()) == a_score * 441 * (21 + 21)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "bilinear", "gaussian"])
def test_so_does_that_of_the_similarities(similarity):
    """N² d for the scores and N² d for the mixing; d² a query more for bilinear, a channel more for gaussian."""
    pairs = 256**2
    more = {"bilinear": 256 * WIDTH**2, "gaussian": pairs}.get(similarity, 0)
    assert flops(16, 16, similarity=similarity) == 2 * HEADS * (2 * pairs * WIDTH + more)


def peak(layer, x, **masks):
    """The most bytes that forward and backward hold at once beyond the input and the weights."""
    layer(x, **masks).sum().backward()
    layer.zero_grad()
    return peak_bytes(lambda: layer(x, **masks).sum().backward())


MORE = {8: {"`SpatialReduction(C, r)`", "`TopK(k)`"}, 24: set()}
"""What needs more. Top-k attention forms scores before it drops any, and a fused kernel forms none: so many at a time
that they take no more than a mask, or than 1 MiB. The convolution that reduces keys has weights and their gradients,
whatever the grid.
"""


@pytest.mark.parametrize("side", MORE)
def test_patterns_need_no_more_memory_than_full_attention_with_a_mask_but_for_those_named(side):
    number = side * side
    x = torch.randn(2, number, DIM)
    masked = peak(Attention(DIM, HEADS), x, attn_mask=torch.rand(number, number) > 0.1)
    assert masked > 4 * number**2  # the measure sees the mask
    patterns = {name: make() for name, (make, *_) in CELLS.items() if name not in MORE[side]}
    found = {
        name: peak(Attention(DIM, HEADS, pattern=pattern, grid=(side, side)), x) for name, pattern in patterns.items()
    }
    assert {name: held for name, held in found.items() if held > masked} == {}


@pytest.mark.parametrize(("samples", "forgotten"), [(1, False), (512, True)])
def test_the_copy_of_tokens_in_tiles_is_kept_where_it_takes_no_more_than_the_mask_they_save(
    samples, forgotten, monkeypatch
):
    monkeypatch.setattr(plan, "BEGUN", 0)
    layer, x = Attention(DIM, 1, pattern="window", pattern_size=4, grid=(8, 8)), torch.randn(samples, 64, DIM)
    own = peak(layer, x)
    monkeypatch.setattr(plan, "forgets", lambda *_: True)
    assert (own - peak(layer, x) < x.numel() * x.element_size() / 2) == forgotten
    masked = peak(Attention(DIM, 1), x, attn_mask=torch.rand(64, 64) > 0.1)
    assert own <= masked
