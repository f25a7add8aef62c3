"""The layer as a graph: compiled with free sizes, exported, in ONNX, traced by FX."""

import pytest
import torch
from switches import DIM, GRID, HEADS, PATTERNS, POSITIONS, SIMILARITIES, image_tokens, made
from torch._dynamo.backends.common import aot_autograd
from torch.export import Dim

from vision_attn.layers import Attention

SIZES = [(6, 6), (6, 7), (8, 8), (9, 4), (5, 8), (12, 12), (4, 16), (10, 6), (3, 11), (7, 7), (16, 16)]
SETTINGS = [("none", pattern) for pattern in PATTERNS] + [(position, "full") for position in POSITIONS]
SETTINGS += [("relative", "window"), ("rotary", "dilated")]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def image(rows, columns, batch=2):
    return image_tokens(rows * columns, batch=batch).float().transpose(1, 2).unflatten(2, (rows, columns))


def compiled(layer):
    """The layer compiled without breaks for free sizes, gradients too, and the list of its graphs."""
    torch._dynamo.reset()
    graphs = []

    def kept(graph, _example):
        graphs.append(graph)
        return graph.forward

    backend = aot_autograd(fw_compiler=kept, bw_compiler=lambda graph, _example: graph.forward, decompositions={})
    return torch.compile(layer, fullgraph=True, dynamic=True, backend=backend), graphs


def assert_few_graphs(position, pattern, sizes, *, similarity="dot"):
    """At most three for images and for tokens with a stated grid, with outputs and gradients of the layer."""
    for form in ("image", "tokens"):
        layer = made(similarity, position=position, pattern=pattern).float()
        call, graphs = compiled(layer)
        for size in sizes:
            x, options = image(*size), {}
            if form == "tokens":
                x, options = x.flatten(2).transpose(1, 2), {"grid": size}
            results = []
            for one in (call, layer):
                layer.zero_grad()
                out = one(x, **options)
                out.square().sum().backward()
                results.append([out.detach(), *(p.grad.clone() for p in layer.parameters())])
            torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)
        assert len(graphs) <= 3, (form, len(graphs))


@pytest.mark.parametrize(("position", "pattern"), [("rotary", "full"), ("none", "shifted window")])
def test_two_sizes_compile_without_a_break(position, pattern):
    torch._dynamo.reset()
    layer = made(position=position, pattern=pattern).float()
    call = torch.compile(layer, fullgraph=True, dynamic=True, backend="eager")
    for size in SIZES[1:3]:
        tokens = image(*size).flatten(2).transpose(1, 2)
        close(call(tokens, grid=size), layer(tokens, grid=size))


@pytest.mark.slow
@pytest.mark.parametrize(("position", "pattern"), SETTINGS)
def test_eleven_sizes_take_at_most_three_graphs(position, pattern):
    assert_few_graphs(position, pattern, SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["full", "top-k"])
def test_so_it_is_where_scores_are_of_distances(pattern):
    assert_few_graphs("none", pattern, SIZES, similarity="gaussian")


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["key_padding_mask", "boolean", "additive", "is_causal"])
def test_masks_compile_with_free_sizes(mask):
    layer = made(pattern="window").float()
    call, _ = compiled(layer)
    for rows, columns in ((4, 6), (5, 8)):
        number = rows * columns
        x = image_tokens(number).float()
        pairs = torch.randn(number, number, generator=torch.Generator().manual_seed(0)).fill_diagonal_(1)
        options = {
            "key_padding_mask": {"key_padding_mask": pairs[:2] < -0.5},
            "boolean": {"attn_mask": pairs > 0},
            "additive": {"attn_mask": pairs},
            "is_causal": {"is_causal": True},
        }[mask]
        close(call(x, grid=(rows, columns), **options), layer(x, grid=(rows, columns), **options))


def exported(layer, x, shapes):
    return torch.export.export(layer, (x,), dynamic_shapes={"x": shapes}).module()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("prefix", [0, 1])
def test_every_similarity_is_exported_with_a_free_batch(similarity, prefix):
    layer = made(similarity, num_prefix_tokens=prefix).float()
    program = exported(layer, image_tokens(12 + prefix, batch=3).float(), {0: Dim("batch", min=1, max=64)})
    for batch in (1, 3, 7):
        x = image_tokens(12 + prefix, batch=batch).float()
        close(program(x), layer(x))


@pytest.mark.slow
@pytest.mark.parametrize(("position", "pattern"), SETTINGS)
def test_every_position_and_pattern_is_exported_with_a_free_batch(position, pattern):
    layer = made(position=position, pattern=pattern, num_prefix_tokens=1).float()
    program = exported(layer, image_tokens(13, batch=3).float(), {0: Dim("batch", min=1, max=64)})
    for batch in (1, 5):
        x = image_tokens(13, batch=batch).float()
        close(program(x), layer(x))


def test_the_default_is_exported_with_a_free_batch_and_a_free_number_of_tokens():
    layer = Attention(DIM, HEADS).eval()
    shapes = {0: Dim("batch", min=2, max=64), 1: Dim("tokens", min=2, max=4096)}
    program = exported(layer, image_tokens(batch=3).float(), shapes)
    close(program(image_tokens(20, batch=5).float()), layer(image_tokens(20, batch=5).float()))


def assert_any_grid(position, pattern):
    """Sides from 2 on; where keys are reduced, from two cells on: a graph takes one of a kind for a case of its own."""
    layer, least = made(position=position, pattern=pattern).float(), 3 if pattern == "reduced" else 2
    sides = {2: Dim("rows", min=least, max=64), 3: Dim("columns", min=least, max=64)}
    program = exported(layer, image(6, 7, batch=3), {0: Dim("batch", min=1, max=64), **sides})
    for batch, rows, columns in ((1, 6, 6), (5, 9, 4), (2, least, 3), (2, 12, least), (1, least, least)):
        x = image(rows, columns, batch)
        close(program(x), layer(x))


@pytest.mark.parametrize(("position", "pattern"), [("none", "window"), ("none", "dilated"), ("convolution", "reduced")])
def test_windows_dilated_patterns_and_convolutions_are_exported_with_free_height_and_width(position, pattern):
    assert_any_grid(position, pattern)


PAIRS = [(position, pattern) for position in POSITIONS for pattern in PATTERNS]


@pytest.mark.slow
@pytest.mark.parametrize(("position", "pattern"), [pair for pair in PAIRS if pair != ("relative", "reduced")])
def test_positions_and_patterns_are_exported_with_free_height_and_width(position, pattern):
    assert_any_grid(position, pattern)


class Even(torch.nn.Module):
    """A layer for images whose sides are said to be multiples of 2."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        for side in x.shape[2:]:
            torch._check(side % 2 == 0)
        return self.layer(x)


@pytest.mark.parametrize("pattern", ["window", pytest.param("dilated", marks=pytest.mark.slow)])
def test_sides_that_are_said_to_be_multiples_are_cut_into_tiles(pattern):
    """Then the scores of all pairs are never formed."""
    layer = made(pattern=pattern).float()
    shapes = {0: Dim("batch", max=64), 2: 2 * Dim("rows", min=2, max=32), 3: 2 * Dim("columns", min=2, max=32)}
    program = torch.export.export(Even(layer), (image(6, 8, batch=3),), dynamic_shapes={"x": shapes})
    for size in ((4, 4), (10, 4), (12, 6)):
        close(program.module()(image(*size)), layer(image(*size)))
    masking = [str(node.target) for node in program.graph.nodes if "where" in str(node.target)]
    assert masking == []


@pytest.mark.slow
@pytest.mark.parametrize(("position", "free"), [(None, True), (None, False), ("relative", True)])
def test_the_default_and_a_learned_bias_run_in_onnx(tmp_path, position, free):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    layer, path = Attention(DIM, HEADS, position=position, grid=GRID).eval(), tmp_path / "attention.onnx"
    shapes = {"dynamic_shapes": {"x": {0: Dim("batch", min=1, max=64)}}} if free else {}
    torch.onnx.export(layer, (image_tokens(batch=3).float(),), path, dynamo=True, verbose=False, **shapes)
    onnx.checker.check_model(onnx.load(path))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 3, 6) if free else (3,):
        x = image_tokens(batch=batch).float()
        (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(out), layer(x).detach(), rtol=0, atol=1e-5)


TRACEABLE = [(similarity, "none", "full") for similarity in SIMILARITIES]
TRACEABLE += [("dot", position, "full") for position in ("learned", "sincos2d", "convolution")]
TRACEABLE += [("dot", "none", "reduced")]


@pytest.mark.parametrize(("similarity", "position", "pattern"), TRACEABLE)
def test_fx_follows_switches_that_make_no_tensors_of_their_own(similarity, position, pattern):
    layer = made(similarity, None, position, pattern)
    for graph in (torch.fx.symbolic_trace(layer), torch.fx.symbolic_trace(torch.nn.Sequential(layer))):
        for batch in (2, 5):
            torch.testing.assert_close(graph(image_tokens(batch=batch)), layer(image_tokens(batch=batch)))
    with pytest.raises(ValueError, match="must be the only argument of a graph"):
        torch.fx.symbolic_trace(layer)(image_tokens(), is_causal=True)


SAVED = [(similarity, "none", "full") for similarity in SIMILARITIES]
SAVED += [("dot", "relative", "full"), ("dot", "relative", "window"), ("dot", "rotary", "axial")]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("similarity", "position", "pattern"), SAVED)
def test_a_trace_passes_its_check_with_gradients_on_and_is_saved_and_loaded(tmp_path, similarity, position, pattern):
    layer, path = made(similarity, None, position, pattern).float(), str(tmp_path / "layer.pt")
    torch.jit.trace(layer, (image_tokens().float(),)).save(path)
    for batch in (1, 5):
        x = image_tokens(batch=batch).float()
        close(torch.jit.load(path)(x), layer(x))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("pattern", ["window", "neighbourhood"])
def test_a_trace_of_finite_tokens_keeps_what_is_not_finite_in_its_place(pattern):
    layer, x = made(pattern=pattern).float(), image_tokens().float()
    with torch.no_grad():
        program = torch.jit.trace(layer, (x,))
    x[0, 0] = torch.nan
    found, expected = program(x).isnan(), layer(x).isnan()
    assert torch.equal(found, expected)
    assert not found.all(dim=-1).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"position": "rotary"}, "symbolic_trace cannot follow the position Rotary; torch.export can"),
        ({"position": "relative"}, "symbolic_trace cannot follow the position RelativeBias; torch.export can"),
        ({"pattern": "window"}, "symbolic_trace cannot follow the pattern Window; torch.export can"),
        ({"pattern": "top-k"}, "symbolic_trace cannot follow the pattern TopK; torch.export can"),
    ],
)
def test_fx_says_what_it_cannot_follow(options, words):
    with pytest.raises(ValueError, match=words):
        torch.fx.symbolic_trace(made(**options))
