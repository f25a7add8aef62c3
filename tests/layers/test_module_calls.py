"""Every parameter is used through the call of its module: hooks, wrappers, parametrisations, quantisation."""

import itertools

import pytest
import torch
from switches import DIM, HEADS, image_tokens, made
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from vision_attn.layers import Attention, RelativeBias, SpatialReduction


def owners(layer):
    """The modules that own a parameter, by name."""
    return {name: part for name, part in layer.named_modules() if list(part.parameters(recurse=False))}


class PlusOne(nn.Module):
    """What a wrapper of a projection looks like: it calls the module and adds to its output."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + 1


@pytest.mark.parametrize("k_bias", [True, False])
def test_a_call_of_qkv_gives_what_heads_splits(k_bias):
    layer, x = made(k_bias=k_bias), image_tokens()
    q, k, v = layer.heads(x)
    packed = torch.cat([t.transpose(1, 2).flatten(2) for t in (q, k, v)], dim=-1)
    torch.testing.assert_close(layer.qkv(x), packed, rtol=0, atol=0)


@pytest.mark.parametrize("k_bias", [True, False])
def test_a_wrapper_of_qkv_changes_forward_and_weights(k_bias):
    layer, plain, x = made(k_bias=k_bias), made(k_bias=k_bias), image_tokens()
    layer.qkv = PlusOne(layer.qkv)
    q, k, v = plain.heads(x)
    weights = ((q + 1) @ (k + 1).mT * plain.scale).softmax(-1)
    torch.testing.assert_close(layer.weights(x), weights, rtol=0, atol=1e-12)
    mixed = (weights @ (v + 1)).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x), plain.proj(mixed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{"context_dim": 5}, {}, {"pattern": "reduced"}])
@pytest.mark.parametrize("how", ["wrapper", "hook", "own forward"])
def test_so_it_is_where_queries_and_keys_come_from_different_tokens(options, how):
    layer, plain = made(**options), made(**options)
    x, other = image_tokens(), image_tokens(7, dim=options.get("context_dim", DIM), seed=2)
    given = {} if options.get("pattern") else {"context": other}
    names = ("q", "kv") if "context_dim" in options else ("qkv",)
    for name in names:
        module = getattr(layer, name)
        if how == "wrapper":
            setattr(layer, name, PlusOne(module))
        elif how == "hook":
            module.register_forward_hook(lambda module, inputs, output: output + 1)
        else:
            module.forward = lambda x, module=module: type(module).forward(module, x) + 1
    q, k, v = plain.heads(x, **given)
    weights = ((q + 1) @ (k + 1).mT * plain.scale).softmax(-1)
    torch.testing.assert_close(layer.weights(x, **given), weights, rtol=0, atol=1e-12)
    mixed = (weights @ (v + 1)).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x, **given), plain.proj(mixed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("similarity", ["bilinear", "additive", "perceptron"])
@pytest.mark.parametrize(
    ("position", "pattern"), [("learned", "full"), ("relative", "window"), ("convolution", "reduced")]
)
def test_hooks_of_every_module_with_parameters_fire(similarity, position, pattern):
    layer = made(similarity, "learned", position, pattern, qk_norm=True)
    for call in (layer, layer.weights):
        seen = set()
        handles = [
            part.register_forward_hook(lambda *_, name=name, seen=seen: seen.add(name))
            for name, part in owners(layer).items()
        ]
        call(image_tokens())
        for handle in handles:
            handle.remove()
        behind = {"", "proj"} if call == layer.weights else set()
        assert set(owners(layer)) - seen == behind


def test_full_backward_hooks_of_the_projections_see_gradients():
    layer, seen = made().train(), {}
    for name in ("qkv", "proj"):
        layer.get_submodule(name).register_full_backward_hook(
            lambda module, given, taken, name=name: seen.update({name: taken[0].shape})
        )
    layer(image_tokens().requires_grad_()).sum().backward()
    assert seen == {"qkv": (2, 12, 3 * DIM), "proj": (2, 12, DIM)}


def parameters():
    """(settings, module, parameter) of every learned tensor of a few layers that have all of them."""
    for setting in (
        ("perceptron", "learned", "relative", "window"),
        ("bilinear", None, "learned", "full"),
        ("additive", None, "convolution", "reduced"),
    ):
        layer = made(*setting, qk_norm=True, k_bias=False)
        for name, part in owners(layer).items():
            for parameter in dict(part.named_parameters(recurse=False)):
                if name:
                    yield pytest.param(setting, name, parameter, id=f"{name}.{parameter}")


@pytest.mark.parametrize(("setting", "module", "parameter"), list(parameters()))
def test_a_pruned_or_parametrised_parameter_is_the_one_that_is_used(setting, module, parameter):
    """Halved by a mask or a parametrisation, the layer is that whose parameter is so."""
    expected, x = made(*setting, qk_norm=True, k_bias=False), image_tokens()
    mask = torch.ones_like(expected.get_submodule(module).get_parameter(parameter))
    mask.flatten()[::2] = 0
    with torch.no_grad():
        expected.get_submodule(module).get_parameter(parameter).mul_(mask)

    class Masked(nn.Module):
        def forward(self, value):
            return value * mask

    for change in ("prune", "parametrise"):
        layer = made(*setting, qk_norm=True, k_bias=False)
        part = layer.get_submodule(module)
        if change == "prune":
            prune.custom_from_mask(part, parameter, mask)
            with torch.no_grad():  # what an update does: the product is stale until the module is called
                getattr(part, f"{parameter}_orig").mul_(1)
                delattr(part, parameter)
        else:
            parametrize.register_parametrization(part, parameter, Masked())
        torch.testing.assert_close(layer(x), expected(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.weights(x), expected.weights(x), rtol=0, atol=1e-12)


def test_a_pruned_layer_trains_for_more_than_one_step():
    layer = made(position="relative", similarity="bilinear").train()
    for name, part in owners(layer).items():
        for parameter in list(dict(part.named_parameters(recurse=False))):
            if name:
                prune.random_unstructured(part, parameter, amount=0.3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = layer(image_tokens()).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_weight_and_spectral_norm_of_the_projections_count(norm):
    layer, x = made().float(), image_tokens().float()
    before = layer(x)
    for part in (layer.qkv, layer.proj):
        getattr(parametrizations, norm)(part)
    with torch.no_grad():
        if norm == "weight_norm":
            layer.qkv.parametrizations.weight.original0.mul_(2)
    assert (layer(x) - before).abs().max() > 1e-2
    torch.testing.assert_close(layer.qkv(x), nn.functional.linear(x, layer.qkv.weight, layer.qkv.bias))


@pytest.mark.parametrize("options", [{}, {"context_dim": 8}, {"pattern": SpatialReduction(8, 2)}])
def test_dynamic_quantisation_swaps_the_projections_and_stays_near(options):
    torch.manual_seed(0)
    layer = Attention(8, 2, **options).eval()
    x, given = torch.randn(2, 16, 8), {"context": torch.randn(2, 5, 8)} if "context_dim" in options else {}
    expected = layer(x, **given)
    quantised = torch.ao.quantization.quantize_dynamic(layer, {nn.Linear}, dtype=torch.qint8)
    linear = [part for part in quantised.modules() if isinstance(part, nn.Linear)]
    assert linear == []
    torch.testing.assert_close(quantised(x, **given), expected, rtol=0, atol=0.05)
    assert quantised.weights(x, **given).sum(-1).sub(1).abs().max() < 1e-5


class Rounded(torch.Tensor):
    """Weights that are stored in whole numbers and know `linear` alone, as the tensors of quantisation libraries."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=torch.float64)

    def __init__(self, numbers):
        self.numbers = numbers

    def __tensor_flatten__(self):
        return ["numbers"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return Rounded(inner["numbers"])

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.linear:
            return func(args[0], args[1].numbers.double() / 64, *args[2:])
        return super().__torch_function__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is not torch.ops.aten.detach.default:
            raise NotImplementedError(func)
        return cls(args[0].numbers)


@pytest.mark.parametrize("options", [{}, {"k_bias": False}, {"pattern": "reduced"}, {"context_dim": 5}], ids=str)
def test_weights_of_a_class_of_their_own_are_used_whole(options):
    layer, plain = made(**options), made(**options)
    for name in ("qkv", "q", "kv", "proj"):
        if hasattr(layer, name):
            numbers = (64 * getattr(layer, name).weight.detach()).round().to(torch.int16)
            getattr(layer, name).weight = torch.nn.Parameter(Rounded(numbers), requires_grad=False)
            getattr(plain, name).weight.data = numbers.double() / 64
    given = {"context": image_tokens(7, dim=5)} if "context_dim" in options else {}
    torch.testing.assert_close(layer(image_tokens(), **given), plain(image_tokens(), **given), rtol=0, atol=1e-12)


def test_a_hook_on_the_dropout_sees_the_weights():
    layer, x, seen = made(), image_tokens(), []
    layer.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    layer(x)
    torch.testing.assert_close(seen, [layer.weights(x)], rtol=0, atol=1e-12)


def test_names_of_the_state_stay_those_of_timm():
    assert set(Attention(8, 2).state_dict()) == {"qkv.weight", "qkv.bias", "proj.weight", "proj.bias"}
    beit = Attention(8, 2, k_bias=False, position=RelativeBias((2, 2), 2))
    biases = {"qkv.q_bias", "qkv.v_bias", "position.relative_position_bias_table"}
    assert set(beit.state_dict()) == {"qkv.weight", *biases, "proj.weight", "proj.bias"}


def test_biases_alone_are_named_by_their_projection():
    for kept in itertools.chain.from_iterable(itertools.combinations("qkv", n) for n in (1, 2)):
        layer = Attention(8, HEADS, **{f"{name}_bias": name in kept for name in "qkv"})
        assert {name for name in layer.state_dict() if name.startswith("qkv")} == {
            "qkv.weight",
            *(f"qkv.{name}_bias" for name in kept),
        }
