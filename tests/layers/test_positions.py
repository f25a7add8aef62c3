"""Position encodings: what they do, and that they do it at another grid."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from switches import DIM, GRID, HEADS, PATTERNS, image_tokens, made
from torch._subclasses.fake_tensor import FakeTensorMode

from vision_attn.layers import (
    Attention,
    ConvPosition,
    LearnedPosition,
    RelativeBias,
    Rotary,
    SinCosPosition,
    Window,
    relative,
    sincos2d,
)
from vision_attn.layers.positions import coordinates, kept_coordinates

TABLE = "position.relative_position_bias_table"


def layer(position, **options):
    torch.manual_seed(0)
    return Attention(DIM, HEADS, position=position, **options).double().eval()


def test_places_are_rows_and_columns_in_raster_order():
    cpu = torch.device("cpu")
    assert coordinates((2, 3), device=cpu).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert coordinates((1, 2), device=cpu, step=(4, 4)).tolist() == [[1.5, 1.5], [1.5, 5.5]]


@pytest.mark.parametrize("kind", [LearnedPosition, SinCosPosition])
def test_an_absolute_position_is_added_to_what_is_projected(kind):
    position, x = kind(GRID, DIM), image_tokens()
    added = position.double().pos_embed if kind is LearnedPosition else sincos2d(GRID, DIM).double()
    torch.testing.assert_close(layer(position)(x), layer(None)(x + added), rtol=0, atol=1e-12)


def test_a_learned_position_is_interpolated_to_another_grid():
    position = LearnedPosition((4, 4), DIM)
    rows = torch.arange(4.0).repeat_interleave(4)
    position.pos_embed.data.copy_(rows[None, :, None].expand(1, 16, DIM))
    added = position.tokens(torch.zeros(1, 48, DIM), (8, 6))[0].unflatten(0, (8, 6))
    torch.testing.assert_close(added, added[:, :1].expand(8, 6, DIM))
    middle = added[2:6, 0, 0]
    torch.testing.assert_close(middle, torch.tensor([0.75, 1.25, 1.75, 2.25]), rtol=0, atol=0.05)


def test_a_learned_position_is_timms_at_another_grid():
    from timm.layers import resample_abs_pos_embed

    position = LearnedPosition((4, 4), DIM)
    expected = resample_abs_pos_embed(position.pos_embed, [6, 5], [4, 4], num_prefix_tokens=0)
    torch.testing.assert_close(position.tokens(torch.zeros(1, 30, DIM), (6, 5)), expected)


@pytest.mark.parametrize(
    "build", [lambda g: SinCosPosition(g, DIM), lambda g: Rotary(g, 4), lambda g: ConvPosition(g, DIM)]
)
def test_by_construction_the_grid_that_it_was_built_for_does_not_matter(build):
    torch.manual_seed(0)
    positions = [build((5, 6)), build((2, 3))]
    positions[1].load_state_dict(positions[0].state_dict())
    image = image_tokens(30).transpose(1, 2).unflatten(2, (5, 6))
    torch.testing.assert_close(layer(positions[0])(image), layer(positions[1])(image), rtol=0, atol=1e-12)


def rotated_scores(grid, x):
    ours = layer(Rotary(grid, 4), grid=grid)
    q, k, _ = ours.heads(x)
    return q @ k.mT


def test_rotary_scores_depend_on_the_offset_alone():
    """One and the same content everywhere: equal offsets give equal scores, on a rectangular grid."""
    grid = (3, 5)
    scores = rotated_scores(grid, image_tokens(1, batch=1).expand(1, 15, DIM))[0, 0]
    by_offset = {}
    for (n, a), (m, b) in itertools.product(enumerate(itertools.product(range(3), range(5))), repeat=2):
        by_offset.setdefault((a[0] - b[0], a[1] - b[1]), []).append(scores[n, m].item())
    assert all(max(found) - min(found) < 1e-6 for found in by_offset.values())
    assert len({round(found[0], 6) for found in by_offset.values()}) == len(by_offset)


def test_rotary_turns_pairs_of_channels_by_place_times_frequency():
    """q as complex numbers times exp(i place omega): half of the channels by the row, half by the column."""
    rotary, t = Rotary((2, 3), 8, temperature=50.0), torch.randn(1, 1, 6, 8, dtype=torch.float64)
    omega = 50.0 ** -(torch.arange(2, dtype=torch.float64) / 2)
    place = torch.tensor(list(itertools.product(range(2), range(3))), dtype=torch.float64)
    angle = torch.cat([place[:, :1] * omega, place[:, 1:] * omega], dim=1)
    turned = torch.view_as_complex(t.unflatten(-1, (4, 2))) * torch.polar(torch.ones_like(angle), angle)
    expected = torch.view_as_real(turned).flatten(-2)
    torch.testing.assert_close(rotary.rotate(t, place), expected, rtol=0, atol=1e-6)


def test_the_relative_table_is_read_by_offset():
    table, x = RelativeBias(GRID, HEADS), image_tokens()
    ours, plain = layer(table), layer(None)
    added = (ours.weights(x).log() - plain.weights(x).log()).detach()
    for (n, a), (m, b) in itertools.product(enumerate(itertools.product(range(3), range(4))), repeat=2):
        row = (a[0] - b[0] + 2) * 7 + a[1] - b[1] + 3
        step = table.relative_position_bias_table[row] - table.relative_position_bias_table[2 * 7 + 3]
        torch.testing.assert_close(added[0, :, n, m] - added[0, :, n, n], step, rtol=0, atol=1e-9)


@pytest.mark.parametrize("first", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_offsets_that_are_kept_from_an_earlier_call_are_those_of_any_call(first, monkeypatch):
    kept_coordinates.cache_clear()
    relative._kept_numbers.cache_clear()
    own, x = layer(RelativeBias(GRID, HEADS), grid=GRID), image_tokens()
    with first():
        own(x)
    kept = own(x)
    kept.sum().backward()
    assert relative._kept_numbers.cache_info().currsize == 1
    found = own.position.relative_position_bias_table.grad.clone()
    own.zero_grad()
    monkeypatch.setattr(relative, "KEPT_TOKENS", 0)
    anew = own(x)
    anew.sum().backward()
    torch.testing.assert_close(kept, anew, rtol=0, atol=0)
    torch.testing.assert_close(found, own.position.relative_position_bias_table.grad, rtol=0, atol=0)


def test_offsets_are_not_kept_from_a_call_whose_numbers_nobody_can_look_at():
    kept_coordinates.cache_clear()
    relative._kept_numbers.cache_clear()
    own, x = layer(RelativeBias(GRID, HEADS), grid=GRID), image_tokens()
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        own(fake.from_tensor(x))
    torch.func.vmap(own)(x[:, None])
    assert kept_coordinates.cache_info().currsize == relative._kept_numbers.cache_info().currsize == 0


def test_the_relative_table_is_interpolated_to_another_grid():
    table = RelativeBias((3, 3), 1)
    ramp = torch.arange(-2.0, 3.0)[:, None].expand(5, 5).flatten()
    table.relative_position_bias_table.data.copy_(ramp[:, None])
    places = coordinates((5, 5), device=torch.device("cpu"))
    bias = table.bias(places, places, (5, 5))[0]
    offsets = places[:, None, 0] - places[None, :, 0]
    torch.testing.assert_close(bias, offsets / 2, rtol=0, atol=0.15)
    torch.testing.assert_close(table.bias(places[:1], places[:1], (3, 3)).flatten(), torch.zeros(1))


def test_a_window_has_the_same_table_at_every_grid():
    ours = layer(RelativeBias((2, 2), HEADS), pattern=Window(2))
    small = image_tokens(4).transpose(1, 2).unflatten(2, (2, 2))
    large = small.repeat(1, 1, 2, 3)
    torch.testing.assert_close(ours(large), ours(small).repeat(1, 1, 2, 3), rtol=0, atol=1e-12)


def test_a_convolutional_position_is_a_depthwise_convolution_that_is_added():
    position, x = ConvPosition(GRID, DIM), image_tokens().float()
    image = x.transpose(1, 2).unflatten(2, GRID)
    expected = image + F.conv2d(image, position.conv.weight, position.conv.bias, padding=1, groups=DIM)
    torch.testing.assert_close(position.tokens(x, GRID), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("position", ["learned", "sincos2d", "convolution", "rotary", "relative"])
def test_prefix_tokens_lie_nowhere(position):
    """Exchanging two prefix tokens exchanges their outputs and nothing else."""
    ours, x = made(position=position, num_prefix_tokens=2), image_tokens(14)
    order = [1, 0, *range(2, 14)]
    torch.testing.assert_close(ours(x[:, order]), ours(x)[:, order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", [GRID, (14, 14)], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_with_prefix_the_relative_table_ends_with_numbers_for_the_scores_of_prefix_tokens(pattern, grid):
    """They are added whichever way is taken: adding them by hand to what a table without them gives is the same."""
    if pattern == "reduced":
        return
    parts, number = PATTERNS[pattern](), grid[0] * grid[1] + 2
    extent = grid if parts is None else parts.extent(grid)
    table, x = RelativeBias(extent, HEADS, prefix=True), image_tokens(number)
    ours = layer(table, pattern=parts, num_prefix_tokens=2, grid=grid)
    plain = layer(RelativeBias(extent, HEADS), pattern=parts, num_prefix_tokens=2, grid=grid)
    plain.load_state_dict({**ours.state_dict(), TABLE: table.relative_position_bias_table[:-3]})
    added = torch.zeros(1, HEADS, number, number, dtype=torch.float64)
    for rows, columns, row in (
        (slice(2), slice(2, None), -3),
        (slice(2, None), slice(2), -2),
        (slice(2), slice(2), -1),
    ):
        added[0, :, rows, columns] = table.relative_position_bias_table[row].detach()[:, None, None]
    torch.testing.assert_close(ours.weights(x), plain.weights(x, attn_mask=added), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(x), plain(x, attn_mask=added), rtol=0, atol=1e-12)
    kept = table.relative_position_bias_table[-3:].clone()
    ours(x).sum().backward()
    assert (table.relative_position_bias_table.grad[-3:] != 0).any()
    table.set_grid((5, 6))
    assert torch.equal(table.relative_position_bias_table[-3:], kept)


def test_numbers_for_a_prefix_that_is_not_there_are_refused():
    with pytest.raises(ValueError, match="position of Attention must be without prefix=True where num_prefix"):
        Attention(DIM, HEADS, position="relative_with_prefix", grid=GRID)
