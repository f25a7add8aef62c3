"""The layer inside PyTorch's tools: compile, autocast, func, and its stored state; graphs are in test_export."""

import importlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from switches import DIM, GRID, HEADS, PATTERNS, POSITIONS, SIMILARITIES, image_tokens, made
from torch._subclasses import FakeTensorMode

from vision_attn.layers import Attention

VECTORS = Path(__file__).with_name("attention_vectors.json")


def single(setting):
    return made(*setting).float(), image_tokens().float()


SINGLE_SWITCHES = sorted(
    {(s, None, "none", "full") for s in SIMILARITIES}
    | {("dot", None, p, "full") for p in POSITIONS}
    | {("dot", None, "none", p) for p in PATTERNS}
)


def test_bfloat16_autocast_is_near_for_every_setting():
    for setting in SINGLE_SWITCHES:
        layer, x = made(*setting, qk_norm=True).float(), image_tokens().float().requires_grad_()
        expected = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            low, weights = layer(x), layer.weights(x)
        assert low.dtype == torch.bfloat16
        assert weights.sum(-1).float().sub(1).abs().max() < 0.05
        if setting[3] != "top-k":  # rounding may change which tokens are the best
            torch.testing.assert_close(low.float(), expected, rtol=0.1, atol=0.15)
        low.float().sum().backward()
        assert x.grad.isfinite().all()


def test_vmap_over_the_parameters_of_two_layers_is_one_after_the_other():
    for setting in SINGLE_SWITCHES:
        for dtype in (torch.float64, torch.bfloat16):
            layers = [made(*setting, seed=seed).to(dtype) for seed in (0, 1)]
            x = image_tokens().to(dtype)
            state, buffers = torch.func.stack_module_state(layers)

            def call(parameters, buffers, x, layer=layers[0]):
                return torch.func.functional_call(layer, (parameters, buffers), (x,))

            together = torch.func.vmap(call, in_dims=(0, 0, None))(state, buffers, x)
            apart = torch.stack([layer(x) for layer in layers])
            tolerance = 1e-12 if dtype == torch.float64 else 0.1
            if dtype == torch.float64 or setting[3] != "top-k":
                torch.testing.assert_close(together, apart, rtol=tolerance, atol=tolerance)


def test_gradients_of_every_sample_come_from_vmap_over_grad():
    for setting in SINGLE_SWITCHES:
        layer, x = made(*setting), image_tokens()
        state = {name: value.detach() for name, value in layer.named_parameters()}

        def loss(parameters, sample, layer=layer):
            return torch.func.functional_call(layer, parameters, (sample[None],)).square().sum()

        every = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(state, x)
        for number, sample in enumerate(x):
            one = torch.func.grad(loss)(state, sample)
            for name, value in one.items():
                torch.testing.assert_close(every[name][number], value, rtol=0, atol=1e-9)


COMPILED = [
    s for s in SINGLE_SWITCHES if s[0] in ("dot", "additive", "gaussian") and s[2] not in ("learned", "sincos2d")
]


@pytest.mark.slow
@pytest.mark.parametrize("setting", COMPILED, ids=lambda setting: "-".join(map(str, setting)))
def test_compiled_it_gives_the_same_forward_and_backward(setting):
    torch._dynamo.reset()
    layer, x = single(setting)
    compiled, results = torch.compile(layer, fullgraph=True), []
    for call in (layer, compiled):
        layer.zero_grad()
        out = call(x)
        out.square().sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in layer.parameters())])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def vectors():
    """Names and shapes of the stored state, and outputs on fixed numbers, of one layer a switch."""
    rows = {}
    settings = [*SINGLE_SWITCHES, ("dot", "learned", "none", "full"), ("dot", "after_softmax", "none", "full")]
    for setting in settings:
        for options in ({}, {"qk_norm": True, "k_bias": False, "num_prefix_tokens": 1}):
            layer = made(*setting, **options).eval()
            counter = itertools.count(1)
            with torch.no_grad():
                for parameter in layer.parameters():
                    numbers = torch.arange(parameter.numel(), dtype=torch.float64) + next(counter)
                    parameter.copy_(torch.sin(numbers).reshape(parameter.shape) / 2)
            number = GRID[0] * GRID[1] + layer.num_prefix_tokens
            x = torch.cos(torch.arange(number * DIM, dtype=torch.float64)).reshape(1, number, DIM)
            name = " ".join(map(str, (*setting, *options)))
            rows[name] = {
                "state": {key: list(value.shape) for key, value in layer.state_dict().items()},
                "output": [round(value, 9) for value in layer(x)[0, :, 0].tolist()],
            }
    return rows


@pytest.mark.parametrize("setting", SINGLE_SWITCHES, ids=str)
def test_it_is_made_and_trained_where_tensors_have_no_numbers(setting):
    """By `skip_init`, which reads the signature, on the meta device, and with the fake tensors of memory estimates."""
    similarity, _, position, pattern = setting
    parts = {"similarity": similarity, "position": POSITIONS[position](GRID), "pattern": PATTERNS[pattern]()}
    empty = torch.nn.utils.skip_init(Attention, DIM, HEADS, grid=GRID, **parts)
    assert {parameter.device.type for parameter in empty.parameters()} == {"cpu"}
    large = made(*setting, grid=(14, 14)).to("meta")
    large(torch.empty(2, 196, DIM, dtype=torch.float64, device="meta", requires_grad=True)).sum().backward()
    with FakeTensorMode():
        layer = Attention(DIM, HEADS, similarity=similarity)
        layer(torch.empty(2, 196, DIM)).sum().backward()


def test_stored_states_stay_loadable_and_outputs_stay_the_same():
    stored, found = json.loads(VECTORS.read_text()), vectors()
    assert found.keys() == stored.keys()
    for name, row in found.items():
        assert row["state"] == stored[name]["state"], name
        assert row["output"] == pytest.approx(stored[name]["output"], abs=1e-8), name


def test_a_state_survives_its_file(tmp_path):
    from safetensors.torch import load_file, save_file

    for setting in SINGLE_SWITCHES:
        layer = made(*setting)
        save_file(layer.state_dict(), tmp_path / "state.safetensors")
        other = made(*setting, seed=5)
        other.load_state_dict(load_file(tmp_path / "state.safetensors"), strict=True)
        assert torch.equal(other(image_tokens()), layer(image_tokens()))


def test_initial_weights_of_the_default_are_those_of_two_linear_maps():
    """Stored experiments rely on the random numbers that a layer draws."""
    torch.manual_seed(3)
    layer = Attention(DIM, HEADS)
    torch.manual_seed(3)
    qkv, proj = torch.nn.Linear(DIM, 3 * DIM), torch.nn.Linear(DIM, DIM)
    for ours, theirs in ((layer.qkv, qkv), (layer.proj, proj)):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)


@pytest.fixture
def checked_layers():
    """The layers imported again, every call checked against the array types of its signature."""
    jaxtyping = pytest.importorskip("jaxtyping")
    pytest.importorskip("beartype")
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("vision_attn.layers")}
    package = sys.modules["vision_attn"]
    try:
        with jaxtyping.install_import_hook("vision_attn.layers", "beartype.beartype"):
            yield importlib.import_module("vision_attn.layers")
    finally:
        for name in [name for name in sys.modules if name.startswith("vision_attn.layers")]:
            del sys.modules[name]
        sys.modules.update(kept)
        package.layers = kept["vision_attn.layers"]


def test_calls_keep_the_shapes_of_the_signatures(checked_layers):
    layers = checked_layers
    assert layers.Attention is not Attention
    positions = {
        "none": None,
        "learned": layers.LearnedPosition(GRID, DIM),
        "sincos2d": layers.SinCosPosition(GRID, DIM),
        "convolution": layers.ConvPosition(GRID, DIM),
        "rotary": layers.Rotary(GRID, 4),
        "relative": layers.RelativeBias(GRID, HEADS),
    }
    patterns = {
        "full": None,
        "window": layers.Window(2, shift=1),
        "dilated": layers.Dilated(2),
        "segmented": layers.Segmented(5),
        "axial": layers.Axial(),
        "reduced": layers.SpatialReduction(DIM, 2),
        "top-k": layers.TopK(3),
    }
    assert positions.keys() == POSITIONS.keys()
    for similarity, (place, position), (kind, pattern), prefix in itertools.product(
        SIMILARITIES, positions.items(), patterns.items(), (0, 1)
    ):
        if (place, kind) == ("relative", "reduced"):
            continue
        if place == "relative" and pattern is not None:
            position = layers.RelativeBias(pattern.extent(GRID), HEADS)
        layer = layers.Attention(
            DIM, HEADS, similarity=similarity, position=position, pattern=pattern, num_prefix_tokens=prefix, grid=GRID
        )
        x = image_tokens(12 + prefix).float()
        assert layer(x).shape == x.shape
        assert layer.weights(x).shape[:3] == (2, HEADS, 12 + prefix)
    image = torch.randn(2, DIM, 4, 5)
    assert layers.Attention(DIM, HEADS)(image, context=torch.randn(2, 3, DIM)).shape == image.shape


def test_the_check_of_shapes_can_fail(checked_layers):
    import jaxtyping

    layer = checked_layers.Attention(DIM, HEADS)
    with pytest.raises(jaxtyping.TypeCheckError):
        layer(torch.zeros(2, 12, DIM, dtype=torch.long))
    with pytest.raises(jaxtyping.TypeCheckError):
        checked_layers.Rotary(GRID, 4).rotate(torch.randn(2, HEADS, 12, 4), torch.randn(11, 2))


def test_the_layer_needs_neither_jaxtyping_nor_beartype():
    script = (
        "import sys; sys.modules['jaxtyping'] = sys.modules['beartype'] = None\n"
        "import torch; from vision_attn.layers import Attention\n"
        "print(tuple(Attention(8, 2)(torch.randn(1, 4, 8)).shape))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=VECTORS.parents[2]
    )
    assert run.stdout.strip() == "(1, 4, 8)"
