"""The recurrent mixer: what it computes, what it sees, what it costs, and that it trains."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vision_attn.layers import RecurrentMixing

GRID = (3, 4)
ORDERS = {
    "raster": [(row, column) for row in range(3) for column in range(4)],
    "columns": [(row, column) for column in range(4) for row in range(3)],
}


def made(*, dim=6, **options):
    torch.manual_seed(0)
    return RecurrentMixing(dim, grid=GRID, **options).double().eval()


def tokens(dim=6, batch=2):
    return torch.randn(batch, 12, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_hand(x, lstm, suffix):
    """One direction over x (B, T, C), by the equations."""
    w, u, b, c = (getattr(lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    state = memory = x.new_zeros(len(x), u.shape[1])
    states = []
    for token in x.unbind(1):
        i, f, g, o = (token @ w.T + b + state @ u.T + c).chunk(4, dim=1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        state = o.sigmoid() * memory.tanh()
        states.append(state)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_is_the_long_short_term_memory_in_the_order_that_is_named(order, bidirectional):
    layer, x = made(order=order, bidirectional=bidirectional), tokens()
    at = torch.tensor([row * GRID[1] + column for row, column in ORDERS[order]])
    expected = by_hand(x[:, at], layer.lstm, "")
    if bidirectional:
        back = by_hand(x[:, at].flip(1), layer.lstm, "_reverse").flip(1)
        expected = torch.cat([expected, back], dim=-1)
    torch.testing.assert_close(layer(x)[:, at], expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_one_way_a_token_sees_those_before_it_and_both_ways_all(order, bidirectional):
    layer = made(order=order, bidirectional=bidirectional)
    places = ORDERS[order]
    for number, place in enumerate(places):
        x = tokens(batch=1).requires_grad_()
        layer(x)[0, place[0] * GRID[1] + place[1]].square().sum().backward()
        seen = {divmod(n, GRID[1]) for n in range(12) if x.grad[0, n].any()}
        assert seen == (set(places) if bidirectional else set(places[: number + 1]))


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_output_is_as_wide_as_the_input_and_the_parameters_are_counted(bidirectional):
    layer = made(dim=10, bidirectional=bidirectional)
    units, ways = (5, 2) if bidirectional else (10, 1)
    assert layer(tokens(10)).shape == (2, 12, 10)
    assert sum(p.numel() for p in layer.parameters()) == ways * 4 * units * (10 + units + 2)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_operations_are_those_of_four_gates_at_every_token(bidirectional):
    with torch.device("meta"):
        layer, x = RecurrentMixing(10, grid=GRID, bidirectional=bidirectional), torch.empty(1, 12, 10)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(x)
    units, ways = (5, 2) if bidirectional else (10, 1)
    assert counter.get_total_flops() == ways * 2 * 4 * units * (10 + units) * 12


def test_forget_gates_begin_with_bias_one():
    layer = made()
    for suffix in ("", "_reverse"):
        total = getattr(layer.lstm, f"bias_ih_l0{suffix}") + getattr(layer.lstm, f"bias_hh_l0{suffix}")
        forget = total[3:6]
        assert (forget == 1).all()


def test_gradients_are_right():
    layer = made(dim=2)
    assert torch.autograd.gradcheck(layer, (tokens(2, batch=1).requires_grad_(),))


@pytest.mark.parametrize("training", [True, False])
def test_gradients_reach_the_tokens_in_bfloat16_in_either_mode(training):
    layer = made().float().train(training)
    x = tokens().float()
    grads = []
    for enabled in (False, True):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = layer(given)
        out.float().square().sum().backward()
        grads.append(given.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=0.1, atol=0.02)


def test_training_twice_gives_the_same_weights():
    states = []
    for _ in range(2):
        layer = made().float().train()
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2)
        for _ in range(5):
            with torch.autocast("cpu", torch.bfloat16):
                loss = (layer(tokens().float()).float() - 0.3).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        states.append(layer.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_odd_width_cannot_be_halved():
    with pytest.raises(ValueError, match=r"^dim of RecurrentMixing must be even with bidirectional = True\. Got 5"):
        RecurrentMixing(5, grid=GRID)
    assert RecurrentMixing(5, grid=GRID, bidirectional=False)(torch.randn(1, 12, 5)).shape == (1, 12, 5)


def test_an_order_that_there_is_not_is_refused():
    with pytest.raises(
        ValueError, match=r"^order of RecurrentMixing must be 'raster' or 'columns'\. Got 'rows' instead"
    ):
        RecurrentMixing(6, grid=GRID, order="rows")


@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "module in bfloat16"])
def test_half_precision_is_near_float32_on_every_processor(whole):
    torch.manual_seed(0)
    layer, x = RecurrentMixing(8, grid=(3, 4)), torch.randn(2, 12, 8)
    expected = layer(x)
    if whole:
        found = layer.bfloat16()(x.bfloat16())
    else:
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.02)
    found.sum().backward()
    assert all(weight.grad is not None for weight in layer.parameters())
