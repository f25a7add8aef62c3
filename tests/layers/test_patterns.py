"""Patterns against their definition by coordinates, and what they cost."""

import itertools

import pytest
import torch
from switches import DIM, HEADS, PATTERNS, image_tokens, made
from torch.utils.flop_counter import FlopCounterMode

from vision_attn.layers import (
    Attention,
    Axial,
    Dilated,
    Neighbourhood,
    RelativeBias,
    Segmented,
    SpatialReduction,
    TopK,
    Window,
    plan,
)

GRIDS = [(4, 4), (3, 5), (1, 7), (6, 2), (7, 5), (9, 10)]


def places(grid):
    return list(itertools.product(range(grid[0]), range(grid[1])))


def by_window(size, shift=0):
    def sees(a, b, grid):
        for i, j, side in zip(a, b, grid, strict=True):
            moved = 0 if size >= side else shift
            if size < side and (i - moved) // size != (j - moved) // size:
                return False
        return True

    return sees


def by_stride(stride):
    return lambda a, b, grid: all((i - j) % min(stride, side) == 0 for i, j, side in zip(a, b, grid, strict=True))


def by_chunk(length):
    return lambda a, b, grid: (a[0] * grid[1] + a[1]) // length == (b[0] * grid[1] + b[1]) // length


def by_distance(radius):
    return lambda a, b, grid: max(abs(i - j) for i, j in zip(a, b, strict=True)) <= radius


@pytest.fixture(params=["cut", "masked"])
def way(request, monkeypatch):
    """Both ways: the pattern cut into groups, and all scores with a mask, whatever is faster."""
    for name in ("COPY", "REORDER", "BEGUN"):
        monkeypatch.setattr(plan, name, -(10**9) if request.param == "cut" else 10**9)
    return request.param


DEFINED = {
    "window 2": (Window(2), by_window(2)),
    "window 3": (Window(3), by_window(3)),
    "window 2 shifted": (Window(2, shift=1), by_window(2, 1)),
    "window 4 shifted": (Window(4, shift=2), by_window(4, 2)),
    "window 3 shifted": (Window(3, shift=2), by_window(3, 2)),
    "stride 2": (Dilated(2), by_stride(2)),
    "stride 4": (Dilated(4), by_stride(4)),
    "chunk 3": (Segmented(3), by_chunk(3)),
    "chunk 100": (Segmented(100), by_chunk(100)),
    "radius 1": (Neighbourhood(1), by_distance(1)),
    "radius 3": (Neighbourhood(3), by_distance(3)),
    "axial": (Axial(), lambda a, b, grid: a[0] == b[0] or a[1] == b[1]),
}


def layer(pattern, grid, *, prefix=0, position=None):
    torch.manual_seed(0)
    made = Attention(DIM, HEADS, pattern=pattern, position=position, grid=grid, num_prefix_tokens=prefix)
    return made.double().eval()


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("name", list(DEFINED))
def test_a_pattern_is_full_attention_with_the_scores_masked_that_its_definition_forbids(name, prefix, way):
    pattern, sees = DEFINED[name]
    for grid in GRIDS:
        number = grid[0] * grid[1] + prefix
        x = image_tokens(number)
        allowed = torch.ones(number, number, dtype=torch.bool)
        allowed[prefix:, prefix:] = torch.tensor([[sees(a, b, grid) for b in places(grid)] for a in places(grid)])
        ours = layer(pattern, grid, prefix=prefix)
        q, k, v = ours.heads(x)
        expected = (q @ k.mT / 2).masked_fill(~allowed, -torch.inf).softmax(-1)
        torch.testing.assert_close(ours.weights(x), expected, rtol=0, atol=1e-12)
        mixed = (expected @ v).transpose(1, 2).flatten(2)
        torch.testing.assert_close(ours(x), ours.proj(mixed), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "pattern", [Window(7), Window(9, shift=4), Dilated(1), Segmented(35), TopK(35), Neighbourhood(6)]
)
def test_a_pattern_at_least_as_large_as_the_grid_is_full_attention(pattern):
    full, x = layer(None, (7, 5)), image_tokens(35)
    torch.testing.assert_close(layer(pattern, (7, 5))(x), full(x), rtol=0, atol=1e-12)


def test_reduction_by_one_is_full_attention():
    full, x = layer(None, (7, 5)), image_tokens(35)
    torch.testing.assert_close(layer(SpatialReduction(DIM, 1), (7, 5))(x), full(x), rtol=0, atol=1e-12)


def test_axial_attention_on_one_row_or_one_column_is_full_attention():
    for grid in ((1, 6), (6, 1)):
        x = image_tokens(6)
        torch.testing.assert_close(layer(Axial(), grid)(x), layer(None, grid)(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", [(20, 13), (30, 40), (50, 90)])
@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_axial_attention_over_few_and_many_keys_is_attention_with_a_mask(grid, prefix, dtype, monkeypatch):
    """The softmax over rows and columns is taken in another way for each number of keys, and without gradients."""
    monkeypatch.setattr(plan, "COPY", -(10**9))
    ours = layer(Axial(), grid, prefix=prefix)
    x = torch.randn(1, grid[0] * grid[1] + prefix, DIM, generator=torch.Generator().manual_seed(0)) * 3
    low = Attention(DIM, HEADS, pattern=Axial(), grid=grid, num_prefix_tokens=prefix).to(dtype)
    low.load_state_dict(ours.state_dict())
    seen = Axial().seen(grid, x.device)
    seen = torch.nn.functional.pad(seen, (prefix, 0, prefix, 0), value=True)
    full = Attention(DIM, HEADS, num_prefix_tokens=prefix).to(dtype)
    full.load_state_dict(low.state_dict())
    full.double()
    expected = full(x.to(dtype).double(), attn_mask=seen)
    found, bound = low(x.to(dtype)), 1e-5 if dtype == torch.float32 else 3e-2
    with torch.no_grad():
        alone = low(x.to(dtype))
    for out in (found, alone):
        assert (out.double() - expected).abs().max() < bound * expected.abs().max()


def test_what_a_hook_saw_of_the_scores_of_axial_attention_stays_as_it_was(monkeypatch):
    monkeypatch.setattr(plan, "COPY", -(10**9))
    ours, held = layer(Axial(), (64, 70)), []
    ours.similarity.register_forward_hook(lambda module, given, out: held.append(out))
    with torch.no_grad():
        ours(image_tokens(64 * 70)[:1])
    scores = [out for out in held if torch.is_tensor(out)]
    assert len(scores) == 2
    assert all((out < 0).any() for out in scores)


def test_reduced_keys_come_from_a_strided_convolution_of_the_patches_alone():
    ours, x = layer(SpatialReduction(DIM, 2), (3, 5), prefix=1), image_tokens(16)
    pattern = ours.pattern
    image = torch.zeros(2, DIM, 4, 6, dtype=torch.float64)
    image[:, :, :3, :5] = x[:, 1:].transpose(1, 2).unflatten(2, (3, 5))
    cells = [
        pattern.norm(
            torch.einsum("bcij,ocij->bo", image[:, :, i : i + 2, j : j + 2], pattern.sr.weight) + pattern.sr.bias
        )
        for i, j in itertools.product((0, 2), (0, 2, 4))
    ]
    source = torch.stack([x[:, 0], *cells], dim=1)
    torch.testing.assert_close(ours.weights(x), layer_of(ours).weights(x, context=source), rtol=0, atol=1e-12)


def layer_of(ours):
    """The same weights without the pattern."""
    plain = layer(None, (4, 4))
    plain.load_state_dict({n: v for n, v in ours.state_dict().items() if not n.startswith("pattern")})
    return plain


def test_top_k_keeps_the_k_best_of_every_row():
    ours, x = layer(TopK(3), (3, 4)), image_tokens(12)
    full = layer(None, (3, 4)).weights(x)
    kept = ours.weights(x) > 0
    assert (kept.sum(-1) == 3).all()
    assert full.masked_fill(~kept, 2).amin(-1).ge(full.masked_fill(kept, -1).amax(-1)).all()
    renormalised = full.masked_fill(~kept, 0)
    torch.testing.assert_close(ours.weights(x), renormalised / renormalised.sum(-1, keepdim=True), rtol=0, atol=1e-12)


def test_the_relative_table_in_a_window_is_that_of_its_offsets(way):
    table = RelativeBias((2, 2), HEADS)
    for pattern in (Window(2), Window(2, shift=1)):
        ours, x = layer(pattern, (4, 5), position=table, prefix=1), image_tokens(21)
        q, k, v = ours.heads(x)
        sees = by_window(2, pattern.shift[0])
        scores = q @ k.mT / 2
        for (n, a), (m, b) in itertools.product(enumerate(places((4, 5)), 1), repeat=2):
            if sees(a, b, (4, 5)):
                row = (a[0] - b[0] + 1) * 3 + a[1] - b[1] + 1
                scores[:, :, n, m] += table.relative_position_bias_table[row]
            else:
                scores[:, :, n, m] = -torch.inf
        weights = scores.softmax(-1)
        torch.testing.assert_close(ours.weights(x), weights, rtol=0, atol=1e-12)
        torch.testing.assert_close(ours(x), ours.proj((weights @ v).transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)


def test_in_a_neighbourhood_the_relative_table_is_that_of_the_offsets_up_to_the_radius(way):
    table, grid = RelativeBias((2, 2), HEADS), (5, 6)
    ours, x = layer(Neighbourhood(1), grid, position=table, prefix=1), image_tokens(31)
    q, k, v = ours.heads(x)
    scores = q @ k.mT / 2
    for (n, a), (m, b) in itertools.product(enumerate(places(grid), 1), repeat=2):
        if by_distance(1)(a, b, grid):
            scores[:, :, n, m] += table.relative_position_bias_table[(a[0] - b[0] + 1) * 3 + a[1] - b[1] + 1]
        else:
            scores[:, :, n, m] = -torch.inf
    weights = scores.softmax(-1)
    torch.testing.assert_close(ours.weights(x), weights, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(x), ours.proj((weights @ v).transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("similarity", ["dot", "cosine", "additive"])
@pytest.mark.parametrize("name", [name for name in DEFINED if "100" not in name])
@pytest.mark.parametrize("grid", [(6, 7), (6, 8)])
def test_cut_or_masked_is_the_same_with_positions_masks_and_gradients(name, similarity, prefix, grid, monkeypatch):
    """At once, and in turn one head of a sample after the other."""
    number = grid[0] * grid[1] + prefix
    padding = torch.zeros(2, number, dtype=torch.bool)
    padding[0, 5:30] = True
    pairs = torch.rand(2, HEADS, number, number, generator=torch.Generator().manual_seed(1)) > 0.2
    for position, masks in itertools.product(
        ("rotary", "relative"), ({}, {"key_padding_mask": padding, "attn_mask": pairs})
    ):
        results = []
        for price, least in ((-(10**9), 10**9), (-(10**9), -(10**9)), (10**9, 0)):
            for constant, value in (("COPY", price), ("REORDER", price), ("BEGUN", price), ("LEAST", least)):
                monkeypatch.setattr(plan, constant, value)
            monkeypatch.setattr(plan, "MASK", 0 if least < 0 else 1)
            torch.manual_seed(0)
            options = {"similarity": similarity, "position": position, "pattern": DEFINED[name][0]}
            ours = Attention(DIM, HEADS, grid=grid, num_prefix_tokens=prefix, **options).double()
            x = image_tokens(number).requires_grad_()
            out = ours(x, **masks)
            out.square().sum().backward()
            results.append((out, x.grad, *(parameter.grad for parameter in ours.parameters())))
        torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-10)
        torch.testing.assert_close(results[1], results[2], rtol=0, atol=1e-10)


@pytest.mark.parametrize("least", [0, 2**12])
@pytest.mark.parametrize("context", [False, True])
def test_the_best_keys_of_some_queries_after_others_are_those_of_all_at_once(context, least, monkeypatch):
    masks = torch.rand(2, HEADS, 20, 26 if context else 20, generator=torch.Generator().manual_seed(1)) > 0.3
    results = []
    for allowed in (least, 10**9):
        monkeypatch.setattr(plan, "MASK", 0)
        monkeypatch.setattr(plan, "LEAST", allowed)
        ours = made(pattern="top-k", grid=None if context else (4, 5), context_dim=6 if context else None)
        x, bias = image_tokens(20).requires_grad_(), torch.zeros(masks.shape, dtype=torch.float64, requires_grad=True)
        given = {"context": image_tokens(26, dim=6)} if context else {}
        out = ours(x, attn_mask=torch.where(masks, bias, -torch.inf), **given)
        out.square().sum().backward()
        results.append((out, x.grad, bias.grad, *(parameter.grad for parameter in ours.parameters())))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)


class DropKeys(torch.nn.Module):
    """Drops whole keys at random."""

    def forward(self, weights):
        return weights * (torch.rand(weights.shape[-1]) > 0.3)


@pytest.mark.parametrize("name", ["top-k", "window", "axial"])
def test_a_module_in_the_place_of_dropout_is_called_once(name, monkeypatch):
    """What it draws at random in a pass forward is what gradients are of."""
    monkeypatch.setattr(plan, "MASK", 0)
    monkeypatch.setattr(plan, "LEAST", 0)
    ours, x, calls = made(pattern=name, grid=(14, 14), num_prefix_tokens=1), image_tokens(197), []
    ours.attn_drop = DropKeys()
    ours.attn_drop.register_forward_hook(lambda *given: calls.append(given))

    def out(x):
        torch.manual_seed(0)
        return ours(x)

    x, step = x.requires_grad_(), 1e-6 * torch.randn_like(x)
    (gradient,) = torch.autograd.grad(out(x).sum(), x)
    number = len(calls)
    with torch.no_grad():
        slope = (out(x + step) - out(x - step)).sum() / 2
    torch.testing.assert_close((gradient * step).sum(), slope, rtol=1e-4, atol=1e-10)
    assert len(calls) == 3 * number


def flops(pattern, side, **options):
    with torch.device("meta"):
        ours = Attention(16, 2, pattern=pattern(), **options)
        x = torch.empty(1, side * side, 16)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ours(x)
    return counter.get_total_flops() - 2 * 4 * side * side * 16 * 16


COSTS = {
    "window": (lambda: Window(4), lambda side: 16),
    "shifted": (lambda: Window(4, shift=2), lambda side: 16),
    "neighbourhood": (lambda: Neighbourhood(1), lambda side: 16),
    "dilated": (lambda: Dilated(4), lambda side: side * side // 16),
    "segmented": (lambda: Segmented(32), lambda side: 32),
    "axial": (Axial, lambda side: 2 * side),
    "full": (lambda: None, lambda side: side * side),
    "top-k": (lambda: TopK(5), lambda side: side * side),
}


@pytest.mark.parametrize("name", list(COSTS))
def test_the_cost_is_that_of_the_scores_that_are_formed(name, monkeypatch):
    pattern, scores = COSTS[name]
    monkeypatch.setattr(plan, "COPY", 0)
    monkeypatch.setattr(plan, "REORDER", 0)
    monkeypatch.setattr(plan, "BEGUN", 0)
    for side in (8, 16, 32):
        assert flops(pattern, side) == 2 * 2 * 16 * side * side * scores(side)


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """The most elements that any operation returned."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return out


@pytest.mark.parametrize("name", ["window", "shifted window", "neighbourhood", "dilated", "segmented", "axial"])
@pytest.mark.parametrize("similarity", ["dot", "additive"])
def test_no_square_matrix_of_all_tokens_is_formed(name, similarity, monkeypatch):
    from vision_attn.layers import pairs

    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", 1)
    side = 32
    patterns = {**PATTERNS, "dilated": lambda: Dilated(8), "segmented": lambda: Segmented(16)}
    for position in (None, "relative"):
        options = {"similarity": similarity, "pattern": patterns[name](), "position": position, "grid": (side, side)}
        ours = Attention(DIM, HEADS, **options).train()
        with LargestTensor() as largest:
            ours(torch.randn(1, side * side, DIM)).sum().backward()
        assert largest.elements < side**4 / 2


def test_the_measure_of_the_largest_tensor_can_fail():
    with LargestTensor() as largest:
        Attention(DIM, HEADS, similarity="additive")(torch.randn(1, 256, DIM))
    assert largest.elements >= 256**2


@pytest.mark.parametrize("kind", ["additive", "perceptron"])
def test_pairs_times_channels_are_never_held_at_once(kind):
    """N^2 x D numbers in chunks of 2^20, forward and backward."""
    number, dim = 1024, 16
    ours = Attention(dim, 1, similarity=kind)
    with LargestTensor() as largest:
        ours(torch.randn(1, number, dim, requires_grad=True)).sum().backward()
    assert largest.elements == 2**20 < number**2 * dim
